/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "fill_copy.h"
#include "fill_run.h"

#define RESTORE_FINISHED 0x52535446     /* criu/uffd.c, LAZY_PAGES_RESTORE_FINISHED */
#define TASKS_MAX 65536u
#define SLICE_PAGES 256u                /* copied for one task between two looks around */
#define SLICE_CALLS 64
#define RETRY_MS 1                      /* when memory is not registered yet */
#define PATIENCE_US (300 * 1000000LL)   /* without any progress; whoever wants it faster aborts the restore */

struct filling {
	int listen_fd, control_fd;
	int criu_fd;                    /* -1: not connected (yet) */
	bool connected;
	struct fill_source source;
	struct fill_task *tasks;
	struct pollfd *polls;           /* control, listener or CRIU, then the tasks */
	uint32_t n, room;
	bool barrier;                   /* CRIU stands there: nothing new is registered */
	bool over;                      /* failed, and told: only faults are answered */
	bool done;                      /* all in place, and told */
	uint64_t pages;
	int64_t busy_us, progress_us;
};

/* --- the monitor --- */

static void tell(struct filling *f, char word, const char *text)
{
	char packet[sizeof(((struct error *)0)->message) + 1];
	int n = snprintf(packet, sizeof(packet), "%c%s", word, text);

	send(f->control_fd, packet, n < (int)sizeof(packet) ? (size_t)n : sizeof(packet) - 1, MSG_NOSIGNAL);
}

static void give_up(struct filling *f, int r, const struct error *err)
{
	if (!f->over && !f->done)
		tell(f, r == -ESRCH ? FILL_GONE : FILL_FAILED, err->message);
	f->over = true;
}

/* Returns how many fds came along; those that are too many, the kernel has closed. */
static int receive_fds(int fd, char *word, int *fds, int max, ssize_t *ret_len)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { word, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_SPACE((size_t)max * sizeof(int)) };
	struct cmsghdr *c;
	int n = 0;

	do
		*ret_len = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (*ret_len < 0 && errno == EINTR);
	c = *ret_len > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	}
	return n;
}

static void find_runs(const struct filling *f, struct fill_task *t)
{
	if (f->source.store_fd >= 0)
		t->end = fill_runs_of(&f->source.list, t->pid, &t->next) + t->next;
}

static int take_list(struct filling *f, const int *fds, int n, struct error *err)
{
	cleanup_close int list = n > 0 ? fds[0] : -1, store = n > 1 ? fds[1] : -1;
	int r;

	if (store < 0 || f->source.store_fd >= 0)
		return error_set(err, -EPROTO, "the filler wants one list and one store");
	r = fill_runs_load(list, store, &f->source.list, err);
	if (r < 0)
		return r;
	f->source.store_fd = take_fd(&store);
	f->progress_us = clock_mono_us();
	for (uint32_t i = 0; i < f->n; i++)
		find_runs(f, &f->tasks[i]);
	return 0;
}

static int hear_monitor(struct filling *f, struct error *err)
{
	int fds[2] = { -1, -1 }, n;
	char word = 0;
	ssize_t len;

	n = receive_fds(f->control_fd, &word, fds, 2, &len);
	if (len <= 0)
		_exit(0);               /* it wants no filler any more, or has died */
	if (word == FILL_GIVE)
		return take_list(f, fds, n, err);
	f->barrier = word == FILL_BARRIER || f->barrier;
	return 0;
}

/* --- CRIU --- */

