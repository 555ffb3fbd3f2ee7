/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

#include "base/file.h"
#include "runtime/tar.h"

/* from: the tree that is archived; to: what is extracted to; img: the archive; outside: must stay empty. */
static char top[64];

#define CREATE_OPTIONS "--no-unquote", "--no-wildcards", "--one-file-system", "--check-links", "--preserve-permissions", "--sparse", "--numeric-owner"

static char *path_of(const char *name)
{
	static char paths[16][1024];
	static int turn;
	char *p = paths[turn++ % 16];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

/* --- running them --- */

enum tar { OURS, REAL };

static int run(enum tar which, const char *const *args, int in, int out)
{
	char *argv[24] = { "tar" };
	pid_t pid = fork();
	int n = 1, st = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		for (; args[n - 1]; n++)
			argv[n] = (char *)(uintptr_t)args[n - 1];
		dup2(in, 0);
		dup2(out, 1);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		if (which == OURS)
			_exit(tar_main(n, argv));
		execvp("tar", argv);
		_exit(126);
	}
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

/* As CRIU: the folder is stdin. */
static int create(enum tar which, bool gzip)
{
	const char *args[] = { "--create", CREATE_OPTIONS, "--directory", "/proc/self/fd/0", ".", gzip ? "--gzip" : NULL, NULL };
	int in = open(path_of("from"), O_PATH | O_DIRECTORY | O_CLOEXEC), out = open(path_of("img"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int st = run(which, args, in, out);

	close(in);
	close(out);
	return st;
}

static int extract(enum tar which, bool gzip)
{
	const char *args[] = { "--extract", "--no-unquote", "--no-wildcards", "--directory", path_of("to"), gzip ? "--gzip" : NULL, NULL };
	int in = open(path_of("img"), O_RDONLY | O_CLOEXEC), out = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int st = run(which, args, in, out);

	close(in);
	close(out);
	return st;
}

/* --- trees --- */

/* All that a tree is, as text. */
static void describe(const char *path, const char *name, struct buf *b)
{
	struct dirent **list = NULL;
	char link[512] = "", below[4096], below_name[4096];
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	if (S_ISLNK(st.st_mode))
		assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	buf_printf(b, "%s %o %u:%u %u:%u %lld n%d %s", name, st.st_mode, st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev),
		   (long long)st.st_mtime, S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink, link);
	if (S_ISREG(st.st_mode)) {
		struct buf data = BUF_INIT(1u << 20);
		unsigned sum = 0;

		assert_int_equal(file_read(AT_FDCWD, path, &data, NULL), 0);
		for (size_t i = 0; i < data.len; i++)
			sum = sum * 31 + (unsigned char)data.data[i];
		buf_printf(b, " %zu %u", data.len, sum);
		buf_free(&data);
	}
	buf_puts(b, "\n");
	if (S_ISDIR(st.st_mode)) {
		int n = scandir(path, &list, NULL, alphasort);

		for (int i = 0; i < n; i++) {
			if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, "..")) {
				snprintf(below, sizeof(below), "%s/%s", path, list[i]->d_name);
				snprintf(below_name, sizeof(below_name), "%s/%s", name, list[i]->d_name);
				describe(below, below_name, b);
			}
			free(list[i]);
		}
		free(list);
	}
}

static void assert_same_trees(void)
{
	struct buf a = BUF_INIT(4u << 20), b = BUF_INIT(4u << 20);

	describe(path_of("from"), ".", &a);
	describe(path_of("to"), ".", &b);
	assert_string_equal(a.data, b.data);
	buf_free(&a);
	buf_free(&b);
}

static bool is_empty(const char *name)
{
	DIR *d = opendir(path_of(name));
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n == 2;
}

static void fresh(const char *name)
{
	tree_remove(AT_FDCWD, path_of(name), NULL);
	assert_int_equal(mkdir(path_of(name), 0700), 0);
}

static void put_file(const char *name, size_t size, mode_t mode)
{
	struct buf data = BUF_INIT(1u << 20);

	for (size_t i = 0; i < size; i++)
		buf_append(&data, &"a\0b\nc"[i % 5], 1);
	assert_int_equal(file_write(AT_FDCWD, path_of(name), data.data ? data.data : "", size, 0600, false, NULL), 0);
	assert_int_equal(chmod(path_of(name), mode), 0);
	buf_free(&data);
}

