/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/install_containerd.c"
#include "agent/install_files.c"

/* A node's root and what is to be installed, made anew for each test. */
static char top[64];
static struct node node;

static void put(const char *path, const char *text)
{
	char full[512];
	struct error err;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	assert_int_equal(file_write(AT_FDCWD, full, text, strlen(text), 0644, false, &err), 0);
}

static void make_dir(const char *path)
{
	char full[512];
	struct error err;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	assert_int_equal(dir_make(AT_FDCWD, full, 0755, &err), 0);
}

static void make_link(const char *target, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", top, path);
	assert_int_equal(symlink(target, full), 0);
}

static bool holds(const char *path, const char *text)
{
	struct buf b = BUF_INIT(4096);
	char full[512];
	bool same;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	same = file_read(AT_FDCWD, full, &b, NULL) == 0 && b.len == strlen(text) && !memcmp(b.data, text, b.len);
	buf_free(&b);
	return same;
}

static int open_at(const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", top, path);
	return open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/pm-install-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	make_dir("node/etc");
	make_dir("new/bin");
	make_dir("new/libexec");
	put("new/libexec/tar", "new tar");
	put("new/bin/podmigration-runtime", "new runtime");
	put("new/bin/podmigration-other", "new other");
	node = (struct node){ .root_fd = open_at("node"), .drop_in = "/etc/containerd/conf.d/podmigration.toml" };
	return node.root_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(node.root_fd);
	return tree_remove(AT_FDCWD, top, NULL);
}

/* --- files --- */

static void the_folder_is_made_and_then_left_alone(void **state)
{
	int from = open_at("new");
	struct error err = { 0 };

	(void)state;
	assert_int_equal(node_replace_folder(&node, from, "bin", &err), 1);
	assert_true(holds("node/opt/podmigration/bin/podmigration-runtime", "new runtime"));
	assert_true(holds("node/opt/podmigration/bin/podmigration-other", "new other"));
	assert_int_equal(node_replace_folder(&node, from, "bin", &err), 0);
	close(from);
}

static void a_folder_that_differs_is_replaced_whole(void **state)
{
	int from = open_at("new");
	struct error err = { 0 };

	(void)state;
	make_dir("node/opt/podmigration/bin");
	put("node/opt/podmigration/bin/podmigration-runtime", "old runtime");
	put("node/opt/podmigration/bin/left-over", "of an old version");
	/* What a crash half way left. */
	make_dir("node/opt/podmigration/bin.new");
	put("node/opt/podmigration/bin.new/half", "");
	assert_int_equal(node_replace_folder(&node, from, "bin", &err), 1);
	assert_true(holds("node/opt/podmigration/bin/podmigration-runtime", "new runtime"));
	assert_false(node_exists(&node, "/opt/podmigration/bin/left-over"));
	assert_false(node_exists(&node, "/opt/podmigration/bin/half"));
	assert_false(node_exists(&node, "/opt/podmigration/bin.new"));
	close(from);
}

static void the_running_program_is_not_written_to(void **state)
{
	int from = open_at("new"), old;
	struct error err = { 0 };
	char text[32] = "", path[512];

	(void)state;
	make_dir("node/opt/podmigration/bin");
	put("node/opt/podmigration/bin/podmigration-runtime", "old runtime");
	snprintf(path, sizeof(path), "%s/node/opt/podmigration/bin/podmigration-runtime", top);
	old = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(node_replace_folder(&node, from, "bin", &err), 1);
	assert_int_equal(read(old, text, sizeof(text)), 11);
	assert_string_equal(text, "old runtime");
	close(old);
	close(from);
}

