/* SPDX-License-Identifier: Apache-2.0 */
#include "inject.h"

#include <errno.h>

#ifndef __x86_64__

int inject_userfaultfd(pid_t pid, int *ret_fd, int64_t *ret_stopped_us, struct error *err)
{
	(void)pid;
	(void)ret_fd;
	(void)ret_stopped_us;
	return error_set(err, -EOPNOTSUPP, "watching a process's memory is not done on this architecture");
}

#else

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "migration/reason.h"

#define STOP_TIMEOUT_US 500000          /* to stop a thread; one that sleeps uninterruptibly is left alone */
/*
 * What it is made to do takes microseconds, seconds when its cgroup has little processor time.  Who has code of his own written where the system call stood a moment ago, or is never
 * through with it (vfork(2)), does not hold us: it is put back.  To leave it with foreign registers would be its end, so that is waited for much longer; only who wants to is not back by then.
 */
#define CALL_TIMEOUT_US 10000000
#define BACK_TIMEOUT_US 300000000
#define SYSCALL_STOP (SIGTRAP | 0x80)   /* PTRACE_O_TRACESYSGOOD */
#define CODE_MAX 65536u                 /* of a mapping, in search of a system call */
#define RSEQ_TRIES 100
#define CODE32 0x23                     /* cs of 32-bit code */
#define SYSCALL_SIZE 2                  /* of the instruction */
#define ERESTART_RESTARTBLOCK 516       /* include/linux/errno.h of the kernel: seen by tracers only */

/* Kernel 5.13; not in the C library's header. */
#define GET_RSEQ_CONFIGURATION 0x420f
struct rseq_configuration {
	uint64_t abi_pointer;
	uint32_t abi_size, signature, flags, pad;
};

/* Kernel 6.4. */
#define GET_DISPATCH_CONFIG 0x4211
struct dispatch_configuration {
	uint64_t mode, selector, offset, len;
};

struct injection {
	pid_t pid;
	uint64_t gate;                  /* where a system call instruction stands in the process */
	bool seized, standing;
	struct user_regs_struct regs;   /* as they were */
	uint64_t mask;
	int late_signal;                /* a signal that cannot be blocked and came meanwhile: sent again afterwards */
	int fd;
	int64_t stopped_us;
	int result;
	struct error err;
};

static int failed(struct injection *i, const char *what)
{
	return error_errno(&i->err, "%s of process %d", what, (int)i->pid);
}

/* --- the code of the process --- */

static bool read_memory(pid_t pid, uint64_t address, void *out, size_t len)
{
	struct iovec local = { out, len }, remote = { (void *)(uintptr_t)address, len };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

static uint64_t find_syscall(pid_t pid, uint64_t start, uint64_t end)
{
	static const uint8_t wanted[] = { 0x0f, 0x05 };
	size_t len = end - start < CODE_MAX ? (size_t)(end - start) : CODE_MAX;
	cleanup_free uint8_t *code = malloc(len);
	const uint8_t *at;

	if (!code || !read_memory(pid, start, code, len))
		return 0;
	at = memmem(code, len, wanted, sizeof(wanted));
	return at ? start + (uint64_t)(at - code) : 0;
}

/* In the vdso, which every process has and none unmaps; else in any other code. */
static int find_gate(struct injection *i)
{
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/maps", (int)i->pid);
	f = fopen(path, "re");
	if (!f)
		return failed(i, "open the maps");
	while (getline(&line, &size, f) > 0) {
		unsigned long long start, end;
		char perms[5] = "";
		bool vdso = strstr(line, "[vdso]") != NULL;
		uint64_t found;

		if (sscanf(line, "%llx-%llx %4s", &start, &end, perms) != 3 || perms[0] != 'r' || perms[2] != 'x' || (i->gate && !vdso) ||
		    strstr(line, "[vsyscall]"))
			continue;
		found = find_syscall(i->pid, start, end);
		if (found)
			i->gate = found;
	}
	return i->gate ? 0 : error_set(&i->err, -EOPNOTSUPP, "no system call instruction found in process %d", (int)i->pid);
}

/* --- its state --- */

/* Line "key" of /proc/PID/status, in base 16; all ones when it cannot be read. */
static uint64_t status_bits(const struct injection *i, const char *key)
{
	cleanup_buf struct buf status = BUF_INIT(65536);
	const char *line;
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/status", (int)i->pid);
	line = file_read(AT_FDCWD, path, &status, NULL) < 0 ? NULL : strstr(status.data, key);
	return line ? strtoull(line + strlen(key), NULL, 16) : ~0ull;
}

static bool has_filter(const struct injection *i)
{
	return status_bits(i, "\nSeccomp:") != 0;
}

/* --- stops --- */

/*
 * The next stop of the thread, which runs.  Nothing but SIGCHLD, which belongs to the whole process, tells of it, so it is looked for: it comes within microseconds.
 */
static int next_stop(struct injection *i, int64_t deadline_us, int *ret_status)
{
	struct timespec pause = { 0, 20000 };

	i->standing = false;
	for (;;) {
		pid_t p = waitpid(i->pid, ret_status, __WALL | WNOHANG);

		if (p < 0 && errno != EINTR)
			return failed(i, "wait for a stop");
		if (p == i->pid && !WIFSTOPPED(*ret_status)) {
			i->seized = false;
			return error_set(&i->err, -ESRCH, "process %d ended", (int)i->pid);
		}
		i->standing = p == i->pid;
		if (i->standing)
			return 0;
		if (clock_mono_us() > deadline_us)
			return error_set(&i->err, -ETIMEDOUT, "process %d could not be stopped: it sleeps uninterruptibly", (int)i->pid);
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 200000)
			pause.tv_nsec *= 2;
	}
}

