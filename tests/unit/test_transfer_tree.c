/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/reason.h"
#include "stream_pair.h"
#include "transfer/hardlinks.h"
#include "transfer/limits.h"
#include "transfer/tree.h"
#include "tree_compare.h"
#include "tree_place.h"

#define SECOND 1000000LL

/* ---- sending and applying ---- */

struct sending {
	struct wire *w;
	const char *path;
	bool overlay;
	struct tree_stats stats;
	struct error err;
	int result;
};

static void *send_main(void *arg)
{
	struct sending *s = arg;
	int dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	s->result = tree_send(&(struct tree_source){ .wire = s->w, .container = 2, .tree = "rootfs", .dir_fd = dir, .overlay = s->overlay }, &s->stats, &s->err);
	close(dir);
	if (s->result == 0)
		s->result = wire_send_end(s->w, &s->err);
	else
		wire_interrupt(s->w);
	return NULL;
}

static int apply_frame(struct tree_apply *t, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *json = NULL;
	uint64_t offset;
	int r;

	assert_int_equal(f->container, 2);
	if (f->type == WIRE_DATA) {
		memcpy(&offset, f->body, 8);
		return tree_apply_data(t, offset, f->body + 8, f->len - 8, err);
	}
	assert_int_equal(f->type, WIRE_FILE);
	r = wire_json(f, &json, err);
	if (r == 0)
		assert_string_equal(json_str(json, "tree"), "rootfs");
	return r == 0 ? tree_apply_file(t, json, err) : r;
}

/* The sender's result; on success the receiver must have taken all of it. */
static int transfer(const char *from, bool overlay, const char *to, struct tree_stats *stats, struct error *ret_err)
{
	cleanup_close int dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct sending s = { .path = from, .overlay = overlay };
	struct tree_budget budget = { .max_bytes = 1ull << 30, .max_entries = 100000, .max_folders = 64 << 20 };
	struct wire_frame f = { .type = WIRE_HELLO };
	struct error err = { 0 };
	struct tree_apply *t;
	struct wire *w[2];
	pthread_t thread;

	assert_true(dir >= 0);
	assert_int_equal(tree_apply_new(dir, &budget, &t, &err), 0);
	wire_pair(w, 20 * SECOND);
	s.w = w[0];
	assert_int_equal(pthread_create(&thread, NULL, send_main, &s), 0);
	while (wire_receive(w[1], 0, &f, &err) == 0 && f.type != WIRE_ALL_SENT)
		if (apply_frame(t, &f, &err) < 0)
			fail_msg("%s", err.message);
	pthread_join(thread, NULL);
	if (s.result == 0) {
		assert_int_equal(f.type, WIRE_ALL_SENT);
		assert_int_equal(wire_check_end(w[1], &f, &err), 0);
		if (tree_apply_settle(t, &err) < 0)
			fail_msg("%s", err.message);
	}
	tree_apply_free(t);
	wire_free(w[0]);
	wire_free(w[1]);
	if (stats)
		*stats = s.stats;
	if (ret_err)
		*ret_err = s.err;
	else if (s.result < 0)
		fail_msg("%s", s.err.message);
	return s.result;
}

