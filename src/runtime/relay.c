/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "criu_rpc.h"
#include "pass_fd.h"

#define BARRIER_STAGE "post-restore"
#define RESUMED_STAGE "post-resume"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

/* --- the two ends --- */

int relay_folders(struct relay *r, const char *images, const char *work, struct error *err)
{
	close_fd(&r->images_fd);
	close_fd(&r->work_fd);
	r->images_fd = open(images, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r->images_fd < 0)
		return error_errno(err, "open the folder of images %s", images);
	r->work_fd = open(work, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return r->work_fd < 0 ? error_errno(err, "open the work folder %s", work) : 0;
}

/* runc starts CRIU several times, one after the other: its version, its features, the restore. */
static void end_session(struct relay *r)
{
	close_fd(&r->runc);
	close_fd(&r->criu);
	r->asked = r->held = false;
	r->init = 0;
	buf_free(&r->answer);
}

void relay_close(struct relay *r)
{
	end_session(r);
	lent_end(&r->lent);
	close_fd(&r->images_fd);
	close_fd(&r->work_fd);
}

/*
 * The new socket is made here and not by CRIU: whose process made it is where CRIU looks for the fds that a request names (criu/cr-service.c, SO_PEERCRED).
 */
void relay_accept(struct relay *r, int listen_fd)
{
	const struct timeval patience = { 1, 0 };
	cleanup_close int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), runc = -1, theirs = -1;
	int pair[2];

	if (fd < 0)
		return;
	/* It sends at once; one that was killed in between must not hold us. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	runc = pass_fd_receive(fd);
	if (runc < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	end_session(r);
	r->criu = pair[0];
	theirs = pair[1];
	r->runc = take_fd(&runc);
	if (pass_fd_send(fd, theirs) < 0)
		end_session(r);
}

/* --- what is said --- */

/* 1: a message; 0: nothing there; negative: nobody is there any more, or it is too long. */
static int receive(int fd, struct buf *b)
{
	ssize_t n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	buf_reset(b);
	if (buf_reserve(b, (size_t)n) < 0)
		return -EMSGSIZE;
	n = recv(fd, b->data, (size_t)n, MSG_DONTWAIT);
	if (n <= 0)
		return -ECONNRESET;
	b->len = (size_t)n;
	return 1;
}

/* Both ends read at once what they get: a full socket is one that has stopped reading. */
static int say(int fd, const struct buf *b)
{
	return send(fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)b->len ? 0 : -EPIPE;
}

static int from_criu(struct relay *r, struct buf *b, enum relay_event *ret)
{
	struct criu_rpc m;
	int n = receive(r->criu, b);

	if (n <= 0)
		return n;
	if (criu_rpc_read(b->data, b->len, &m) == 0 && m.type == CRIU_RPC_NOTIFY) {
		r->asked = !strcmp(m.script, BARRIER_STAGE);
		if (r->asked)
			r->init = m.pid;
		if (!strcmp(m.script, RESUMED_STAGE))
			*ret = RELAY_RESUMED;
	}
	n = say(r->runc, b);
	return n < 0 ? n : 1;
}

static const char *own_group(void *ctx, const char *source, char *path, size_t size)
{
	const struct relay *r = ctx;

	return cgroups_own_source(r->here, r->cgroups_path, source, path, size);
}

static int add_to_request(struct relay *r, struct buf *request)
{
	int e = lent_add(&r->lent, request);

	if (e == 0 && r->here)
		e = criu_rpc_replace_mounts(request, own_group, r);
	return e < 0 ? e : criu_rpc_add(request, r->images_fd, r->work_fd);
}

static int from_runc(struct relay *r, struct buf *b, enum relay_event *ret)
{
	struct criu_rpc m;
	int n = receive(r->runc, b);

	if (n <= 0)
		return n;
	/* It has answered; a word more must not let CRIU go on. */
	if (r->held)
		return -EPROTO;
	if (r->asked) {
		/* runc's answer to the barrier, unread: CRIU is told when the barrier is opened. */
		r->asked = false;
		r->held = true;
		*ret = RELAY_BARRIER;
		return buf_append(&r->answer, b->data, b->len) < 0 ? -ENOMEM : 1;
	}
	if (criu_rpc_read(b->data, b->len, &m) == 0 && m.type == CRIU_RPC_RESTORE && add_to_request(r, b) < 0)
		return -EBADF;
	n = say(r->criu, b);
	return n < 0 ? n : 1;
}

enum relay_event relay_pass(struct relay *r)
{
	cleanup_buf struct buf b = BUF_INIT(RELAY_MESSAGE_MAX);
	enum relay_event event = RELAY_NOTHING;
	int c = 1, n = 1;

	/* What an end said before it went is still passed on. */
	while (r->criu >= 0 && event == RELAY_NOTHING && (c > 0 || n > 0)) {
		c = from_criu(r, &b, &event);
		n = event == RELAY_NOTHING && c >= 0 ? from_runc(r, &b, &event) : 0;
		if (c < 0 || n < 0)
			end_session(r);
	}
	return event;
}

void relay_release(struct relay *r)
{
	/* When this fails CRIU is dead, and runc will tell. */
	if (r->held && say(r->criu, &r->answer) < 0)
		end_session(r);
	r->held = false;
}