/* Absolute links of the node mean the node's files, whatever lies there in the agent's own root. */
static void links_lead_where_they_lead_on_the_node(void **state)
{
	struct buf text = BUF_INIT(64);
	struct error err = { 0 };

	(void)state;
	make_dir("node/data/containerd");
	make_link("/data/containerd", "node/etc/containerd");
	make_link("/../../../../data", "node/up");
	assert_int_equal(buf_puts(&text, "version = 3\n"), 0);
	assert_int_equal(node_write(&node, "/etc/containerd/conf.d/x.toml", &text, 0644, &err), 1);
	assert_true(holds("node/data/containerd/conf.d/x.toml", "version = 3\n"));
	assert_int_equal(node_write(&node, "/up/containerd/conf.d/x.toml", &text, 0644, &err), 0);
	assert_int_equal(node_remove(&node, "/etc/containerd/conf.d/x.toml", &err), 0);
	assert_false(node_exists(&node, "/data/containerd/conf.d/x.toml"));
	assert_int_equal(node_remove(&node, "/etc/containerd/conf.d/x.toml", &err), 0);
	buf_free(&text);
}

static void only_plain_files_are_installed(void **state)
{
	int from = open_at("new");
	struct error err = { 0 };

	(void)state;
	make_link("/etc/shadow", "new/bin/secret");
	assert_int_equal(node_replace_folder(&node, from, "bin", &err), -EINVAL);
	assert_false(node_exists(&node, "/opt/podmigration"));
	close(from);
}

static void all_folders_come_and_go(void **state)
{
	int from = open_at("new");
	struct error err = { 0 };

	(void)state;
	assert_int_equal(node_uninstall(&node, &err), 0);
	assert_int_equal(node_install(&node, from, &err), 1);
	assert_true(holds("node/opt/podmigration/bin/podmigration-runtime", "new runtime"));
	assert_true(holds("node/opt/podmigration/libexec/tar", "new tar"));
	/* Only our own programs are found by the names of others. */
	assert_false(node_exists(&node, "/opt/podmigration/bin/tar"));
	assert_int_equal(node_install(&node, from, &err), 0);
	/* A node of a version that had no tar of its own, and one with an old one. */
	assert_int_equal(node_remove_folder(&node, "libexec", &err), 0);
	assert_int_equal(node_install(&node, from, &err), 1);
	put("node/opt/podmigration/libexec/tar", "old tar");
	assert_int_equal(node_install(&node, from, &err), 1);
	assert_true(holds("node/opt/podmigration/libexec/tar", "new tar"));
	assert_int_equal(node_uninstall(&node, &err), 0);
	assert_false(node_exists(&node, "/opt/podmigration/bin"));
	assert_false(node_exists(&node, "/opt/podmigration/libexec"));
	close(from);
}

/* --- containerd's configuration --- */

static int added_only(const char *before_text, const char *after_text, struct error *err)
{
	struct buf before = BUF_INIT(4096), after = BUF_INIT(4096);
	const struct command_line c = { .config = "/etc/containerd/config.toml" };
	int r;

	buf_puts(&before, before_text);
	buf_puts(&after, after_text);
	r = check_added_only(&node, &c, &before, &after, err);
	buf_free(&before);
	buf_free(&after);
	return r;
}

#define OURS "BinaryName = '" INSTALL_RUNTIME_PATH "'\n"

static void an_entry_that_only_adds_may_stay(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(added_only("version = 3\n[a]\nx = 1\n[b]\nx = 1\n", "version = 3\n[a]\n  x = 1\n[b]\nx = 1\n[ours]\n" OURS, &err), 0);
	assert_int_equal(added_only("", OURS, &err), 0);
	/* containerd 1.7 prints the files it has read, the drop-in among them, in the place of the setting. */
	assert_int_equal(added_only("imports = ['/c']\nversion = 2\n", "imports = ['/c', '/conf.d/p']\nversion = 2\n" OURS, &err), 0);
	assert_int_equal(added_only("importsomething = 1\n", OURS, &err), -ENOTSUP);
}