static bool is_event_stop(int status)
{
	return status >> 16 == PTRACE_EVENT_STOP;
}

/* Until the thread stands where PTRACE_INTERRUPT stops it: about to return to its program, signals and system call restarts not looked at yet. */
static int interrupt(struct injection *i, int64_t deadline_us)
{
	if (ptrace(PTRACE_INTERRUPT, i->pid, 0, 0) < 0)
		return failed(i, "interrupt a thread");
	for (;;) {
		int status, r = next_stop(i, deadline_us, &status);

		if (r < 0)
			return r;
		if (is_event_stop(status) && WSTOPSIG(status) == SIGTRAP)
			return 0;
		if (is_event_stop(status))
			return error_set(&i->err, -EOPNOTSUPP, "process %d is stopped by a signal", (int)i->pid);
		/* A signal on its way: it takes it. */
		if (ptrace(PTRACE_CONT, i->pid, 0, (long)WSTOPSIG(status)) < 0)
			return failed(i, "continue a thread");
	}
}

/*
 * A restartable sequence (rseq(2)) must not be resumed in the middle: the kernel would not see that it was interrupted, since the registers that it
 * looks at are ours.
 */
static bool in_rseq(const struct injection *i)
{
	struct rseq_configuration c = { 0 };
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} section;
	uint64_t pointer = 0;

	if (ptrace(GET_RSEQ_CONFIGURATION, i->pid, sizeof(c), &c) < 0 || !c.abi_pointer || !read_memory(i->pid, c.abi_pointer + 8, &pointer, 8) ||
	    !pointer || !read_memory(i->pid, pointer, &section, sizeof(section)))
		return false;
	return i->regs.rip - section.start < section.length;
}

/*
 * Syscall user dispatch (prctl(2), PR_SET_SYSCALL_USER_DISPATCH): what is called outside of one range of code comes to the program as SIGSYS, which ends it when it is blocked, as it is
 * while we call in its name, and while CRIU does (checkpoint-restore/criu#2037).
 */
static int check_dispatch(struct injection *i)
{
	struct dispatch_configuration c = { 0 };

	if (ptrace(GET_DISPATCH_CONFIG, i->pid, sizeof(c), &c) < 0 || c.mode == 0)
		return 0;
	return error_reason(&i->err, -ENOTSUP, REASON_UnsupportedContainer,
			    "process %d has its system calls given back to itself (prctl PR_SET_SYSCALL_USER_DISPATCH, as Wine from 11.5 on does); CRIU would end it", (int)i->pid);
}

/*
 * userfaultfd is in few seccomp filters, and for what is not in them some end the process.  Only who has no filter himself may suspend another's (kernel/ptrace.c,
 * check_ptrace_options).
 */
