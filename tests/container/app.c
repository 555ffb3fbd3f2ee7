/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program in the test's containers: counts milliseconds in memory and in a file that the test reads.
 *   app count DIR MIB        two processes (parent and child), each with MIB of patterned memory it keeps checking;
 *                            DIR/counter.0 and .1 hold the count, DIR/bad appears when memory is not what it was
 *   app io_uring DIR 1       the same, with an io_uring open
 *   app unix DIR 1           the same, connected to the stream socket DIR/outside
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul

static uint64_t pattern(uint64_t page)
{
	return page * 0x9e3779b97f4a7c15ull + 1;
}

static void note(const char *dir, const char *name, const void *data, size_t len)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		_exit(3);
	close(fd);
}

/* Every fourth page stays zero: known to be zero is not the same as missing. */
static uint64_t *fill(uint64_t pages)
{
	uint64_t *m = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		_exit(4);
	for (uint64_t i = 0; i < pages; i++)
		m[i * PAGE / 8] = i % 4 ? pattern(i) : 0;
	return m;
}

static void count(const char *dir, int who, uint64_t pages)
{
	const struct timespec ms = { 0, 1000000 };
	uint64_t *m = fill(pages), n = 0;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/counter.%d", dir, who);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		_exit(5);
	for (;; n++) {
		uint64_t page = (n * 7) % pages;

		if (m[page * PAGE / 8] != (page % 4 ? pattern(page) : 0))
			note(dir, "bad", &page, sizeof(page));
		m[page * PAGE / 8 + 1] = page % 4 ? n : 0;
		if (pwrite(fd, &n, sizeof(n), 0) != sizeof(n))
			_exit(6);
		nanosleep(&ms, NULL);
	}
}

static void open_io_uring(void)
{
	char params[120] = { 0 };

	if (syscall(SYS_io_uring_setup, 4, params) < 0)
		_exit(errno == ENOSYS || errno == EPERM ? 77 : 7);
}

static void connect_outside(const char *dir)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s/outside", dir);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		_exit(8);
}

int main(int argc, char **argv)
{
	uint64_t pages;

	if (argc != 4)
		return 2;
	pages = strtoull(argv[3], NULL, 10) * 256;
	if (!strcmp(argv[1], "io_uring"))
		open_io_uring();
	if (!strcmp(argv[1], "unix"))
		connect_outside(argv[2]);
	switch (fork()) {
	case -1:
		return 9;
	case 0:
		count(argv[2], 1, pages);
	}
	count(argv[2], 0, pages);
}