static int accept_criu(struct filling *f, struct error *err)
{
	const struct timeval patience = { 5, 0 };
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	f->criu_fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (f->criu_fd < 0)
		return error_errno(err, "accept CRIU's connection");
	/* The folder is root's alone; this is for the day it is not. */
	if (getsockopt(f->criu_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != geteuid()) {
		close(take_fd(&f->criu_fd));
		return error_set(err, -EPERM, "lazy-pages.socket: not CRIU");
	}
	setsockopt(f->criu_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	close(take_fd(&f->listen_fd));
	f->connected = true;
	f->progress_us = clock_mono_us();
	return 0;
}

static int make_room(struct filling *f)
{
	uint32_t room = f->room ? f->room * 2 : 64;
	void *tasks, *polls;

	if (f->n < f->room)
		return 0;
	tasks = realloc(f->tasks, room * sizeof(*f->tasks));
	if (tasks)
		f->tasks = tasks;
	polls = realloc(f->polls, (room + 2) * sizeof(*f->polls));
	if (polls)
		f->polls = polls;
	if (!tasks || !polls)
		return -ENOMEM;
	f->room = room;
	return 0;
}

/* The pid has come; the fd follows with one byte of its own (criu/include/common/scm-code.c). */
static int add_task(struct filling *f, uint32_t pid, struct error *err)
{
	cleanup_close int uffd = -1;
	int fds[1] = { -1 };
	char byte;
	ssize_t len;

	if (receive_fds(f->criu_fd, &byte, fds, 1, &len) != 1)
		return error_set(err, -EPROTO, "CRIU sent no userfaultfd for process %u", pid);
	uffd = fds[0];
	for (uint32_t i = 0; i < f->n; i++)
		if (f->tasks[i].pid == pid)
			return error_set(err, -EPROTO, "CRIU sent process %u twice", pid);
	if (f->n == TASKS_MAX || make_room(f) < 0)
		return error_set(err, -ENOMEM, "too many processes to fill");
	/* CRIU opens it so; a read that blocks would stop everything. */
	fcntl(uffd, F_SETFL, O_NONBLOCK);
	f->tasks[f->n] = (struct fill_task){ .pid = pid, .uffd = take_fd(&uffd), .piece = 1 };
	find_runs(f, &f->tasks[f->n]);
	f->n++;
	f->progress_us = clock_mono_us();
	return 0;
}

static void __attribute__((noreturn)) criu_left(struct filling *f)
{
	if (!f->done)
		give_up(f, -ESRCH, &(struct error){ .message = "CRIU has gone" });
	_exit(0);
}

/* A message begins with an int: a pid, a negative pid (of a zombie: no fd follows), or the end. */
static int hear_criu(struct filling *f, struct error *err)
{
	int32_t word;
	int r = read_full(f->criu_fd, &word, sizeof(word));

	/* The end: its sockets are closed when CRIU and all that has not become the application have ended. */
	if (r < 0 || word == RESTORE_FINISHED)
		criu_left(f);
	if (word < 0)
		return 0;
	if (word == 0 || (uint32_t)word > FILL_PID_MAX)
		return error_set(err, -EPROTO, "CRIU speaks another language: 0x%x on lazy-pages.socket", (unsigned)word);
	return add_task(f, (uint32_t)word, err);
}

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* --- the work --- */

static bool complete(const struct fill_task *t)
{
	return t->next == t->end;
}

/* For a moment, one task. */
static int fill_some(struct filling *f, struct fill_task *t, struct error *err)
{
	uint32_t sum = 0;
	int r = 0;

	for (int i = 0; r == 0 && i < SLICE_CALLS && sum < SLICE_PAGES && !complete(t); i++) {
		uint32_t pages;

		r = fill_copy(&f->source, t, &pages, err);
		sum += pages;
	}
	f->pages += sum;
	/* Before the barrier memory may still be registered. */
	return r == -ENOENT && !f->barrier ? 0 : r;
}

static int fill_all(struct filling *f, struct error *err)
{
	uint64_t before = f->pages;
	int64_t start = clock_mono_us();
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < f->n; i++)
		if (!complete(&f->tasks[i]))
			r = fill_some(f, &f->tasks[i], err);
	if (f->pages != before) {
		f->progress_us = clock_mono_us();
		f->busy_us += f->progress_us - start;
	} else if (r == 0 && start - f->progress_us > PATIENCE_US) {
		r = error_set(err, -ETIMEDOUT, "CRIU has not prepared the memory to be filled for %d seconds", (int)(PATIENCE_US / 1000000));
	}
	return r;
}

static bool has_task(const struct filling *f, uint32_t pid)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->tasks[i].pid == pid)
			return true;
	return false;
}