static int seize(struct injection *i)
{
	const long options = PTRACE_O_TRACESYSGOOD;

	if (ptrace(PTRACE_SEIZE, i->pid, 0, options | PTRACE_O_SUSPEND_SECCOMP) == 0)
		return 0;
	if (has_filter(i))
		return error_set(&i->err, -EOPNOTSUPP, "process %d has a seccomp filter that cannot be suspended", (int)i->pid);
	return ptrace(PTRACE_SEIZE, i->pid, 0, options) < 0 ? failed(i, "ptrace") : 0;
}

static int stop(struct injection *i)
{
	int64_t deadline = clock_mono_us() + STOP_TIMEOUT_US;
	int r = seize(i);

	if (r < 0)
		return r;
	i->seized = true;
	for (int tries = 0;; tries++) {
		r = interrupt(i, deadline);
		if (r < 0)
			return r;
		if (ptrace(PTRACE_GETREGS, i->pid, 0, &i->regs) < 0)
			return failed(i, "read the registers");
		r = check_dispatch(i);
		if (r < 0)
			return r;
		if (i->regs.cs == CODE32)
			return error_set(&i->err, -EOPNOTSUPP, "process %d runs 32-bit code", (int)i->pid);
		if (!in_rseq(i))
			return 0;
		if (tries == RSEQ_TRIES)
			return error_set(&i->err, -EOPNOTSUPP, "process %d does not leave its restartable sequence", (int)i->pid);
		if (ptrace(PTRACE_CONT, i->pid, 0, 0) < 0)
			return failed(i, "continue a thread");
	}
}

/* --- system calls in its name --- */

static int syscall_stop(struct injection *i, int64_t deadline_us)
{
	for (;;) {
		int status, r;

		if (ptrace(PTRACE_SYSCALL, i->pid, 0, 0) < 0)
			return failed(i, "continue a thread");
		r = next_stop(i, deadline_us, &status);
		/* Or what others send it has it stop all the time. */
		if (r == -ETIMEDOUT || (r == 0 && clock_mono_us() > deadline_us))
			return error_set(&i->err, -ETIME, "process %d does not come back from a system call that was made in its name", (int)i->pid);
		if (r < 0 || WSTOPSIG(status) == SYSCALL_STOP)
			return r;
		/* SIGSTOP, which no mask keeps away. */
		if (!is_event_stop(status) && WSTOPSIG(status) != SIGTRAP)
			i->late_signal = WSTOPSIG(status);
	}
}

/* orig_rax -1: this is no system call that a signal interrupted. */
static int call(struct injection *i, long number, unsigned long argument, long *ret)
{
	struct user_regs_struct r = i->regs;
	int64_t deadline = clock_mono_us() + CALL_TIMEOUT_US;
	int e;

	r.rip = i->gate;
	r.rax = (unsigned long)number;
	r.orig_rax = (unsigned long)-1;
	r.rdi = argument;
	r.rsi = r.rdx = 0;
	if (ptrace(PTRACE_SETREGS, i->pid, 0, &r) < 0)
		return failed(i, "set the registers");
	e = syscall_stop(i, deadline);
	if (e == 0)
		e = syscall_stop(i, deadline);
	if (e == 0 && ptrace(PTRACE_GETREGS, i->pid, 0, &r) < 0)
		e = failed(i, "read the registers");
	*ret = (long)r.rax;
	return e;
}

static bool is_userfaultfd(int fd)
{
	char path[64], target[32];
	ssize_t n;

	path_format(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	return !strcmp(target, "anon_inode:[userfaultfd]");
}

/* The number is the process's word: a thread that gives another one has what we ask of it (ioctl(2)) done to any file that the process has open. */
static int take_over(struct injection *i, int number)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, i->pid, 0);

	i->fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (i->fd < 0)
		return failed(i, "take over the userfaultfd");
	return is_userfaultfd(i->fd) ? 0 : error_set(&i->err, -EOPNOTSUPP, "process %d gives another file for a userfaultfd", (int)i->pid);
}

static int make_userfaultfd(struct injection *i)
{
	long fd = -1, closed;
	int r = call(i, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY, &fd), e;

	if (r < 0)
		return r;
	if (fd < 0)
		return error_set(&i->err, -EOPNOTSUPP, "process %d cannot make a userfaultfd: %s", (int)i->pid, strerror((int)-fd));
	r = take_over(i, (int)fd);
	e = call(i, SYS_close, (unsigned long)fd, &closed);
	return r < 0 ? r : e;
}