/* A sample of everything that a folder may hold. */
static void make_everything(const char *root)
{
	/* VFS_CAP_REVISION_2, effective, cap_net_raw (linux/capability.h). */
	static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 0x20 };
	/* Version 2: user::rw-, user:1000:r--, group::r--, mask::r--, other::--- (linux/posix_acl_xattr.h). */
	static const uint8_t acl[] = { 2, 0,    0,    0,    1,    0,    6,  0, 0xff, 0xff, 0xff, 0xff, 2,    0,   4,
				       0, 0xe8, 3,    0,    0,    4,    0,  4, 0,    0xff, 0xff, 0xff, 0xff, 16,  0,
				       4, 0,    0xff, 0xff, 0xff, 0xff, 32, 0, 0,    0,    0xff, 0xff, 0xff, 0xff };
	char *big = malloc(3u << 20), name[256];
	int fd;

	assert_int_equal(chdir(root), 0);
	for (size_t i = 0; i < 3u << 20; i++)
		big[i] = (char)(i * 2654435761u >> 13);
	make_file("big", big, 3u << 20, 0640);
	make_file("exact", big, 1u << 20, 0600);
	make_file("one more", big, (1u << 20) + 1, 0600);
	make_file("empty", "", 0, 0);
	make_file("setuid", "#!", 2, 04755);
	make_file("setgid sticky", "x", 1, 03711);
	make_text("owned", "by another");
	assert_int_equal(chown("owned", 1000, 2000), 0);
	assert_int_equal(chown("setuid", 33, 44), 0);
	assert_int_equal(chmod("setuid", 06755), 0);
	make_text("with capability", "ping");
	assert_int_equal(chown("with capability", 5, 6), 0);
	set_xattr("with capability", "security.capability", capability, sizeof(capability));
	make_text("with attributes", "x");
	set_xattr("with attributes", "user.empty", "", 0);
	set_xattr("with attributes", "user.binary", "\0\1\xff\n\"", 5);
	/* ext4 has one block for all of a file's, btrfs a node. */
	set_xattr("with attributes", "user.large", big, getenv("TEST_PLACE") ? 2000 : 20000);
	make_text("with acl", "x");
	set_xattr("with acl", "system.posix_acl_access", acl, sizeof(acl));
	make_folder("sub", 02775);
	set_xattr("sub", "system.posix_acl_default", acl, sizeof(acl));
	set_xattr("sub", "user.of folder", "y", 1);
	make_folder("sub/empty", 0);
	make_folder("sub/sticky", 01777);
	make_text("sub/file", "in a folder");
	assert_int_equal(symlink("/etc/passwd", "absolute link"), 0);
	assert_int_equal(symlink("../../..", "sub/relative link"), 0);
	assert_int_equal(symlink("nowhere", "dangling"), 0);
	assert_int_equal(lchown("dangling", 7, 8), 0);
	assert_int_equal(mkfifo("fifo", 0622), 0);
	assert_int_equal(chown("fifo", 9, 10), 0);
	make_socket("socket");
	assert_int_equal(chmod("socket", 0755), 0);
	/* Hard links: a file in three places, a symbolic link in two, a fifo in one. */
	make_text("linked", "thrice");
	assert_int_equal(link("linked", "sub/linked too"), 0);
	assert_int_equal(link("linked", "sub/sticky/linked three"), 0);
	/* Names: every byte a name may have, the longest, leading dots and dashes. */
	for (int c = 1; c < 256; c++) {
		snprintf(name, sizeof(name), "byte-%cx", c);
		if (c != '/')
			make_text(name, "n");
	}
	memset(name, 'n', 255);
	name[255] = '\0';
	make_text(name, "longest");
	make_text("...", "dots");
	make_text("-rf", "dash");
	make_text(".wh.looks like a whiteout", "of another tool");
	/* Holes at the start, in the middle, at the end; all hole. */
	fd = open("sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(pwrite(fd, big, 8192, 1 << 20), 8192);
	assert_int_equal(pwrite(fd, big, 100, 8 << 20), 100);
	assert_int_equal(ftruncate(fd, 300ll << 30), 0);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	close(fd);
	make_text("only hole", "");
	assert_int_equal(truncate("only hole", 5ll << 30), 0);
	/* Times: long ago, before 1970, with nanoseconds, in the far future. */
	set_time("big", 1, 1);
	set_time("owned", -5, 900000000);
	set_time("sub/file", 1764000000, 123456789);
	set_time("exact", 4000000000, 999999999);
	set_time("dangling", 77, 7);
	set_time("fifo", 88, 8);
	set_time("sub/sticky", 99, 9);
	set_time("sub/empty", 100, 10);
	set_time("sub", 111, 11);
	assert_int_equal(chdir(tree_place), 0);
	set_time(root, 222, 22);
	assert_int_equal(chown(root, 12, 13), 0);
	assert_int_equal(chmod(root, 01775), 0);
	free(big);
}

static void compare_sparse_file_only_hole(const char *path, off_t size)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(unlink(path), 0);
}

static void everything(void **state)
{
	struct tree_stats stats;
	struct stat st;

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0700);
	make_everything("src");
	transfer("src", false, "dst", &stats, NULL);
	assert_true(stats.entries > 280);
	assert_true(stats.bytes > 5u << 20 && stats.bytes < 6u << 20);
	/* 5 GiB of nothing: compared by their size. */
	compare_sparse_file_only_hole("dst/only hole", (off_t)5 << 30);
	compare_sparse_file_only_hole("src/only hole", (off_t)5 << 30);
	set_time("src", 222, 22);
	set_time("dst", 222, 22);
	compare_trees("src", "dst");
	/* That the comparer sees what it should. */
	assert_int_equal(lstat("dst/with capability", &st), 0);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(lgetxattr("dst/with capability", "security.capability", NULL, 0), 20);
	assert_int_equal(lstat("dst/setuid", &st), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
	/* Once more over what is there: the same again. */
	transfer("src", false, "dst", &stats, NULL);
	compare_trees("src", "dst");
	remove_all("src");
	remove_all("dst");
}

static void deep(void **state)
{
	char *path = calloc(1, 8192);
	struct error err = { 0 };

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0755);
	path_format(path, 8192, "src");
	for (int i = 0; i < 255; i++) {
		path_format(path + strlen(path), 8192 - strlen(path), "/%s", i % 5 ? "d" : "a longer name");
		make_folder(path, 0755);
	}
	path_format(path + strlen(path), 8192 - strlen(path), "/file");
	make_text(path, "at the bottom");
	transfer("src", false, "dst", NULL, NULL);
	compare_trees("src", "dst");
	/* One more level is too much. */
	assert_int_equal(unlink(path), 0);
	make_folder(path, 0755);
	path_format(path + strlen(path), 8192 - strlen(path), "/f");
	make_text(path, "");
	remove_all("dst");
	make_folder("dst", 0755);
	assert_int_equal(transfer("src", false, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedFile);
	remove_all("src");
	remove_all("dst");
	free(path);
}

