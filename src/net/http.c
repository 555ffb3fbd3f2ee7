/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http_request.h"
#include "net/tls.h"

#define CONNECTIONS 16
#define REQUEST_US 5000000LL
#define PATIENCE_US 1000000LL           /* who takes longer makes room when all places are taken and somebody waits: a probe must not wait for those who say nothing */
#define RETRY_US 100000LL               /* after an accept(2) that failed for want of something */
#define BODY_MAX (1u << 20)

/* A connection reads one request, writes one answer, then waits for the client to close, so that the answer is not lost to a
 * reset. */
enum state { FREE, READING, WRITING, DRAINING };

struct connection {
	enum state state;
	int fd;
	int64_t since_us, deadline_us;
	struct buf in, out;
};

struct http_server {
	int listen_fd, wake_fd;
	int64_t accept_us;              /* not before */
	http_handler handler;
	void *ctx;
	pthread_t thread;
	struct connection connections[CONNECTIONS];
};

static void finish(struct connection *c)
{
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	c->state = FREE;
}

static void answer(struct connection *c, int status, const char *type, const struct buf *body, bool head)
{
	size_t len = body ? body->len : 0;
	int r;

	buf_reset(&c->out);
	r = buf_printf(&c->out,
		       "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nX-Content-Type-Options: nosniff\r\n%s"
		       "Connection: close\r\n\r\n",
		       status, http_status_text(status), type, len, status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (r == 0 && !head && len)
		r = buf_append(&c->out, body->data, len);
	c->state = WRITING;
	if (r < 0)
		finish(c);
}

static void answer_status(struct connection *c, int status, bool head)
{
	struct buf body = BUF_INIT(64);

	buf_printf(&body, "%s\n", http_status_text(status));
	answer(c, status, "text/plain; charset=utf-8", &body, head);
	buf_free(&body);
}

static void handle(struct http_server *s, struct connection *c, const struct http_request *request)
{
	struct buf body = BUF_INIT(BODY_MAX);
	const char *type = "text/plain; charset=utf-8";
	int status = s->handler(s->ctx, request->path, request->query, &body, &type);

	if (body.len == 0)
		answer_status(c, status, request->head);
	else
		answer(c, status, type, &body, request->head);
	buf_free(&body);
}

static void on_readable(struct http_server *s, struct connection *c)
{
	struct http_request request;
	char chunk[2048];
	ssize_t n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	int status;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		finish(c);
		return;
	}
	if (c->state == DRAINING)
		return;
	status = buf_append(&c->in, chunk, (size_t)n) < 0 ? 431 : http_request_parse(c->in.data, c->in.len, &request);
	if (status == 200)
		handle(s, c, &request);
	else if (status != 0)
		answer_status(c, status, false);
}

static void on_writable(struct connection *c)
{
	ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		finish(c);
		return;
	}
	buf_consume(&c->out, (size_t)n);
	if (c->out.len == 0) {
		shutdown(c->fd, SHUT_WR);
		c->state = DRAINING;
	}
}

/* A free place, or the one that was taken first. */
static struct connection *next_place(struct http_server *s)
{
	struct connection *oldest = &s->connections[0];

	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &s->connections[i];

		if (c->state == FREE)
			return c;
		if (c->since_us < oldest->since_us)
			oldest = c;
	}
	return oldest;
}

/* When the next one may come in. */
static int64_t next_accept(struct http_server *s)
{
	const struct connection *c = next_place(s);
	int64_t at = c->state == FREE ? 0 : c->since_us + PATIENCE_US;

	return at > s->accept_us ? at : s->accept_us;
}

static void accept_one(struct http_server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int64_t now = clock_mono_us();
	struct connection *c = next_place(s);

	if (fd < 0) {
		/* No file descriptor, no memory: the listener would be readable again at once. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			s->accept_us = now + RETRY_US;
		return;
	}
	if (c->state != FREE)
		finish(c);
	*c = (struct connection){ .state = READING, .fd = fd, .since_us = now, .deadline_us = now + REQUEST_US };
	c->in.max = HTTP_REQUEST_MAX;
	c->out.max = BODY_MAX + 1024;
}

static void on_deadline(struct connection *c)
{
	if (c->state != READING) {
		finish(c);
		return;
	}
	answer_status(c, 408, false);
	if (c->state == WRITING)
		c->deadline_us = clock_mono_us() + 1000000;
}

/* Slot 0: wake, 1: listener (only when one may come in), then the connections. */
static int fill_polls(struct http_server *s, struct pollfd *polls, int64_t now)
{
	int64_t next = now + 3600 * 1000000LL, accept = next_accept(s);

	for (int i = 0; i < CONNECTIONS; i++) {
		const struct connection *c = &s->connections[i];

		polls[2 + i] = (struct pollfd){ .fd = c->state == FREE ? -1 : c->fd,
						.events = c->state == WRITING ? POLLOUT : POLLIN };
		if (c->state != FREE && c->deadline_us < next)
			next = c->deadline_us;
	}
	if (accept > now && accept < next)
		next = accept;
	polls[0] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
	polls[1] = (struct pollfd){ .fd = accept <= now ? s->listen_fd : -1, .events = POLLIN };
	return next > now ? (int)((next - now + 999) / 1000) : 0;
}

static void serve_connections(struct http_server *s, const struct pollfd *polls)
{
	int64_t now = clock_mono_us();

	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &s->connections[i];

		if (c->state == FREE || polls[2 + i].fd < 0)
			continue;
		if (polls[2 + i].revents) {
			if (c->state == WRITING)
				on_writable(c);
			else
				on_readable(s, c);
		}
		if (c->state != FREE && now >= c->deadline_us)
			on_deadline(c);
	}
}

static void *server_main(void *arg)
{
	struct http_server *s = arg;

	for (;;) {
		struct pollfd polls[2 + CONNECTIONS];
		int timeout = fill_polls(s, polls, clock_mono_us());

		if (poll(polls, 2 + CONNECTIONS, timeout) < 0)
			continue;
		if (polls[0].revents)
			return NULL;
		serve_connections(s, polls);
		if (polls[1].revents)
			accept_one(s);
	}
}

/* Signals belong to the program's own threads. */
static int start_thread(struct http_server *s)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(&s->thread, NULL, server_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int http_server_start(uint16_t port, http_handler handler, void *ctx, struct http_server **ret, uint16_t *ret_port,
		      struct error *err)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory for the HTTP server");
	s->handler = handler;
	s->ctx = ctx;
	s->listen_fd = -1;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->wake_fd < 0 ? error_errno(err, "eventfd") : tcp_listen(-1, port, CONNECTIONS, &s->listen_fd, ret_port, err);
	if (r == 0) {
		r = start_thread(s);
		if (r < 0)
			error_set(err, r, "cannot start the HTTP server's thread");
	}
	if (r < 0) {
		cleanup_closep(&s->wake_fd);
		cleanup_closep(&s->listen_fd);
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void http_server_stop(struct http_server *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	if (write(s->wake_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(s->thread, NULL);
	for (int i = 0; i < CONNECTIONS; i++)
		if (s->connections[i].state != FREE)
			finish(&s->connections[i]);
	close(s->wake_fd);
	close(s->listen_fd);
	free(s);
}