/* Would the interrupted call, made again with the same arguments, go on exactly where it was?  A rest of time stands where it asks for it. */
static bool can_be_made_again(const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_poll:
		return (int)r->rdx < 0;
	case SYS_nanosleep:
		return r->rsi && r->rsi == r->rdi;
	case SYS_clock_nanosleep:
		return r->r10 && r->r10 == r->rdx;
	case SYS_futex:
		return ((int)r->rsi & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
	default:
		return false;
	}
}

static bool has_signals(const struct injection *i)
{
	return (status_bits(i, "\nSigPnd:") | status_bits(i, "\nShdPnd:")) & ~i->mask;
}

/*
 * A call of which the kernel keeps a note would go on as restart_syscall(2), and nobody could tell any more which one it was: CRIU would have it return EINTR at the destination,
 * and `sleep 3600` would end there (container/criu_waits.c).  Where that is the same, it is made again by its own name.  Not when a signal waits: its handler's program may count
 * on the EINTR.
 */
static void keep_its_name(struct injection *i)
{
	if ((long)i->regs.rax != -ERESTART_RESTARTBLOCK || !can_be_made_again(&i->regs) || has_signals(i))
		return;
	i->regs.rax = i->regs.orig_rax;
	i->regs.rip -= SYSCALL_SIZE;
	i->regs.orig_rax = (unsigned long)-1;
}

/*
 * Back to where it was interrupted.  The registers are put back in a stop by PTRACE_INTERRUPT, as they were taken: only from there the kernel looks whether
 * they are those of a system call that must be restarted (ptrace(2) stops at system calls are beyond that point).
 */
static void put_back(struct injection *i)
{
	int64_t deadline = clock_mono_us() + BACK_TIMEOUT_US;
	int status;

	if (ptrace(PTRACE_INTERRUPT, i->pid, 0, 0) < 0)
		return;
	do {
		/* It runs still when it has not come back from the call. */
		if ((i->standing && ptrace(PTRACE_CONT, i->pid, 0, 0) < 0) || next_stop(i, deadline, &status) < 0)
			return;
		if (!is_event_stop(status) && WSTOPSIG(status) != SYSCALL_STOP)
			i->late_signal = WSTOPSIG(status);
	} while (!is_event_stop(status) && clock_mono_us() < deadline);
	keep_its_name(i);
	ptrace(PTRACE_SETREGS, i->pid, 0, &i->regs);
	ptrace(PTRACE_SETSIGMASK, i->pid, sizeof(i->mask), &i->mask);
}

static int inject(struct injection *i)
{
	const uint64_t all = ~0ull;
	uint16_t code = 0;
	int r;

	if (!read_memory(i->pid, i->gate, &code, sizeof(code)) || code != 0x050f)
		return error_set(&i->err, -EOPNOTSUPP, "the code of process %d has changed", (int)i->pid);
	/* Signals wait: a handler would run with our registers. */
	if (ptrace(PTRACE_GETSIGMASK, i->pid, sizeof(i->mask), &i->mask) < 0 || ptrace(PTRACE_SETSIGMASK, i->pid, sizeof(all), &all) < 0)
		return failed(i, "set the signal mask");
	r = make_userfaultfd(i);
	put_back(i);
	return r;
}

/* A thread of its own: a target that never stopped cannot be let go otherwise than by its tracer's end. */
static void *inject_main(void *arg)
{
	struct injection *i = arg;
	int64_t start = 0;

	i->result = find_gate(i);
	if (i->result == 0) {
		start = clock_mono_us();
		i->result = stop(i);
	}
	if (i->result == 0)
		i->result = inject(i);
	if (i->seized && i->standing)
		ptrace(PTRACE_DETACH, i->pid, 0, 0);
	if (i->late_signal)
		kill(i->pid, i->late_signal);
	i->stopped_us = start ? clock_mono_us() - start : 0;
	return NULL;
}

int inject_userfaultfd(pid_t pid, int *ret_fd, int64_t *ret_stopped_us, struct error *err)
{
	struct injection i = { .pid = pid, .fd = -1 };
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, inject_main, &i);

	if (rc)
		return error_set(err, -rc, "cannot start a thread");
	pthread_join(thread, NULL);
	if (i.result < 0) {
		if (i.fd >= 0)
			close(i.fd);
		if (err)
			*err = i.err;
		return i.result;
	}
	*ret_fd = i.fd;
	*ret_stopped_us = i.stopped_us;
	return 0;
}

#endif