static void put_node(const char *name, mode_t mode, unsigned maj, unsigned min)
{
	if (mknod(path_of(name), mode, makedev(maj, min)) < 0)
		print_message("NOT TESTED: mknod %s: %s\n", name, strerror(errno));
}

static void set_time(const char *name, time_t s)
{
	const struct timespec t[2] = { { .tv_sec = s }, { .tv_sec = s } };

	assert_int_equal(utimensat(AT_FDCWD, path_of(name), t, AT_SYMLINK_NOFOLLOW), 0);
}

#define LONG "a-name-of-a-folder-that-is-sixty-bytes-long-as-those-of-cgroups"

/* What a container's tmpfs mounts hold, and some more. */
static void make_tree(void)
{
	static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "pts/ptmx", "ptmx" }, { "cpu,cpuacct", "cpu" },
						{ "../../outside", "sub/up" } };
	char name[512];

	umask(0);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) - 1; i++) {
		snprintf(name, sizeof(name), "from/%s", links[i][1]);
		assert_int_equal(symlink(links[i][0], path_of(name)), 0);
	}
	put_node("from/null", S_IFCHR | 0666, 1, 3);
	put_node("from/big-numbers", S_IFCHR | 0600, 4000, 100000);
	put_node("from/disk", S_IFBLK | 0660, 8, 17);
	put_node("from/fifo", S_IFIFO | 0640, 0, 0);
	assert_int_equal(mkdir(path_of("from/shm"), 01777), 0);
	assert_int_equal(mkdir(path_of("from/pts"), 0755), 0);
	assert_int_equal(mkdir(path_of("from/sub"), 02710), 0);
	assert_int_equal(symlink(links[4][0], path_of("from/sub/up")), 0);
	put_file("from/empty", 0, 0644);
	put_file("from/termination-log", 17, 0600);
	put_file("from/block", 512, 0444);
	put_file("from/largest", 65536, 0644);
	put_file("from/sub/setuid", 513, 06755);
	put_file("from/sub/ \\ n\303\244me\n-", 1, 0);
	assert_int_equal(mkdir(path_of("from/" LONG), 0700), 0);
	put_file("from/" LONG "/" LONG, 3, 0644);
	assert_int_equal(lchown(path_of("from/fd"), 1000, 2000), 0);
	assert_int_equal(chown(path_of("from/sub/setuid"), 65534, 2097151), 0);
	assert_int_equal(chmod(path_of("from/sub/setuid"), 06755), 0);
	assert_int_equal(chown(path_of("from/shm"), 7, 8), 0);
	assert_int_equal(chown(path_of("from"), 9, 10), 0);
	assert_int_equal(chmod(path_of("from"), 02751), 0);
	set_time("from/fd", 1);
	set_time("from/sub/setuid", 1000000000);
	set_time("from/" LONG, 4102444800);
	set_time("from/sub", 12345);
	set_time("from", 54321);
}

static int setup(void **state)
{
	(void)state;
	umask(022);
	for (size_t i = 0; i < 3; i++)
		fresh(((const char *const[]){ "from", "to", "outside" })[i]);
	return 0;
}

static struct buf image(void)
{
	struct buf b = BUF_INIT(8u << 20);

	assert_int_equal(file_read(AT_FDCWD, path_of("img"), &b, NULL), 0);
	return b;
}

/* Made by gzip: it compresses. */
static bool is_gzip(void)
{
	struct buf b = image();
	bool gzip = b.len > 10 && !memcmp(b.data, "\x1f\x8b", 2) && b.data[10] & 6;

	buf_free(&b);
	return gzip;
}

/* True when the archive is one that we read ourselves; how many entries it has. */
static bool is_ours(size_t *ret_n)
{
	struct tar_entry *e = NULL;
	struct error err = { 0 };
	struct buf b = image();
	int r = b.data[0] == '\x1f' ? tar_gunzip(b.data, &b.len, &err) : 0;

	if (r == 0)
		r = tar_scan(b.data, b.len, &e, ret_n, &err);
	free(e);
	buf_free(&b);
	return r == 0;
}

/* --- round trips --- */