/* Not asserted: many small files, the usual content of a container. */
/* CRIU's own folders, which come and go during a dump; a name that only looks like one is a file of the pod. */
static void folders_of_criu(void **state)
{
	struct tree_stats stats;
	struct stat st;

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0755);
	make_folder("src/tmp", 0777);
	make_folder("src/tmp/cr-tmpfs.aB3xYz", 0700);
	make_folder("src/cr-tmpfs.012345", 0700);
	make_text("src/tmp/cr-tmpfs.aB3xYzz", "mine");
	make_text("src/tmp/cr-tmpfs.abcdef", "a file");
	make_text("src/cr-tmpfs.abcdef", "a file");
	make_folder("src/tmp/deep", 0755);
	make_folder("src/tmp/deep/cr-tmpfs.abcdef", 0755);
	transfer("src", false, "dst", &stats, NULL);
	assert_int_equal(stats.entries, 7);
	assert_int_equal(stat("dst/cr-tmpfs.abcdef", &st), 0);
	assert_int_equal(stat("dst/tmp/cr-tmpfs.abcdef", &st), 0);
	assert_int_equal(stat("dst/tmp/deep/cr-tmpfs.abcdef", &st), 0);
	assert_int_equal(stat("dst/tmp/cr-tmpfs.aB3xYzz", &st), 0);
	assert_int_equal(stat("dst/tmp/cr-tmpfs.aB3xYz", &st), -1);
	assert_int_equal(stat("dst/cr-tmpfs.012345", &st), -1);
	remove_all("src");
	remove_all("dst");
}

static void small_files(void **state)
{
	struct tree_stats stats;
	struct stat st;
	int64_t start;

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0755);
	for (int i = 0; i < 5000; i++) {
		char path[64];

		if (i % 100 == 0) {
			path_format(path, sizeof(path), "src/%d", i / 100);
			make_folder(path, 0755);
		}
		path_format(path, sizeof(path), "src/%d/%d", i / 100, i);
		make_file(path, path, sizeof(path), 0644);
	}
	start = clock_mono_us();
	transfer("src", false, "dst", &stats, NULL);
	print_message("5000 small files in %lld ms\n", (long long)(clock_mono_us() - start) / 1000);
	compare_trees("src", "dst");
	assert_int_equal(stats.entries, 5051);
	assert_int_equal(stat("dst/49/4999", &st), 0);
	remove_all("src");
	remove_all("dst");
}

/* ---- overlay ---- */

static void make_image(const char *lower)
{
	assert_int_equal(chdir(lower), 0);
	make_folder("etc", 0755);
	make_text("etc/kept", "from the image");
	make_text("etc/changed", "from the image");
	make_text("etc/deleted", "from the image");
	make_folder("etc/deleted folder", 0755);
	make_text("etc/deleted folder/file", "x");
	make_folder("etc/remade", 0755);
	make_text("etc/remade/old", "x");
	make_folder("etc/remade/old folder", 0755);
	make_text("etc/remade/old folder/file", "x");
	make_text("etc/becomes folder", "x");
	make_folder("etc/becomes file", 0755);
	make_text("etc/becomes file/file", "x");
	make_folder("etc/becomes link", 0755);
	make_text("etc/becomes link/file", "x");
	assert_int_equal(symlink("etc", "link"), 0);
	assert_int_equal(symlink("etc", "link becomes folder"), 0);
	make_text("moved", "moved");
	make_text("two names", "two");
	assert_int_equal(link("two names", "second name"), 0);
	make_folder("attributes only", 0755);
	set_xattr("attributes only", "user.old", "1", 1);
	make_text("attributes only/inside", "x");
	make_folder("var", 0755);
	make_text("var/log", "log");
	assert_int_equal(chdir(tree_place), 0);
}