/* At the barrier CRIU has sent all tasks: who is in the list must be among them. */
static int all_came(const struct filling *f, struct error *err)
{
	const struct fill_runs *l = &f->source.list;

	for (uint32_t i = 0; i < l->n; i++)
		if ((i == 0 || l->runs[i].ns_pid != l->runs[i - 1].ns_pid) && !has_task(f, l->runs[i].ns_pid))
			return error_set(err, -EPROTO, "CRIU restored no process %u", l->runs[i].ns_pid);
	return 0;
}

/* CRIU's own copies of the fds were closed when it had registered the memory (criu/pie/restorer.c): by these the kernel forgets. */
static int release(struct filling *f, struct error *err)
{
	char text[64];

	for (uint32_t i = 0; i < f->n; i++)
		if (!complete(&f->tasks[i]))
			return 0;
	if (f->source.store_fd < 0)
		return 0;
	if (all_came(f, err) < 0)
		return -EPROTO;
	for (uint32_t i = 0; i < f->n; i++)
		close(take_fd(&f->tasks[i].uffd));
	snprintf(text, sizeof(text), "%llu %lld", (unsigned long long)f->pages, (long long)f->busy_us);
	f->n = 0;
	f->done = true;
	fill_source_close(&f->source);
	tell(f, FILL_DONE, text);
	return 0;
}

/* --- the loop --- */

/* Milliseconds; -1: until something happens. */
static int how_long(const struct filling *f)
{
	int r = -1;

	if (f->over || f->source.store_fd < 0)
		return -1;
	for (uint32_t i = 0; i < f->n; i++) {
		if (complete(&f->tasks[i]))
			continue;
		if (!f->tasks[i].blocked)
			return 0;
		r = RETRY_MS;
	}
	return r;
}

static void look(struct filling *f)
{
	bool answer = f->over || f->source.store_fd >= 0;

	f->polls[0] = (struct pollfd){ f->control_fd, POLLIN, 0 };
	f->polls[1] = (struct pollfd){ f->criu_fd >= 0 ? f->criu_fd : f->listen_fd, POLLIN, 0 };
	for (uint32_t i = 0; i < f->n; i++)
		f->polls[2 + i] = (struct pollfd){ answer ? f->tasks[i].uffd : -1, POLLIN, 0 };
	if (poll(f->polls, f->n + 2, how_long(f)) < 0)
		memset(f->polls, 0, (f->n + 2) * sizeof(*f->polls));
}

static int serve_faults(struct filling *f, struct error *err)
{
	for (uint32_t i = 0; i < f->n; i++) {
		int r = f->polls[2 + i].revents ? fill_faults(&f->source, &f->tasks[i], f->over, err) : 0;

		if (r < 0 && !f->over)
			return r;
		if (r < 0)
			close(take_fd(&f->tasks[i].uffd));
	}
	return 0;
}

static int step(struct filling *f, struct error *err)
{
	int r = serve_faults(f, err);

	if (r == 0 && f->polls[0].revents)
		r = hear_monitor(f, err);
	if (r == 0 && !f->connected && readable(f->listen_fd))
		r = accept_criu(f, err);
	/* All that it has said: what came before the barrier has been heard before that is looked at. */
	while (r == 0 && readable(f->criu_fd))
		r = hear_criu(f, err);
	if (r == 0 && !f->over && !f->done && f->source.store_fd >= 0)
		r = fill_all(f, err);
	if (r == 0 && !f->over && !f->done && f->barrier)
		r = release(f, err);
	return r;
}

void fill_main(int listen_fd, int control_fd)
{
	struct filling f = { .listen_fd = listen_fd, .control_fd = control_fd, .criu_fd = -1, .source = { .store_fd = -1 } };
	struct error err = { 0 };

	if (make_room(&f) < 0) {
		tell(&f, FILL_FAILED, "out of memory for the filler");
		_exit(1);
	}
	for (;;) {
		int r;

		look(&f);
		r = step(&f, &err);
		if (r < 0)
			give_up(&f, r, &err);
	}
}