static void ours_and_gnu_tar_read_each_other(void **state)
{
	static const struct {
		enum tar from, to;
		bool gzip_create, gzip_extract, gzip_made;
	} ways[] = {
		{ OURS, OURS, true, true, false },
		{ OURS, REAL, true, true, false },
		{ REAL, OURS, false, true, false },
		{ REAL, OURS, true, true, true },
		{ REAL, REAL, true, true, true },       /* is the test right? */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		setup(NULL);
		make_tree();
		assert_int_equal(create(ways[i].from, ways[i].gzip_create), 0);
		assert_int_equal(is_gzip(), ways[i].gzip_made);
		/* With GNU tar a long name is an entry of its own kind, which we hand over; for one without see gnu_archives_are_understood(). */
		umask(077);
		assert_int_equal(extract(ways[i].to, ways[i].gzip_extract), 0);
		assert_same_trees();
	}
}

/* Read by us, not handed over. */
static void gnu_archives_are_understood(void **state)
{
	size_t n = 0;

	(void)state;
	make_tree();
	assert_int_equal(create(OURS, true), 0);
	assert_true(is_ours(&n));
	print_message("our archive: %zu entries\n", n);
	tree_remove(AT_FDCWD, path_of("from/" LONG), NULL);
	assert_int_equal(create(REAL, false), 0);
	assert_true(is_ours(&n));
	print_message("GNU tar's archive: %zu entries understood\n", n);
	assert_int_equal(extract(OURS, true), 0);
	set_time("from", 5);
	set_time("to", 5);
	assert_same_trees();
}

static void an_empty_folder(void **state)
{
	struct buf b;

	(void)state;
	assert_int_equal(chmod(path_of("from"), 01555), 0);
	set_time("from", 77);
	assert_int_equal(create(OURS, true), 0);
	b = image();
	assert_int_equal(b.len, 3 * TAR_BLOCK + 23);
	buf_free(&b);
	assert_int_equal(extract(OURS, true), 0);
	assert_same_trees();
}

static void what_is_there_is_replaced(void **state)
{
	(void)state;
	make_tree();
	assert_int_equal(create(OURS, true), 0);
	assert_int_equal(symlink(path_of("outside"), path_of("to/shm")), 0);
	assert_int_equal(symlink(path_of("outside/x"), path_of("to/empty")), 0);
	put_file("to/fd", 9, 0600);
	assert_int_equal(mkdir(path_of("to/sub"), 0700), 0);
	assert_int_equal(extract(OURS, true), 0);
	assert_same_trees();
	assert_true(is_empty("outside"));
}

/* --- handed over --- */

static void hard_link(void)
{
	put_file("from/a", 3, 0644);
	assert_int_equal(link(path_of("from/a"), path_of("from/b")), 0);
}

static void attribute(void)
{
	assert_int_equal(mkdir(path_of("from/a"), 0755), 0);
	assert_int_equal(mkdir(path_of("from/a/b"), 0755), 0);
	put_file("from/a/b/c", 3, 0644);
	assert_int_equal(lsetxattr(path_of("from/a/b/c"), "trusted.pm", "1", 1, 0), 0);
}

static void attribute_of_the_folder(void)
{
	assert_int_equal(lsetxattr(path_of("from"), "trusted.pm", "1", 1, 0), 0);
}

static void large_file(void)
{
	put_file("from/a", 65537, 0644);
}

/* gzip stores it in part. */
static void noise(void)
{
	struct buf data = BUF_INIT(1u << 20);
	unsigned seed = 3;

	for (int i = 0; i < 300000; i++)
		buf_append(&data, (char[]){ (char)(rand_r(&seed) >> 8) }, 1);
	assert_int_equal(file_write(AT_FDCWD, path_of("from/a"), data.data, data.len, 0600, false, NULL), 0);
	buf_free(&data);
}

static void holes(void)
{
	put_file("from/a", 1, 0644);
	assert_int_equal(truncate(path_of("from/a"), 60000), 0);
}

static void long_link(void)
{
	char target[102];

	memset(target, 'x', 101);
	target[101] = '\0';
	assert_int_equal(symlink(target, path_of("from/a")), 0);
}

static void high_owner(void)
{
	put_file("from/a", 0, 0644);
	assert_int_equal(chown(path_of("from/a"), 2097152, 0), 0);
}