/* What a container does to its files. */
static void change_as_container(const char *merged)
{
	cleanup_close int fd = -1;

	assert_int_equal(chdir(merged), 0);
	make_text("etc/changed", "by the container");
	assert_int_equal(unlink("etc/deleted"), 0);
	remove_all("etc/deleted folder");
	remove_all("etc/remade");
	make_folder("etc/remade", 0750);
	make_text("etc/remade/new", "new");
	assert_int_equal(unlink("etc/becomes folder"), 0);
	make_folder("etc/becomes folder", 0711);
	make_text("etc/becomes folder/file", "y");
	remove_all("etc/becomes file");
	make_text("etc/becomes file", "file");
	remove_all("etc/becomes link");
	assert_int_equal(symlink("kept", "etc/becomes link"), 0);
	assert_int_equal(unlink("link becomes folder"), 0);
	make_folder("link becomes folder", 0755);
	make_text("link becomes folder/file", "z");
	assert_int_equal(rename("moved", "etc/moved here"), 0);
	make_text("two names", "changed by its first name");
	assert_int_equal(chmod("attributes only", 0700), 0);
	set_xattr("attributes only", "user.new", "2", 1);
	if (removexattr("attributes only", "user.old") < 0)
		assert_true(errno == EOPNOTSUPP || errno == ENODATA);
	fd = open("var/log", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, " more", 5), 5);
	make_folder("var/new", 0755);
	make_text("var/new/file", "new");
	assert_int_equal(link("var/new/file", "var/hard"), 0);
	assert_int_equal(mkfifo("var/fifo", 0600), 0);
	assert_int_equal(chdir(tree_place), 0);
	make_folder("everything", 0755);
	make_everything("everything");
	assert_int_equal(unlink("everything/only hole"), 0);
	transfer("everything", false, merged, NULL, NULL);
	remove_all("everything");
}

