/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "runtime/criu_lines.h"
#include "runtime/spec.h"

#define UID "0b0c1d2e-0000-4000-8000-000000000001"
#define KEY "{ \"destination\":\"\\/.podmigration\\/key\", \"source\":\"/k/pods/u-1/volumes/s/key\" }"
#define ORDER "{\"source\":\"/k/pods/u-1/volumes/d/order\",\"destination\":\"/.podmigration/order\"}"
#define TAIL "\"annotations\":{\"io.kubernetes.cri.container-type\":\"container\",\"io.kubernetes.cri.container-name\":\"web\"," \
	     "\"io.kubernetes.cri.sandbox-id\":\"s1\",\"io.kubernetes.cri.sandbox-uid\":\"u-1\",\"podmigration.dev/migration\":\"" UID "\"}," \
	     "\"linux\":{\"resources\":{\"memory\":{\"limit\":18446744073709551615}},\"cgroupsPath\":\"/k/x\"," \
	     "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/proc/7/ns/net\"}]}}\n"

static char dir[] = "/tmp/pm-spec-XXXXXX";

static int load(const char *text, struct spec *s, struct error *err)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0640, false, NULL), 0);
	return spec_load(dir, s, err);
}

static void our_mounts_go_and_nothing_else_changes(void **state)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{ "[" KEY ", {\"destination\":\"/a\" , \"source\":\"/b\",\"type\":\"bind\"} ," ORDER "]",
		  "[{\"destination\":\"/a\" , \"source\":\"/b\",\"type\":\"bind\"}]" },
		{ "[" KEY "," ORDER "]", "[]" },
		{ "[{\"destination\":\"/.podmigration/keys\"}," KEY "]", "[{\"destination\":\"/.podmigration/keys\"}]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf text = BUF_INIT(65536), want = BUF_INIT(65536), got = BUF_INIT(65536);
		struct error err = { 0 };
		char path[256];
		struct spec s;
		struct stat st;

		buf_printf(&text, "{ \"mounts\" : %s , %s", cases[i].before, TAIL);
		buf_printf(&want, "{ \"mounts\" : %s , %s", cases[i].after, TAIL);
		assert_int_equal(load(text.data, &s, &err), 0);
		assert_true(spec_is_migrated(&s));
		assert_string_equal(s.key_dir, "/k/pods/u-1/volumes/s/key");
		assert_int_equal(spec_cut_mounts(&s, dir, &err), 0);
		snprintf(path, sizeof(path), "%s/config.json", dir);
		assert_int_equal(file_read(AT_FDCWD, path, &got, &err), 0);
		assert_string_equal(got.data, want.data);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0640);
		spec_free(&s);
		/* A second time there is nothing to do. */
		assert_int_equal(spec_load(dir, &s, &err), 0);
		assert_string_equal(s.key_dir, "");
		assert_int_equal(spec_cut_mounts(&s, dir, &err), 0);
		spec_free(&s);
		buf_free(&text);
		buf_free(&want);
		buf_free(&got);
	}
}

static void what_is_read(void **state)
{
	struct buf mounts = BUF_INIT(4096);
	struct error err = { 0 };
	struct spec s;

	(void)state;
	assert_int_equal(load("{\"mounts\":[{\"destination\":\"/x\",\"source\":\"tmpfs\"},{\"destination\":\"/a\\u0026\",\"source\":\"/b\",\"options\":[\"ro\",\"rbind\"]}]," TAIL,
			      &s, &err), 0);
	assert_string_equal(s.name, "web");
	assert_string_equal(s.sandbox, "s1");
	assert_string_equal(s.pod_uid, "u-1");
	assert_string_equal(s.migration, UID);
	assert_string_equal(s.cgroups_path, "/k/x");
	assert_string_equal(s.netns, "/proc/7/ns/net");
	assert_string_equal(s.pidns, "");
	assert_string_equal(s.pod_dir, "");
	assert_int_equal(spec_put_mounts(&s, &mounts), 0);
	assert_string_equal(mounts.data, "[{\"destination\":\"/a&\",\"source\":\"/b\"}]");
	buf_free(&mounts);
	spec_free(&s);
	assert_int_equal(load("{\"mounts\":[" KEY "]," TAIL, &s, &err), 0);
	assert_string_equal(s.pod_dir, "/k/pods/u-1");
	spec_free(&s);
}

