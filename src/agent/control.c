/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "migration/names.h"
#include "migration/reason.h"

#define CONTROL_LINE_MAX 65536
#define TIMEOUT_S 600           /* of an order that names none */
#define TIMEOUT_MAX_S 100000

struct control {
	int fd;
	struct buf in;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char ip[64];
	uint16_t port;
	bool aborted, recorded;
	int reason;
	char message[512];
	struct call {
		void (*fn)(void *ctx);
		void *ctx;
	} on_abort, on_late, on_leave;
	bool calling;                   /* one of them, without the lock */
	int64_t deadline_us;            /* 0: none */
	bool late;                      /* it is over */
	bool leaving;                   /* the daemon is ending */
};

/* Takes one line out of c->in, reading as needed. 1, 0 at end of file, negative errno. */
static int next_line(struct control *c, cJSON **ret, struct error *err)
{
	for (;;) {
		char *nl = c->in.data ? memchr(c->in.data, '\n', c->in.len) : NULL;
		char chunk[4096];
		ssize_t n;
		int r;

		if (nl) {
			size_t len = (size_t)(nl - c->in.data);

			r = json_parse(c->in.data, len, CONTROL_LINE_MAX, ret, err);
			buf_consume(&c->in, len + 1);
			return r < 0 ? r : 1;
		}
		n = read(c->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? error_errno(err, "read from the daemon") : 0;
		if (buf_append(&c->in, chunk, (size_t)n) < 0)
			return error_set(err, -EMSGSIZE, "a line from the daemon is too long");
	}
}

/* Under the lock, once others share c. */
static bool take_abort(struct control *c, const cJSON *line)
{
	const char *text = json_str(line, "abort");

	if (text && json_bool(line, "recorded"))
		c->recorded = true;
	if (!text || c->aborted)
		return false;
	c->aborted = true;
	c->reason = reason_from_name(json_str_or(line, "reason", "Cancelled"));
	snprintf(c->message, sizeof(c->message), "%s", text);
	return true;
}

/* With the lock, which is free meanwhile: who is called may ask us. */
static void call_out(struct control *c, const struct call *what)
{
	struct call k = *what;

	if (!k.fn)
		return;
	c->calling = true;
	pthread_mutex_unlock(&c->lock);
	k.fn(k.ctx);
	pthread_mutex_lock(&c->lock);
	c->calling = false;
	pthread_cond_broadcast(&c->changed);
}

static void take(struct control *c, const cJSON *line)
{
	const char *ip = json_str(line, "podIP");
	int64_t port = PM_STREAM_PORT;
	bool aborts, leaves;

	pthread_mutex_lock(&c->lock);
	if (ip && !c->ip[0]) {
		snprintf(c->ip, sizeof(c->ip), "%s", ip);
		if (json_int(line, "port", 1, 65535, &port) == -EINVAL)
			port = PM_STREAM_PORT;
		c->port = (uint16_t)port;
	}
	aborts = take_abort(c, line);
	leaves = json_bool(line, "leave") && !c->leaving;
	c->leaving = c->leaving || leaves;
	pthread_cond_broadcast(&c->changed);
	if (aborts)
		call_out(c, &c->on_abort);
	if (leaves)
		call_out(c, &c->on_leave);
	pthread_mutex_unlock(&c->lock);
}

/* Until a line may have come; says when the time is over. */
static void wait_line(struct control *c)
{
	struct pollfd p = { c->fd, POLLIN, 0 };

	while (c->deadline_us && !c->late && !(c->in.data && memchr(c->in.data, '\n', c->in.len))) {
		int64_t left = c->deadline_us - clock_mono_us();

		if (left > 0 && poll(&p, 1, (int)((left + 999) / 1000)) > 0)
			return;
		if (c->deadline_us > clock_mono_us())
			continue;
		pthread_mutex_lock(&c->lock);
		c->late = true;
		call_out(c, &c->on_late);
		pthread_mutex_unlock(&c->lock);
	}
}

static void *control_main(void *arg)
{
	struct control *c = arg;
	struct error err = { 0 };

	for (;;) {
		cJSON *line = NULL;
		int r;

		wait_line(c);
		r = next_line(c, &line, &err);
		if (r == 0)
			return NULL;
		if (r < 0) {
			log_error("the daemon cannot be understood", LOG_S("err", err.message));
			if (r != -EINVAL)
				return NULL;
			continue;
		}
		take(c, line);
		cJSON_Delete(line);
	}
}

static int64_t deadline_of(const cJSON *order)
{
	int64_t seconds = TIMEOUT_S;

	if (json_bool(order, "resume"))
		return 0;
	json_int(order, "timeoutSeconds", 1, TIMEOUT_MAX_S, &seconds);
	return clock_mono_us() + seconds * 1000000;
}

int control_start(int fd, struct control **ret, cJSON **ret_order, struct error *err)
{
	struct control *c = calloc(1, sizeof(*c));
	cJSON *order = NULL;
	pthread_condattr_t mono;
	int r;

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	c->fd = fd;
	c->in.max = CONTROL_LINE_MAX;
	r = next_line(c, &order, err);
	if (r <= 0) {
		buf_free(&c->in);
		free(c);
		return r < 0 ? error_wrap(err, r, "order") : error_set(err, -EPIPE, "no order came from the daemon");
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &mono);
	take_abort(c, order);
	c->deadline_us = deadline_of(order);
	r = pthread_create(&c->thread, NULL, control_main, c);
	if (r) {
		cJSON_Delete(order);
		buf_free(&c->in);
		free(c);
		return error_set(err, -r, "cannot start a thread");
	}
	pthread_detach(c->thread);
	*ret = c;
	*ret_order = order;
	return 0;
}

int64_t control_deadline(const struct control *c)
{
	return c->deadline_us;
}

static void register_call(struct control *c, struct call *which, const bool *happened, void (*fn)(void *ctx), void *ctx)
{
	bool now;

	pthread_mutex_lock(&c->lock);
	*which = (struct call){ fn, ctx };
	now = *happened;
	pthread_mutex_unlock(&c->lock);
	if (now)
		fn(ctx);
}

void control_on_abort(struct control *c, void (*fn)(void *ctx), void *ctx)
{
	register_call(c, &c->on_abort, &c->aborted, fn, ctx);
}

void control_on_late(struct control *c, void (*fn)(void *ctx), void *ctx)
{
	register_call(c, &c->on_late, &c->late, fn, ctx);
}

void control_on_leave(struct control *c, void (*fn)(void *ctx), void *ctx)
{
	register_call(c, &c->on_leave, &c->leaving, fn, ctx);
}

void control_stay(const struct control *c)
{
	shutdown(c->fd, SHUT_WR);
}

void control_forget(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	c->on_abort = c->on_late = c->on_leave = (struct call){ NULL, NULL };
	while (c->calling)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static int abort_error(const struct control *c, struct error *err)
{
	return error_reason(err, -ECANCELED, c->reason, "%s", c->message);
}

int control_check(struct control *c, struct error *err)
{
	int r;

	pthread_mutex_lock(&c->lock);
	r = c->aborted ? abort_error(c, err) : 0;
	pthread_mutex_unlock(&c->lock);
	return r;
}

bool control_abort_recorded(struct control *c)
{
	bool recorded;

	pthread_mutex_lock(&c->lock);
	recorded = c->recorded;
	pthread_mutex_unlock(&c->lock);
	return recorded;
}

void control_pause(struct control *c, int64_t us)
{
	int64_t at = clock_mono_us() + us;
	struct timespec until = { at / 1000000, at % 1000000 * 1000 };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->aborted && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	pthread_mutex_unlock(&c->lock);
}

int control_wait_destination(struct control *c, int64_t deadline_us, char *ip, size_t size, uint16_t *port, struct error *err)
{
	struct timespec until = { deadline_us / 1000000, deadline_us % 1000000 * 1000 };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->aborted && !c->ip[0] && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	if (c->aborted)
		r = abort_error(c, err);
	else if (!c->ip[0])
		r = error_reason(err, -ETIMEDOUT, REASON_TimedOut, "the destination pod did not come up in time");
	else {
		snprintf(ip, size, "%s", c->ip);
		*port = c->port;
		r = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}
