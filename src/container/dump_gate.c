/* SPDX-License-Identifier: Apache-2.0 */
#include "dump_gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define GATE_NAME "irmap-cache"

/* criu/include/magic.h.  The file of no entries. */
static const uint32_t service_magic = 0x55105940, irmap_magic = 0x57004059;

int dump_gate_make(const char *dir, int *ret, struct error *err)
{
	cleanup_close int fd = -1;
	char path[1100];

	if (path_format(path, sizeof(path), "%s/%s", dir, GATE_NAME) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	if (mkfifo(path, 0600) < 0)
		return error_errno(err, "make the gate %s", path);
	/* Both ends are ours, so that neither side blocks in opening it. */
	fd = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || write(fd, &service_magic, sizeof(service_magic)) != sizeof(service_magic))
		return error_errno(err, "open the gate %s", path);
	*ret = take_fd(&fd);
	return 0;
}

bool dump_gate_reached(int gate)
{
	int unread = 0;

	return ioctl(gate, FIONREAD, &unread) == 0 && unread == 0;
}

int dump_gate_open(int *gate)
{
	int fd = take_fd(gate), r = write(fd, &irmap_magic, sizeof(irmap_magic)) == sizeof(irmap_magic) ? 0 : -errno;

	close(fd);
	return r;
}

int dump_gate_refuse(int gate)
{
	/* Not the second half of such a file; and a page in all, since CRIU reads on until the file ends or its buffer, a page, is full (criu/bfd.c, brefill). */
	static const uint8_t nothing[65536];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len = (page < sizeof(nothing) ? page : sizeof(nothing)) - sizeof(service_magic);

	return write(gate, nothing, len) == (ssize_t)len ? 0 : -errno;
}