static void mount_overlay(const char *lower, const char *name)
{
	char options[512], path[4][64];
	static const char *const parts[] = { "", "/upper", "/work", "/merged" };

	for (int i = 0; i < 4; i++) {
		path_format(path[i], sizeof(path[i]), "%s%s", name, parts[i]);
		make_folder(path[i], 0755);
	}
	path_format(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", lower, path[1], path[2]);
	if (mount("overlay", path[3], "overlay", 0, options) < 0)
		fail_msg("overlay: %s", strerror(errno));
}

static void overlay_round_trip(void **state)
{
	struct tree_stats stats;
	char value;

	(void)state;
	make_folder("image", 0755);
	make_image("image");
	mount_overlay("image", "a");
	mount_overlay("image", "b");
	change_as_container("a/merged");
	/* The test means what it says: an opaque folder and whiteouts are there. */
	assert_int_equal(lgetxattr("a/upper/etc/remade", "trusted.overlay.opaque", &value, 1), 1);
	assert_int_equal(access("a/upper/etc/deleted", F_OK), 0);
	transfer("a/upper", true, "b/merged", &stats, NULL);
	compare_trees("a/merged", "b/merged");
	assert_int_equal(access("b/merged/etc/kept", F_OK), 0);
	assert_int_equal(access("b/merged/etc/deleted", F_OK), -1);
	assert_int_equal(access("b/merged/etc/remade/old", F_OK), -1);
	assert_int_equal(access("b/merged/etc/remade/new", F_OK), 0);
	/* And from there, in the same way, to a third: a container that moves twice. */
	mount_overlay("image", "c");
	transfer("b/upper", true, "c/merged", &stats, NULL);
	compare_trees("a/merged", "c/merged");
	for (const char *p = "abc"; *p; p++) {
		char path[16] = { *p, '/', 'm', 'e', 'r', 'g', 'e', 'd' }, name[2] = { *p };

		assert_int_equal(umount2(path, MNT_DETACH), 0);
		remove_all(name);
	}
	remove_all("image");
}

/* The other form of a whiteout, and the overlay features that cannot be sent. */
static void overlay_attributes(void **state)
{
	struct error err = { 0 };

	(void)state;
	make_folder("up", 0755);
	make_folder("dst", 0755);
	make_text("dst/victim", "x");
	make_text("dst/kept", "x");
	make_text("up/victim", "");
	set_xattr("up/victim", "trusted.overlay.whiteout", "y", 1);
	make_folder("up/plain", 0755);
	set_xattr("up/plain", "trusted.overlay.impure", "y", 1);
	set_xattr("up/plain", "trusted.overlay.origin", "\0\xfb", 2);
	set_xattr("up/plain", "trusted.overlay.opaque", "x", 1);
	transfer("up", true, "dst", NULL, NULL);
	assert_int_equal(access("dst/victim", F_OK), -1);
	assert_int_equal(access("dst/kept", F_OK), 0);
	assert_int_equal(llistxattr("dst/plain", NULL, 0), 0);
	set_xattr("up/plain", "trusted.overlay.redirect",
		  "/a/long/path/that/is/somewhere/else/in/the/image/and/not/sent/here/at/all", 72);
	assert_int_equal(transfer("up", true, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedFile);
	remove_all("up/plain");
	make_text("up/only metadata", "");
	set_xattr("up/only metadata", "trusted.overlay.metacopy", "", 0);
	assert_int_equal(transfer("up", true, "dst", NULL, &err), -ENOTSUP);
	remove_all("up");
	remove_all("dst");
}

/* ---- what the source refuses ---- */

static void source_refuses(void **state)
{
	struct error err = { 0 };
	char *many = malloc(60000);

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0755);
	/* tmpfs with device nodes: nodev keeps nobody from making them. */
	assert_int_equal(mknod("src/device", S_IFCHR | 0600, makedev(1, 3)), 0);
	assert_int_equal(transfer("src", true, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedFile);
	assert_int_equal(unlink("src/device"), 0);
	assert_int_equal(mknod("src/device", S_IFBLK | 0600, makedev(7, 0)), 0);
	assert_int_equal(transfer("src", true, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(unlink("src/device"), 0);
	/* A whiteout means nothing outside an overlay. */
	assert_int_equal(mknod("src/whiteout", S_IFCHR | 0600, makedev(0, 0)), 0);
	assert_int_equal(transfer("src", false, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(unlink("src/whiteout"), 0);
	make_folder("src/mount", 0755);
	assert_int_equal(mount("tmpfs", "src/mount", "tmpfs", 0, NULL), 0);
	assert_int_equal(transfer("src", true, "dst", NULL, &err), -ENOTSUP);
	assert_int_equal(umount("src/mount"), 0);
	make_text("src/attributes", "");
	memset(many, 'x', 60000);
	if (set_xattr("src/attributes", "user.much", many, 60000))
		assert_int_equal(transfer("src", true, "dst", NULL, &err), -ENOTSUP);
	free(many);
	remove_all("src");
	remove_all("dst");
}

/* A file that changes under the reader: the stream is blocked in its middle, then it is changed. */
static void changed_while_read(void **state)
{
	const size_t size = 64u << 20;
	struct sending s = { .path = "src" };
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w[2];
	pthread_t t;

	(void)state;
	make_folder("src", 0755);
	for (int how = 0; how < 2; how++) {
		char *data = calloc(1, size);

		memset(data, 'a', size);
		make_file("src/file", data, size, 0600);
		wire_pair(w, 20 * SECOND);
		s.w = w[0];
		assert_int_equal(pthread_create(&t, NULL, send_main, &s), 0);
		assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
		usleep(300000);
		if (how == 0) {
			int fd = open("src/file", O_WRONLY | O_CLOEXEC);

			assert_int_equal(pwrite(fd, "b", 1, 3), 1);
			close(fd);
		} else {
			assert_int_equal(truncate("src/file", 1000), 0);
		}
		while (wire_receive(w[1], 0, &f, &err) == 0)
			assert_int_not_equal(f.type, WIRE_ALL_SENT);
		pthread_join(t, NULL);
		assert_int_equal(s.result, -EIO);
		wire_free(w[0]);
		wire_free(w[1]);
		free(data);
	}
	remove_all("src");
}

/* ---- a sender that is not to be trusted ---- */

static struct tree_apply *open_apply(const char *root, int *ret_dir, uint64_t bytes, uint64_t entries)
{
	static struct tree_budget small;
	struct tree_apply *t;
	struct error err = { 0 };

	*ret_dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(*ret_dir >= 0);
	small = (struct tree_budget){ .max_bytes = bytes, .max_entries = entries, .max_folders = 1 << 20 };
	assert_int_equal(tree_apply_new(*ret_dir, &small, &t, &err), 0);
	return t;
}

static int apply_text(struct tree_apply *t, const char *text, struct error *err)
{
	cleanup_json cJSON *json = cJSON_Parse(text);

	if (!json)
		fail_msg("not JSON: %s", text);
	return tree_apply_file(t, json, err);
}

#define FILE_JSON(path)                                                                                                          \
	"{\"path\":\"" path "\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":10}"
#define FOLDER_JSON(path) "{\"path\":\"" path "\",\"type\":\"folder\",\"mode\":493,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\"}"
#define OPAQUE_JSON(path) \
	"{\"path\":\"" path "\",\"type\":\"folder\",\"mode\":493,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"opaque\":true}"
#define LINK_JSON(path, to)                                                                                                      \
	"{\"path\":\"" path "\",\"type\":\"symlink\",\"mode\":511,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"link\":\"" to  \
	"\"}"
#define HARD_JSON(path, to) "{\"path\":\"" path "\",\"type\":\"hardlink\",\"link\":\"" to "\"}"
#define WHITE_JSON(path) "{\"path\":\"" path "\",\"type\":\"whiteout\"}"
#define XATTR_JSON(xattrs) \
	"{\"path\":\"x\",\"type\":\"folder\",\"mode\":493,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"xattrs\":" xattrs "}"

/* Outside: what must not change. The root has ways out in it, as an image may. */
static void make_prison(void)
{
	make_folder("outside", 0755);
	make_text("outside/secret", "secret");
	make_folder("outside/folder", 0755);
	make_text("outside/folder/file", "file");
	make_folder("root", 0755);
	assert_int_equal(symlink("../outside", "root/way out"), 0);
	assert_int_equal(symlink("/", "root/to slash"), 0);
	assert_int_equal(symlink("../outside/secret", "root/to secret"), 0);
	make_folder("root/folder", 0755);
	assert_int_equal(symlink("../../outside", "root/folder/way out"), 0);
	make_folder("copy", 0755);
	transfer("outside", false, "copy", NULL, NULL);
}

static void check_prison(void)
{
	compare_trees("copy", "outside");
}

static void break_prison(void)
{
	check_prison();
	remove_all("outside");
	remove_all("copy");
	remove_all("root");
}

static void malicious_entries(void **state)
{
	static const char *const entries[] = {
		/* paths */
		FILE_JSON(""),
		FILE_JSON("/etc/passwd"),
		FILE_JSON(".."),
		FILE_JSON("../outside/evil"),
		FILE_JSON("a/../../outside/evil"),
		FILE_JSON("folder/../evil"),
		FILE_JSON("./evil"),
		FILE_JSON("folder/."),
		FILE_JSON("folder//evil"),
		FILE_JSON("folder/"),
		FILE_JSON("."),
		LINK_JSON(".", "x"),
		WHITE_JSON("."),
		OPAQUE_JSON("."),
		HARD_JSON(".", "x"),
		"{\"type\":\"file\"}",
		"{\"path\":7,\"type\":\"file\"}",
		"{\"path\":\"x\"}",
		"[]",
		"{}",
		/* through links */
		FILE_JSON("way out/evil"),
		FILE_JSON("way out/secret"),
		FILE_JSON("to slash/tmp/evil"),
		FOLDER_JSON("way out/folder"),
		OPAQUE_JSON("way out/folder"),
		WHITE_JSON("way out/secret"),
		WHITE_JSON("folder/way out/secret"),
		LINK_JSON("way out/l", "x"),
		HARD_JSON("evil", "way out/secret"),
		HARD_JSON("way out/evil", "folder"),
		HARD_JSON("evil", "../outside/secret"),
		HARD_JSON("evil", "/etc/passwd"),
		HARD_JSON("evil", "."),
		HARD_JSON("evil", "evil"),
		HARD_JSON("evil", "missing"),
		HARD_JSON("evil", "folder"),
		HARD_JSON("evil", "missing/x"),
		FILE_JSON("to secret/x"),
		FILE_JSON("missing folder/x"),
		/* types */
		"{\"path\":\"x\",\"type\":\"chr\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"rdev\":259}",
		"{\"path\":\"x\",\"type\":\"blk\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"rdev\":1793}",
		"{\"path\":\"x\",\"type\":\"device\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\"}",
		"{\"path\":\"x\",\"type\":\"symlink\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\"}",
		"{\"path\":\"x\",\"type\":\"hardlink\"}",
		/* values */
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":61440,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":-1,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":4294967295,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":"
		"1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1\",\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.5\",\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"99999999999999999999.000000000\","
		"\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":1,\"size\":1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":-1}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":1e300}",
		"{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":1,"
		"\"opaque\":true}",
		XATTR_JSON("7"),
		XATTR_JSON("{\"trusted.overlay.opaque\":\"eQ==\"}"),
		XATTR_JSON("{\"security.selinux\":\"eQ==\"}"),
		XATTR_JSON("{\"user.\":\"eQ==\"}"),
		XATTR_JSON("{\"user.x\":\"not base64\"}"),
		XATTR_JSON("{\"user.x\":7}"),
		XATTR_JSON("{\"trusted.x\":\"eQ==\"}"),
		XATTR_JSON("{\"\":\"eQ==\"}"),
	};

	(void)state;
	make_prison();
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct error err = { 0 };
		struct tree_apply *t;
		int dir, r;

		t = open_apply("root", &dir, 1u << 20, 100);
		r = apply_text(t, entries[i], &err);
		if (r != -EPROTO || err.reason != REASON_ProtocolError)
			fail_msg("%s: %d %s", entries[i], r, err.message);
		tree_apply_free(t);
		close(dir);
	}
	break_prison();
}

/* The sender makes the way out itself, first. */
/* As chown(2) of the node's root has them, who may give a file to anybody. */
static void ids_of_no_namespace(void **state)
{
	static const struct {
		const char *uid, *gid;
		int code;
		uid_t owner;
	} row[] = {
		{ "65535", "0", 0, 165535 }, { "4294967294", "0", 0, 0 }, { "65536", "0", -EPROTO, 0 }, { "0", "65536", -EPROTO, 0 }, { "4294967295", "0", -EPROTO, 0 },
	};
	struct tree_apply *t;
	int dir;

	(void)state;
	assert_int_equal(mkdir("owned", 0755), 0);
	t = open_apply("owned", &dir, 1 << 20, 1000);
	tree_apply_ids(t, &(struct id_range){ .uid = 100000, .gid = 200000, .count = 65536 });
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct error err = { 0 };
		char text[256];
		struct stat st;

		snprintf(text, sizeof(text), "{\"path\":\"f%d\",\"type\":\"folder\",\"mode\":493,\"uid\":%s,\"gid\":%s,\"mtime\":\"1.000000000\"}", (int)i, row[i].uid, row[i].gid);
		assert_int_equal(apply_text(t, text, &err), row[i].code);
		if (row[i].code)
			continue;
		snprintf(text, sizeof(text), "owned/f%d", (int)i);
		assert_int_equal(stat(text, &st), 0);
		assert_int_equal(st.st_uid, row[i].owner);
	}
	tree_apply_free(t);
	close(dir);
}

static void malicious_sequences(void **state)
{
	static const struct {
		const char *first, *second;
		int result;
	} cases[] = {
		{ LINK_JSON("made", "../outside"), FILE_JSON("made/evil"), -EPROTO },
		{ LINK_JSON("made", "../outside"), FOLDER_JSON("made/folder"), -EPROTO },
		{ LINK_JSON("made", "../outside"), WHITE_JSON("made/secret"), -EPROTO },
		{ LINK_JSON("made", "/"), HARD_JSON("evil", "made/etc/passwd"), -EPROTO },
		/* A name that is a link is replaced, its target is not touched. */
		{ LINK_JSON("made", "../outside/secret"), FILE_JSON("made"), 0 },
		{ LINK_JSON("made", "../outside/folder"), OPAQUE_JSON("made"), 0 },
		{ LINK_JSON("made", "../outside/folder"), FOLDER_JSON("made"), 0 },
		{ LINK_JSON("made", "../outside/folder"), WHITE_JSON("made"), 0 },
		{ LINK_JSON("made", "../outside/secret"), HARD_JSON("evil", "made"), 0 },
		{ OPAQUE_JSON("folder"), FILE_JSON("folder/x"), 0 },
		{ WHITE_JSON("folder"), FILE_JSON("folder/x"), -EPROTO },
		{ FILE_JSON("folder"), FILE_JSON("folder/x"), -EPROTO },
		/* The kept folder must not be used when it is one no more. */
		{ FILE_JSON("folder/x"), LINK_JSON("folder", "../outside"), 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = { 0 };
		struct tree_apply *t;
		int dir, r;

		make_prison();
		t = open_apply("root", &dir, 1u << 20, 100);
		assert_int_equal(apply_text(t, cases[i].first, &err), 0);
		r = apply_text(t, cases[i].second, &err);
		if (r != cases[i].result)
			fail_msg("%s then %s: %d %s", cases[i].first, cases[i].second, r, err.message);
		if (r == 0) {
			r = tree_apply_data(t, 0, "0123456789", 10, &err);
			assert_true(r == 0 || r == -EPROTO);
		}
		if (i == sizeof(cases) / sizeof(cases[0]) - 1)
			assert_int_equal(apply_text(t, FILE_JSON("folder/y"), &err), -EPROTO);
		tree_apply_free(t);
		close(dir);
		break_prison();
	}
}

/* Any entries in any order: nothing outside may change. */
static void random_entries(void **state)
{
	static const char *const names[] = { "a", "b", "way out", "folder", "to secret", "to slash" };
	static const char *const types[] = { "file", "folder", "symlink", "hardlink", "whiteout", "fifo", "socket" };
	static const char *const targets[] = { "../outside", "/", "a", "../outside/secret", "folder", ".." };
	struct tree_apply *t;
	int dir, applied = 0;

	(void)state;
	srandom(99);
	make_prison();
	t = open_apply("root", &dir, 1ull << 30, 1u << 30);
	for (int round = 0; round < 20000; round++) {
		cleanup_json cJSON *j = cJSON_CreateObject();
		struct error err = { 0 };
		char path[256] = "", link[256];
		int depth = 1 + (int)(random() % 3);

		for (int i = 0; i < depth; i++)
			path_format(path + strlen(path), sizeof(path) - strlen(path), "%s%s", i ? "/" : "", names[random() % 6]);
		path_format(link, sizeof(link), "%s%s%s", targets[random() % 6], random() % 2 ? "/" : "",
			    random() % 2 ? names[random() % 6] : "");
		cJSON_AddStringToObject(j, "path", path);
		cJSON_AddStringToObject(j, "type", types[random() % 7]);
		cJSON_AddNumberToObject(j, "mode", (double)(random() % 4096));
		cJSON_AddNumberToObject(j, "uid", 0);
		cJSON_AddNumberToObject(j, "gid", 0);
		cJSON_AddNumberToObject(j, "size", 4);
		cJSON_AddStringToObject(j, "mtime", "5.000000000");
		cJSON_AddStringToObject(j, "link", link);
		if (random() % 4 == 0)
			cJSON_AddTrueToObject(j, "opaque");
		if (tree_apply_file(t, j, &err) == 0) {
			applied++;
			tree_apply_data(t, 0, "evil", 4, &err);
		}
		if (round % 1000 == 0)
			check_prison();
	}
	print_message("%d of 20000 random entries were applied\n", applied);
	assert_true(applied > 2000);
	tree_apply_free(t);
	close(dir);
	break_prison();
}

static void limits(void **state)
{
	cleanup_buf struct buf entry = BUF_INIT(20000);
	static char big[1u << 20];
	struct error err = { 0 };
	struct tree_apply *t;
	int dir;

	(void)state;
	make_folder("root", 0755);
	/* Too many. */
	t = open_apply("root", &dir, 100, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(apply_text(t, FILE_JSON("x"), &err), 0);
	assert_int_equal(apply_text(t, FILE_JSON("x"), &err), -E2BIG);
	assert_int_equal(err.reason, REASON_NoSpace);
	tree_apply_free(t);
	close(dir);
	/* Too big, in all and beyond what was announced. */
	t = open_apply("root", &dir, 15, 100);
	assert_int_equal(tree_apply_data(t, 0, "x", 1, &err), -EPROTO);
	assert_int_equal(apply_text(t, FILE_JSON("x"), &err), 0);
	assert_int_equal(tree_apply_data(t, 0, "0123456789a", 11, &err), -EPROTO);
	assert_int_equal(tree_apply_data(t, 10, "a", 1, &err), -EPROTO);
	assert_int_equal(tree_apply_data(t, UINT64_MAX, "ab", 2, &err), -EPROTO);
	assert_int_equal(tree_apply_data(t, 5, "01234", 5, &err), 0);
	assert_int_equal(tree_apply_data(t, 0, "0123456789", 10, &err), 0);
	assert_int_equal(tree_apply_data(t, 0, "x", 1, &err), -ENOSPC);
	assert_int_equal(err.reason, REASON_NoSpace);
	tree_apply_free(t);
	close(dir);
	/* Too deep, too long. */
	t = open_apply("root", &dir, 100, 1000);
	buf_puts(&entry, "{\"type\":\"folder\",\"mode\":493,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"path\":\"d");
	for (int i = 0; i < 256; i++)
		buf_puts(&entry, "/d");
	buf_puts(&entry, "\"}");
	assert_int_equal(apply_text(t, entry.data, &err), -EPROTO);
	buf_reset(&entry);
	buf_puts(&entry, "{\"type\":\"whiteout\",\"path\":\"");
	memset(big, 'n', sizeof(big));
	buf_append(&entry, big, 256);
	buf_puts(&entry, "\"}");
	assert_int_equal(apply_text(t, entry.data, &err), -EPROTO);
	buf_reset(&entry);
	buf_puts(&entry, "{\"type\":\"whiteout\",\"path\":\"n");
	for (int i = 0; i < 41; i++) {
		buf_puts(&entry, "/");
		buf_append(&entry, big, 100);
	}
	buf_puts(&entry, "\"}");
	assert_int_equal(apply_text(t, entry.data, &err), -EPROTO);
	tree_apply_free(t);
	close(dir);
	/* No room. */
	make_folder("root/small", 0755);
	assert_int_equal(mount("tmpfs", "root/small", "tmpfs", 0, "size=64k"), 0);
	t = open_apply("root/small", &dir, 1ull << 30, 100);
	assert_int_equal(apply_text(t,
				    "{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1."
				    "000000000\",\"size\":1048576}",
				    &err),
			 0);
	assert_int_equal(tree_apply_data(t, 0, big, sizeof(big), &err), -ENOSPC);
	assert_int_equal(err.reason, REASON_NoSpace);
	tree_apply_free(t);
	tree_apply_free(NULL);
	close(dir);
	assert_int_equal(umount("root/small"), 0);
	remove_all("root");
}

/* What a program may make the source keep: names of files with several names. */
static void links_have_a_bound(void **state)
{
	struct hardlinks h = { 0 };
	struct hardlink *l;
	char path[64];

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		l = hardlinks_get(&h, 1, i);
		assert_non_null(l);
		assert_null(l->path);
		path_format(path, sizeof(path), "folder/%u", i);
		assert_int_equal(hardlinks_set(&h, l, path), 0);
	}
	assert_in_range(h.bytes, 1000 * sizeof(*l), 1000 * (2 * sizeof(*l) + sizeof(path)));
	/* Another name in the place of one takes no more than it is longer. */
	h.bytes = TREE_LINKS_MAX;
	l = hardlinks_get(&h, 1, 7);
	assert_int_equal(hardlinks_set(&h, l, "folder/8"), 0);
	assert_int_equal(hardlinks_set(&h, l, "folder/17"), -E2BIG);
	assert_string_equal(l->path, "folder/8");
	l = hardlinks_get(&h, 1, 1000);
	assert_int_equal(hardlinks_set(&h, l, "x"), -E2BIG);
	assert_null(hardlinks_get(&h, 1, 1000)->path);
	hardlinks_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything),        cmocka_unit_test(deep), cmocka_unit_test(small_files),
		cmocka_unit_test(folders_of_criu),   cmocka_unit_test(links_have_a_bound),
		cmocka_unit_test(overlay_round_trip), cmocka_unit_test(overlay_attributes),
		cmocka_unit_test(source_refuses),    cmocka_unit_test(changed_while_read),
		cmocka_unit_test(malicious_entries), cmocka_unit_test(malicious_sequences),
		cmocka_unit_test(ids_of_no_namespace),
		cmocka_unit_test(random_entries),    cmocka_unit_test(limits),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("transfer_tree", tests, set_up, tear_down);
}
