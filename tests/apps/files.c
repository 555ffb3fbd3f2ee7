/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes the container's own file system in every way an overlay knows, then checks once a second that all of it is still so:
 * `NAME tick N files=ok`, or `NAME BAD <what>`.  The image has /image/{gone,changed,kept,folder/old}.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HOLE (8 << 20)

static const char *name = "files";
static int has_attribute;       /* not every file system takes it */

static void check(int ok, const char *what)
{
	if (!ok)
		printf("%s BAD %s\n", name, what);
}

static void put(const char *path, const char *text, int flags, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | flags, mode);

	check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	if (fd >= 0)
		close(fd);
}

static int holds(const char *path, const char *text)
{
	char got[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(got, text, strlen(text));
}

static void change(void)
{
	check(unlink("/image/gone") == 0, "unlink");
	put("/image/changed", "more\n", O_APPEND, 0);
	/* Made anew, it must hide what the image has in it. */
	check(unlink("/image/folder/old") == 0 && rmdir("/image/folder") == 0 && mkdir("/image/folder", 0711) == 0, "folder");
	put("/image/folder/new", "new\n", 0, 0640);
	check(mkdir("/made", 01777) == 0 && symlink("/image/kept", "/made/link") == 0, "made");
	put("/made/one", "one\n", 0, 0600);
	check(link("/made/one", "/made/two") == 0 && chown("/made/one", 1234, 5678) == 0 && chmod("/made/one", 04755) == 0, "link");
	put("/made/hole", "start", 0, 0644);
	check(truncate("/made/hole", HOLE) == 0 && mkfifo("/made/fifo", 0600) == 0, "special");
	has_attribute = setxattr("/made/one", "user.e2e", "yes", 3, 0) == 0;
	check(has_attribute || errno == ENOTSUP, "xattr");
	put("/made/a name with spaces\nand a line", "odd\n", 0, 0644);
}

static void verify(void)
{
	struct stat a, b;
	char target[64];
	ssize_t n;

	check(access("/image/gone", F_OK) < 0, "a deleted file of the image is back");
	check(holds("/image/changed", "image\nmore\n"), "changed file");
	check(holds("/image/kept", "image\n"), "file of the image");
	check(access("/image/folder/old", F_OK) < 0 && holds("/image/folder/new", "new\n"), "opaque folder");
	check(stat("/image/folder", &a) == 0 && (a.st_mode & 07777) == 0711, "mode of a folder");
	n = readlink("/made/link", target, sizeof(target));
	check(n == 11 && !memcmp(target, "/image/kept", 11), "symbolic link");
	check(stat("/made/one", &a) == 0 && stat("/made/two", &b) == 0 && a.st_ino == b.st_ino && a.st_nlink == 2, "hard link");
	check((a.st_mode & 07777) == 04755 && a.st_uid == 1234 && a.st_gid == 5678, "mode and owner");
	check(!has_attribute || (getxattr("/made/two", "user.e2e", target, sizeof(target)) == 3 && !memcmp(target, "yes", 3)), "extended attribute");
	check(holds("/made/two", "one\n"), "content through a hard link");
	check(stat("/made/hole", &a) == 0 && a.st_size == HOLE && a.st_blocks * 512 < HOLE / 2, "sparse file");
	check(stat("/made/fifo", &a) == 0 && S_ISFIFO(a.st_mode), "fifo");
	check(stat("/made", &a) == 0 && (a.st_mode & 07777) == 01777, "sticky folder");
	check(holds("/made/a name with spaces\nand a line", "odd\n"), "odd name");
}

int main(void)
{
	if (getenv("NAME"))
		name = getenv("NAME");
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(0);
	change();
	for (unsigned long n = 0;; n++) {
		verify();
		printf("%s tick %lu files=ok\n", name, n);
		sleep(1);
	}
}