static void only_a_uid_makes_a_container_ours(void **state)
{
	static const struct {
		const char *type, *migration;
		bool ours;
	} cases[] = {
		{ "container", UID, true },
		{ "sandbox", UID, false },
		{ "container", "", false },
		{ "container", "../../../etc/passwd", false },
		{ "container", "0B0C1D2E-0000-4000-8000-000000000001", false },
		{ "container", "0b0c1d2e-0000-4000-8000-00000000000", false },
		{ "container", "0b0c1d2e-0000-4000-8000-0000000000012", false },
		{ "container", "0b0c1d2e00000-4000-8000-000000000001", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = { 0 };
		char text[512];
		struct spec s;

		snprintf(text, sizeof(text), "{\"annotations\":{\"io.kubernetes.cri.container-type\":\"%s\",\"podmigration.dev/migration\":\"%s\"}}", cases[i].type,
			 cases[i].migration);
		assert_int_equal(load(text, &s, &err), 0);
		assert_int_equal(spec_is_migrated(&s), cases[i].ours);
		spec_free(&s);
	}
}

static void bad_files_are_errors(void **state)
{
	static const char *const bad[] = {
		"", "x", "[]", "7", "{\"annotations\":{\"podmigration.dev/migration\":7}}", "{\"mounts\":[1]}", "{\"mounts\":[{\"destination\":1}]}",
		"{\"annotations\":{\"io.kubernetes.cri.container-type\":\"much-too-long-for-a-type\"}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = { 0 };
		struct spec s;

		assert_true(load(bad[i], &s, &err) < 0);
		assert_true(err.message[0]);
		spec_free(&s);
	}
}

static void only_the_word_true_lets_it_start_cold(void **state)
{
	static const struct {
		const char *word;
		bool may;
	} cases[] = { { NULL, false }, { "", false }, { "false", false }, { "truee", false }, { "true", true } };
	static const char volume[] = "volumes/kubernetes.io~downward-api/podmigration-order";
	struct spec s = { .text = BUF_INIT(16) };
	char path[512];

	(void)state;
	assert_false(spec_may_start_cold(&s));
	snprintf(s.pod_dir, sizeof(s.pod_dir), "%s/pod", dir);
	snprintf(path, sizeof(path), "%s/pod/%s", dir, volume);
	assert_int_equal(dir_make(AT_FDCWD, path, 0700, NULL), 0);
	snprintf(path, sizeof(path), "%s/pod/%s/start-cold", dir, volume);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].word)
			file_write(AT_FDCWD, path, cases[i].word, strlen(cases[i].word), 0600, false, NULL);
		assert_int_equal(spec_may_start_cold(&s), cases[i].may);
	}
	spec_free(&s);
}

static void criu_is_quoted(void **state)
{
	struct error err = { 0 };
	struct buf log = BUF_INIT(1u << 20);
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/runc.log", dir);
	buf_puts(&log, "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"info\",\"msg\":\"no\"}\n{\"level\":\"error\",\"msg\":\"criu \\\"failed\\\"\"}\nbroken");
	file_write(AT_FDCWD, path, log.data, log.len, 0600, false, NULL);
	assert_int_equal(runc_message(path, &err), 0);
	assert_string_equal(err.message, "runc restore: criu \"failed\"");
	buf_reset(&log);
	for (int i = 0; i < 400; i++)
		buf_printf(&log, "(00.%06d) %s (criu/x.c:%d): %0*d\n", i, i % 3 ? "Warn" : "Error", i, 60, i);
	buf_puts(&log, "(00.5) Error (criu/rst.c:1): Can't setup RLIMIT_NOFILE for self\n(00.6) Error (criu/cr-restore.c:2): Restoring FAILED.");
	snprintf(path, sizeof(path), "%s/restore.log", dir);
	file_write(AT_FDCWD, path, log.data, log.len, 0600, false, NULL);
	criu_lines(dir, &err);
	assert_non_null(strstr(err.message, "runc restore: criu \"failed\"; CRIU: Error (criu/x.c:"));
	assert_non_null(strstr(err.message, " | Error (criu/x.c:399): "));
	assert_non_null(strstr(err.message, "399 | Error (criu/cr-restore.c:2): Restoring FAILED."));
	assert_null(strstr(err.message, "RLIMIT"));
	assert_null(strstr(err.message, "Warn"));
	buf_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_mounts_go_and_nothing_else_changes), cmocka_unit_test(what_is_read),
		cmocka_unit_test(only_a_uid_makes_a_container_ours),      cmocka_unit_test(bad_files_are_errors),
		cmocka_unit_test(only_the_word_true_lets_it_start_cold), cmocka_unit_test(criu_is_quoted),
	};
	int r;

	if (!mkdtemp(dir))
		return 2;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tree_remove(AT_FDCWD, dir, NULL);
	return r;
}