static void before_1970(void)
{
	put_file("from/a", 0, 0644);
	set_time("from/a", -5);
}

static void long_name(void)
{
	put_file("from/" LONG LONG, 0, 0644);
}

static void many(void)
{
	char name[64];

	for (int i = 0; i < TAR_ENTRIES_MAX; i++) {
		snprintf(name, sizeof(name), "from/%d", i);
		assert_int_equal(mkdir(path_of(name), 0755), 0);
	}
}

static void what_we_do_not_do_is_gnu_tars(void **state)
{
	static const struct {
		const char *what;
		void (*make)(void);
	} cases[] = {
		{ "hard link", hard_link },       { "xattr", attribute },          { "xattr of the folder", attribute_of_the_folder },
		{ "large file", large_file },     { "holes", holes },              { "long link", long_link },
		{ "high owner", high_owner },     { "before 1970", before_1970 },  { "long name", long_name },
		{ "many entries", many },         { "noise", noise },
	};
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		cases[i].make();
		assert_int_equal(create(OURS, true), 0);
		if (is_ours(&n))
			fail_msg("%s: not handed over", cases[i].what);
		assert_int_equal(extract(OURS, true), 0);
		assert_same_trees();
		/* Its uncompressed archive too, without --gzip then. */
		fresh("to");
		assert_int_equal(create(REAL, false), 0);
		assert_int_equal(extract(OURS, true), 0);
		assert_same_trees();
	}
	print_message("%zu kinds of trees handed over\n", sizeof(cases) / sizeof(cases[0]));
}

static void a_socket_is_left_out(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path_of("from/s"));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	assert_int_equal(create(OURS, true), 0);
	assert_true(is_gzip());
	assert_int_equal(extract(OURS, true), 0);
	assert_true(is_empty("to"));
}

/* Every file has one on a node with SELinux. */
static void a_label_is_no_hindrance(void **state)
{
	(void)state;
	put_file("from/a", 3, 0644);
	if (lsetxattr(path_of("from/a"), "security.selinux", "x", 2, 0) < 0) {
		print_message("NOT TESTED: security.selinux: %s\n", strerror(errno));
		return;
	}
	assert_int_equal(create(OURS, true), 0);
	assert_false(is_gzip());
}

/* What lies on another file system is not archived, but the folder it is mounted on is. */
static void a_mount_is_for_gnu_tar(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path_of("from/m"), 0755), 0);
	if (mount("tmpfs", path_of("from/m"), "tmpfs", 0, NULL) < 0) {
		print_message("NOT TESTED: mount: %s\n", strerror(errno));
		return;
	}
	put_file("from/m/inside", 3, 0644);
	assert_int_equal(create(OURS, true), 0);
	assert_int_equal(umount(path_of("from/m")), 0);
	assert_true(is_gzip());
	assert_int_equal(extract(OURS, true), 0);
	assert_true(is_empty("to/m"));
}