static void a_lost_setting_is_named_with_what_to_do(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(added_only("[a]\nx = 1\nsandbox = 'pause:1'\n", "[a]\nx = 1\nsandbox = ''\n" OURS, &err), -ENOTSUP);
	assert_non_null(strstr(err.message, "sandbox = 'pause:1'"));
	assert_non_null(strstr(err.message, "/etc/containerd/config.toml"));
	/* The same line twice before and once after: one of two tables lost it. */
	assert_int_equal(added_only("[a]\nx = 1\n[b]\nx = 1\n", "[a]\nx = 1\n[b]\n" OURS, &err), -ENOTSUP);
}

static void a_file_that_is_not_read_is_explained(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(added_only("[a]\n", "[a]\n", &err), -ENOENT);
	assert_non_null(strstr(err.message, "imports = [\"/etc/containerd/conf.d/*.toml\"]"));
	assert_non_null(strstr(err.message, "/etc/containerd/config.toml"));
}

/*
 * A containerd that replaces whole sections: with the drop-in, what the main file says is gone.  Returns what came of it, and leaves the drop-in's existence to be looked at.
 */
static int told_by_one_that_replaces(const char *main_file, bool known, struct error *err)
{
	char program[128], script[512];
	struct command_line c = { .program = program, .config = "/etc/containerd/config.toml" };

	put("node/etc/main", main_file);
	snprintf(program, sizeof(program), "%s/containerd", top);
	snprintf(script, sizeof(script), "#!/bin/sh\ncat %s/node%s 2>/dev/null || cat %s/node/etc/main\n", top, node.drop_in, top);
	put("containerd", script);
	assert_int_equal(chmod(program, 0755), 0);
	return write_entry(&node, &c, false, known, err);
}

static void what_a_person_has_added_is_enough(void **state)
{
	static const char plain[] = "version = 2\nsandbox_image = 'pause:1'\n", added[] = "version = 2\nsandbox_image = 'pause:1'\n" OURS;
	struct error err = { 0 };

	(void)state;
	make_dir("node/etc/containerd");
	make_dir("node/etc/containerd/conf.d");
	assert_int_equal(told_by_one_that_replaces(plain, false, &err), -ENOTSUP);
	assert_false(node_exists(&node, node.drop_in));
	/* Added, and not read yet. */
	assert_int_equal(told_by_one_that_replaces(added, false, &err), 0);
	assert_false(node_exists(&node, node.drop_in));
	/* Read, and not as it must be: another restart would not change that. */
	assert_int_equal(told_by_one_that_replaces(added, true, &err), -EEXIST);
	assert_false(node_exists(&node, node.drop_in));
}

static void the_main_files_version_is_followed(void **state)
{
	static const struct {
		const char *text;
		int version;
	} cases[] = {
		{ "version = 3\n", 3 }, { "# comment\n\n  version=2\n[plugins]\n", 2 }, { "[plugins]\nversion = 3\n", 2 }, { "root = '/x'\n", 2 }, { "", 2 },
	};
	const struct command_line c = { .config = "/etc/config.toml" };
	struct buf entry = BUF_INIT(4096);

	(void)state;
	assert_int_equal(config_version(&node, &c), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put("node/etc/config.toml", cases[i].text);
		assert_int_equal(config_version(&node, &c), cases[i].version);
	}
	assert_int_equal(entry_text(2, true, &entry), 0);
	assert_non_null(strstr(entry.data, "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.podmigration]"));
	assert_non_null(strstr(entry.data, "SystemdCgroup = true"));
	buf_reset(&entry);
	/* For a file that is there: a version below its last section would be one of that section's settings. */
	assert_int_equal(entry_sections(2, true, &entry), 0);
	assert_null(strstr(entry.data, "version ="));
	buf_free(&entry);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_folder_is_made_and_then_left_alone), T(a_folder_that_differs_is_replaced_whole), T(the_running_program_is_not_written_to),
		T(links_lead_where_they_lead_on_the_node), T(only_plain_files_are_installed), T(all_folders_come_and_go), T(an_entry_that_only_adds_may_stay),
		T(a_lost_setting_is_named_with_what_to_do), T(a_file_that_is_not_read_is_explained), T(what_a_person_has_added_is_enough), T(the_main_files_version_is_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
