/* SPDX-License-Identifier: Apache-2.0 */
#include "container/criu_images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "criu_fields.h"

/*
 * core-N.img, one core_entry for each thread (CRIU's images/core.proto, core-x86.proto).  What a thread that waits was doing is in its registers.  CRIU lets calls that the
 * kernel restarts by itself restart, but for those of which the kernel keeps a note of its own (ERESTART_RESTARTBLOCK, compel's get_task_regs): these it lets return EINTR.
 */
#define IMAGE_MAX (1u << 20)

enum { CORE_MACHINE = 1, CORE_THREAD_INFO = 2, CORE_TASK = 3, CORE_THREAD = 5 };
enum { INFO_REGISTERS = 2 };
enum { TASK_SIGNALS = 10, THREAD_SIGNALS = 9 };
enum { R10 = 8, AX = 11, DX = 13, SI = 14, DI = 15, ORIG_AX = 16, IP = 17, CS = 18, REGISTERS = 19 };

#define MACHINE_X86_64 1
#define CODE64 0x33             /* cs of 64-bit code */
#define SYSCALL_SIZE 2          /* of the instruction */
#define CALL_POLL 7             /* arch/x86/entry/syscalls/syscall_64.tbl */
#define CALL_NANOSLEEP 35
#define CALL_FUTEX 202
#define CALL_CLOCK_NANOSLEEP 230

struct registers {
	uint64_t v[REGISTERS];
	struct cursor at[REGISTERS];    /* their bytes */
};

/* A rest is written where the caller wants it, when the call is interrupted.  Where that is also what it asks for, or nobody asks, the same call goes on; else the caller looks. */
static bool sleeps_on(uint64_t asked, uint64_t rest)
{
	return rest == 0 || rest == asked;
}

/* Would the same call with the same arguments do what the interrupted one was to do?  At worst it waits longer, by what it had waited. */
static bool is_repeatable(const uint64_t *v)
{
	switch (v[ORIG_AX]) {
	case CALL_POLL:
		return true;
	case CALL_NANOSLEEP:
		return sleeps_on(v[DI], v[SI]);
	case CALL_CLOCK_NANOSLEEP:
		return sleeps_on(v[DX], v[R10]);
	case CALL_FUTEX:
		/* Its time is a point in time.  Who waits for a span (FUTEX_WAIT) reckons it again. */
		return ((int)v[SI] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
	default:
		return false;
	}
}

static int read_registers(struct cursor info, struct registers *ret)
{
	uint64_t number, value;
	struct cursor content, c;
	int r;

	while ((r = fields_next(&info, &number, &value, &content)) > 0) {
		if (number != INFO_REGISTERS)
			continue;
		for (c = content; (r = fields_next(&c, &number, &value, &content)) > 0;)
			if (number < REGISTERS) {
				ret->v[number] = value;
				ret->at[number] = content;
			}
		if (r < 0)
			return r;
	}
	return r;
}

/* Does a signal wait?  Then the call has to return, for the program to see what its handler did. */
static int has_signals(struct cursor part, uint64_t field)
{
	uint64_t number, value;
	struct cursor content;
	int r, any = 0;

	while ((r = fields_next(&part, &number, &value, &content)) > 0)
		any |= number == field && content.end > content.p;
	return r < 0 ? r : any;
}

static int read_core(struct cursor core, struct registers *ret, bool *ret_usable)
{
	uint64_t number, value, machine = 0;
	struct cursor content;
	int r, signals = 0;

	while ((r = fields_next(&core, &number, &value, &content)) > 0) {
		if (number == CORE_MACHINE)
			machine = value;
		else if (number == CORE_THREAD_INFO)
			r = read_registers(content, ret);
		else if (number == CORE_TASK || number == CORE_THREAD)
			r = has_signals(content, number == CORE_TASK ? TASK_SIGNALS : THREAD_SIGNALS);
		if (r < 0)
			return r;
		signals |= (number == CORE_TASK || number == CORE_THREAD) && r > 0;
	}
	*ret_usable = machine == MACHINE_X86_64 && !signals;
	return r;
}

/* In its place: as many bytes as are there, of which the last ones may say nothing. */
static int put_number(int fd, const char *base, struct cursor at, uint64_t value)
{
	uint8_t bytes[10];
	size_t n = (size_t)(at.end - at.p);

	if (n == 0 || n > sizeof(bytes) || (n < 10 && value >> (7 * n)))
		return -EBADMSG;
	for (size_t i = 0; i < n; i++, value >>= 7)
		bytes[i] = (uint8_t)(value & 0x7f) | (i + 1 < n ? 0x80 : 0);
	return pwrite(fd, bytes, n, (off_t)((const char *)at.p - base)) == (ssize_t)n ? 0 : -EIO;
}

/* 1: the thread calls again. */
static int restart(int dir, const char *name)
{
	cleanup_close int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	cleanup_buf struct buf b = BUF_INIT(IMAGE_MAX);
	struct registers regs = { 0 };
	struct cursor image, core;
	bool usable = false;
	int r;

	if (fd < 0 || file_read(dir, name, &b, NULL) < 0 || b.len < CRIU_HEADER_SIZE)
		return -EBADMSG;
	image = (struct cursor){ (const uint8_t *)b.data + CRIU_HEADER_SIZE, (const uint8_t *)b.data + b.len };
	r = entries_next(&image, &core);
	if (r > 0)
		r = read_core(core, &regs, &usable);
	if (r < 0)
		return r;
	if (!usable || regs.v[AX] != (uint64_t)-EINTR || regs.v[CS] != CODE64 || regs.v[IP] < SYSCALL_SIZE || !is_repeatable(regs.v))
		return 0;
	r = put_number(fd, b.data, regs.at[AX], regs.v[ORIG_AX]);
	if (r == 0)
		r = put_number(fd, b.data, regs.at[IP], regs.v[IP] - SYSCALL_SIZE);
	return r < 0 ? r : 1;
}

static bool is_core(const char *name)
{
	unsigned pid;
	char rest[8];

	return sscanf(name, "core-%u.%7s", &pid, rest) == 2 && !strcmp(rest, "img");
}

int criu_waits_restart(int image_dir_fd, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	int fd = openat(image_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), changed = 0;
	struct dirent *e;

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		error_errno(err, "list the images");
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	while ((e = readdir(d))) {
		int r = is_core(e->d_name) ? restart(image_dir_fd, e->d_name) : 0;

		if (r < 0)
			return error_set(err, r, "image %s is not valid: %s", e->d_name, strerror(-r));
		changed += r;
	}
	return changed;
}