static void other_command_lines_are_gnu_tars(void **state)
{
	const char *verbose[] = { "--create", "--gzip", "--verbose", CREATE_OPTIONS, "--directory", path_of("from"), ".", NULL };
	const char *named[] = { "--create", "--gzip", CREATE_OPTIONS, "--directory", path_of("from"), "a", NULL };
	const char *by_name[] = { "--create", "--gzip", "--one-file-system", "--directory", path_of("from"), ".", NULL };
	const char *const *cases[] = { verbose, named, by_name };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	put_file("from/a", 1, 0644);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int out = open(path_of("img"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_int_equal(run(OURS, cases[i], null, out), 0);
		close(out);
		assert_true(is_gzip());
	}
	/* Had the node's tar been this program, it would end here. */
	setenv("PODMIGRATION_TAR", "1", 1);
	assert_int_equal(run(OURS, verbose, null, null), 2);
	unsetenv("PODMIGRATION_TAR");
	close(null);
}

/* What cannot be read twice is not read at all. */
static void a_pipe_is_for_gnu_tar(void **state)
{
	const char *args[] = { "--extract", "--gzip", "--directory", path_of("to"), NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), p[2];
	struct buf b;

	(void)state;
	put_file("from/a", 3, 0644);
	set_time("from", 5);
	assert_int_equal(create(OURS, true), 0);
	b = image();
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(write_full(p[1], b.data, b.len), 0);
	close(p[1]);
	assert_int_equal(run(OURS, args, p[0], null), 0);
	assert_int_equal(chmod(path_of("to"), 0700), 0);
	assert_same_trees();
	close(p[0]);
	close(null);
	buf_free(&b);
}

/* --- damaged --- */

static void put_header(struct buf *b, char type, const char *name, const char *link, const char *size)
{
	struct tar_header h = { .type = type, .mode = "0000644", .uid = "0000000", .gid = "0000000", .mtime = "00000000001", .major = "0000001",
				.minor = "0000003" };

	memcpy(h.magic, TAR_MAGIC_POSIX, sizeof(h.magic));
	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	memcpy(h.link, link, strnlen(link, sizeof(h.link)));
	memcpy(h.size, size, strnlen(size, sizeof(h.size)));
	snprintf(h.checksum, sizeof(h.checksum), "%06o", tar_checksum(&h) & 0777777u);
	assert_int_equal(buf_append(b, &h, sizeof(h)), 0);
}

static void put_end(struct buf *b)
{
	char zeros[2 * TAR_BLOCK] = { 0 };

	assert_int_equal(buf_append(b, zeros, sizeof(zeros)), 0);
	assert_int_equal(file_write(AT_FDCWD, path_of("img"), b->data, b->len, 0600, false, NULL), 0);
	buf_free(b);
}

static void names_that_lead_out_are_refused(void **state)
{
	static const char *const names[] = { "../outside/x", "a/../../outside/x", "..", "./..", "/outside", "//x", "", "a/..", "." };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (size_t t = 0; t < 4; t++) {
			struct buf b = BUF_INIT(65536);

			put_header(&b, TAR_FILE, "./first", "", "0");
			put_header(&b, "0263"[t], names[i], "target", "0");
			put_end(&b);
			assert_int_equal(extract(OURS, true), 2);
			/* Decided before anything was made. */
			assert_true(is_empty("to"));
			assert_true(is_empty("outside"));
		}
}

static void links_are_never_followed(void **state)
{
	(void)state;
	for (int there = 0; there < 2; there++)
		for (size_t t = 0; t < 4; t++) {
			struct buf b = BUF_INIT(65536);

			setup(NULL);
			if (there)
				assert_int_equal(symlink("../outside", path_of("to/a")), 0);
			else
				put_header(&b, TAR_SYMLINK, "a", path_of("outside"), "0");
			put_header(&b, "0253"[t], "a/x", "target", "0");
			put_end(&b);
			assert_int_equal(extract(OURS, true), 2);
			assert_true(is_empty("outside"));
		}
}

static void a_link_that_became_a_folder_is_no_way_out(void **state)
{
	struct buf b = BUF_INIT(65536);
	struct stat st;

	(void)state;
	assert_int_equal(chmod(path_of("outside"), 0701), 0);
	put_header(&b, TAR_DIR, "a/", "", "0");
	put_header(&b, TAR_DIR, "a/b/", "", "0");
	put_header(&b, TAR_SYMLINK, "a", "../outside", "0");
	put_end(&b);
	assert_int_equal(extract(OURS, true), 2);
	setup(NULL);
	assert_int_equal(chmod(path_of("outside"), 0701), 0);
	/* A folder of the archive that is a link by the time its mode is set. */
	put_header(&b, TAR_SYMLINK, "a", "../outside", "0");
	put_header(&b, TAR_DIR, "a/", "", "0");
	put_header(&b, TAR_SYMLINK, "c", "../outside", "0");
	put_header(&b, TAR_CHAR, "c", "", "0");
	put_end(&b);
	assert_int_equal(extract(OURS, true), 0);
	assert_int_equal(stat(path_of("outside"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0701);
	assert_true(is_empty("outside"));
}

static void sizes_beyond_the_archive_are_refused(void **state)
{
	static const char *const sizes[] = { "777777777777", "77777777777", "00000001001", "00000003001", "x", "", "-1" };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buf b = BUF_INIT(65536);

		put_header(&b, TAR_FILE, "first", "", "0");
		put_header(&b, TAR_FILE, "a", "", sizes[i]);
		/* 00000001001: 513 bytes, whose padding would take the end with it. */
		put_end(&b);
		assert_int_equal(extract(OURS, true), 2);
		assert_true(is_empty("to"));
	}
}

/* In memory that ends with the archive, so that a sanitizer sees a byte read behind it. */
static int scan_copy(const char *data, size_t len, struct buf *text)
{
	char *copy = malloc(len ? len : 1);
	struct tar_entry *e = NULL;
	struct error err = { 0 };
	size_t n = 0;
	int r;

	memcpy(copy, data, len);
	r = tar_scan(copy, len, &e, &n, &err);
	assert_true(r == 0 || !e);
	assert_true(r >= 0 || err.message[0]);
	for (size_t i = 0; i < n; i++) {
		char path[TAR_PATH_SIZE + 2];

		snprintf(path, sizeof(path), "/%s/", e[i].path);
		assert_null(strstr(path, "/../"));
		assert_true(!strstr(path, "//") || !e[i].path[0]);
		buf_printf(text, "%s %s %c %o %u %u %u %u %lld %zu\n", e[i].path, e[i].link, e[i].type, e[i].mode, e[i].uid, e[i].gid, e[i].major,
			   e[i].minor, (long long)e[i].mtime, e[i].size);
	}
	free(e);
	free(copy);
	return r;
}

static void every_flipped_bit_and_every_cut_is_seen(void **state)
{
	struct buf b, want = BUF_INIT(1u << 20), got = BUF_INIT(1u << 20);
	unsigned refused = 0, same = 0, cuts = 0;
	struct error err = { 0 };

	(void)state;
	put_node("from/null", S_IFCHR | 0666, 1, 3);
	assert_int_equal(symlink("/proc/self/fd", path_of("from/fd")), 0);
	put_file("from/a", 0, 0644);
	assert_int_equal(create(OURS, true), 0);
	b = image();
	assert_int_equal(tar_gunzip(b.data, &b.len, &err), 0);
	assert_int_equal(scan_copy(b.data, b.len, &want), 0);
	for (size_t bit = 0; bit < (b.len - 2 * TAR_BLOCK) * 8; bit++) {
		buf_reset(&got);
		b.data[bit / 8] = (char)(b.data[bit / 8] ^ 1 << bit % 8);
		if (scan_copy(b.data, b.len, &got) == 0) {
			/* Only what is behind the digits of the checksum says nothing. */
			assert_string_equal(got.data, want.data);
			assert_in_range(bit / 8 % TAR_BLOCK, 148, 155);
			same++;
		} else {
			refused++;
		}
		b.data[bit / 8] = (char)(b.data[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t len = 0; len < b.len; len++, cuts++)
		assert_true(scan_copy(b.data, len, &got) < 0);
	print_message("%u flipped bits refused, %u without meaning; %u cuts refused\n", refused, same, cuts);
	assert_true(refused > 16000);
	/* The program says it too. */
	b.data[100] ^= 1;
	assert_int_equal(file_write(AT_FDCWD, path_of("img"), b.data, b.len, 0600, false, NULL), 0);
	assert_int_equal(extract(OURS, true), 2);
	assert_int_equal(file_write(AT_FDCWD, path_of("img"), "", 0, 0600, false, NULL), 0);
	assert_int_equal(extract(OURS, true), 2);
	assert_true(is_empty("to"));
	buf_free(&b);
	buf_free(&want);
	buf_free(&got);
}

static int gunzip_copy(const char *data, size_t len, const struct buf *want)
{
	char *copy = malloc(len ? len : 1);
	struct error err = { 0 };
	size_t n = len;
	int r;

	memcpy(copy, data, len);
	r = tar_gunzip(copy, &n, &err);
	assert_true(r >= 0 || err.message[0]);
	if (r > 0)
		assert_memory_equal(copy, data, len);
	if (r == 0) {
		assert_int_equal(n, want->len);
		assert_memory_equal(copy, want->data, n);
	}
	free(copy);
	return r;
}

/* The content of files is covered too. */
static void the_envelope_shows_damage(void **state)
{
	struct buf in = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20);
	unsigned refused = 0, not_ours = 0, same = 0;

	(void)state;
	for (size_t i = 0; i < 700; i++)
		buf_append(&in, &"x\0yz"[i % 4], 1);
	assert_int_equal(tar_gzip(in.data, in.len, &out), 0);
	for (size_t bit = 0; bit < out.len * 8; bit++) {
		int r;

		out.data[bit / 8] = (char)(out.data[bit / 8] ^ 1 << bit % 8);
		r = gunzip_copy(out.data, out.len, &in);
		refused += r < 0;
		not_ours += r > 0;
		same += r == 0;
		/* Time, level and system in gzip's header. */
		assert_true(r || (bit / 8 >= 4 && bit / 8 < 10));
		out.data[bit / 8] = (char)(out.data[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t len = 0; len < out.len; len++)
		assert_true(gunzip_copy(out.data, len, &in));
	print_message("envelope: %u flipped bits refused, %u for gzip to judge, %u without meaning\n", refused, not_ours, same);
	/* A compressed block behind a stored one. */
	buf_reset(&in);
	buf_reserve(&in, 70000);
	memset(in.data, 'q', 70000);
	in.len = 70000;
	buf_reset(&out);
	assert_int_equal(tar_gzip(in.data, in.len, &out), 0);
	out.data[10 + 5 + 65535] = 5;
	assert_int_equal(gunzip_copy(out.data, out.len, &in), 1);
	/* Sizes around those of a block; gzip agrees in ours_and_gnu_tar_read_each_other(), whose archive has two. */
	for (size_t i = 0; i < 8; i++) {
		size_t len = ((const size_t[]){ 0, 1, 65534, 65535, 65536, 131069, 131070, 131071 })[i];

		buf_reset(&in);
		buf_reset(&out);
		buf_reserve(&in, len);
		memset(in.data, 'q', len);
		in.len = len;
		assert_int_equal(tar_gzip(in.data, in.len, &out), 0);
		assert_int_equal(gunzip_copy(out.data, out.len, &in), 0);
	}
	buf_free(&in);
	buf_free(&out);
}

/* Bytes at random with right checksums: nothing is read behind the end, nothing leads out. */
static void random_headers_do_no_harm(void **state)
{
	struct buf got = BUF_INIT(1u << 20);
	unsigned seed = 1, ok = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct buf b = BUF_INIT(65536);
		struct tar_header *h;

		for (int i = 0; i < 3; i++)
			put_header(&b, "0253645"[rand_r(&seed) % 7], "./dir/name", "target", "0");
		for (int i = rand_r(&seed) % 4; i >= 0; i--)
			b.data[(size_t)rand_r(&seed) % b.len] = "./\0 07a\377"[rand_r(&seed) % 8];
		h = (struct tar_header *)(void *)b.data;
		for (int i = 0; i < 3; i++)
			snprintf(h[i].checksum, sizeof(h[i].checksum), "%06o", tar_checksum(&h[i]) & 0777777u);
		buf_append(&b, (char[2 * TAR_BLOCK]){ 0 }, 2 * TAR_BLOCK);
		buf_reset(&got);
		ok += scan_copy(b.data, b.len, &got) == 0;
		buf_free(&b);
	}
	print_message("20000 random archives, %u of them well formed\n", ok);
	buf_free(&got);
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ours_and_gnu_tar_read_each_other), T(gnu_archives_are_understood), T(an_empty_folder), T(what_is_there_is_replaced),
		T(what_we_do_not_do_is_gnu_tars), T(a_socket_is_left_out), T(a_label_is_no_hindrance), T(a_mount_is_for_gnu_tar), T(other_command_lines_are_gnu_tars),
		T(a_pipe_is_for_gnu_tar), T(names_that_lead_out_are_refused), T(links_are_never_followed), T(a_link_that_became_a_folder_is_no_way_out),
		T(sizes_beyond_the_archive_are_refused), T(every_flipped_bit_and_every_cut_is_seen), T(the_envelope_shows_damage), T(random_headers_do_no_harm),
	};
	int r;

	if (geteuid() != 0) {
		puts("NOT TESTED: owners and device nodes need root");
		return 0;
	}
	/* Where CRIU meets such trees: on a tmpfs. */
	snprintf(top, sizeof(top), "/dev/shm/pm-tar-XXXXXX");
	if (!mkdtemp(top)) {
		snprintf(top, sizeof(top), "/tmp/pm-tar-XXXXXX");
		if (!mkdtemp(top))
			return 2;
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tree_remove(AT_FDCWD, top, NULL);
	return r;
}
