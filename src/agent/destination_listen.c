/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "handshake.h"
#include "migration/reason.h"
#include "orders.h"

#define HANDSHAKE_US 5000000
#define IDLE_US 20000000
#define RELISTEN_US 1000000     /* between two tries to listen again */
#define LOOK_MS 1000            /* whether the pod is still there: nobody tells; it costs one readdir */
#define ORDER_LOOK_US 5000000   /* at the order file, should its watch have missed something */
#define REOPEN_US 10000000      /* between two tries to open what did not come up */
#define MONITORS_MAX 1024

void destination_hang_up(struct destination *d)
{
	pthread_mutex_lock(&d->wire_lock);
	wire_free(take_ptr(d->wire));
	d->told_abort = false;
	pthread_mutex_unlock(&d->wire_lock);
}

void destination_say_no(struct destination *d, enum wire_type type, const struct error *cause)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error ignored = { 0 };

	cJSON_AddStringToObject(j, "reason", reason_name(cause->reason));
	cJSON_AddStringToObject(j, "message", cause->message);
	wire_send_json(d->wire, type, WIRE_NO_CONTAINER, j, &ignored);
}

bool destination_pod_gone(struct destination *d)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	struct error ignored = { 0 };
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, &ignored) : -ENOMEM;
	bool gone = n >= 0;

	for (int i = 0; i < n && gone; i++)
		gone = strcmp(all[i].sandbox, d->sandbox) != 0;
	free(all);
	return gone;
}

static int take_hello(struct destination *d, cJSON **ret, struct error *err)
{
	struct wire_frame f;
	int r = wire_receive(d->wire, HANDSHAKE_US, &f, err);

	if (r < 0)
		return r;
	if (f.type != WIRE_HELLO)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the first frame is not HELLO");
	r = wire_json(&f, ret, err);
	if (r == 0 && strcmp(json_str_or(*ret, "migration", ""), d->first.migration))
		r = error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO names another migration than this pod waits for");
	return r;
}

/*
 * Who has moved the pod on has ended all of its sockets (net/reset.h), this one too: poll says at once, and for ever, that something has come, and accept that nothing can.  Whatever the
 * reason, it is not asked again; a new one is opened, for the source may still dial, but not more often than once a second.
 */
static int deafen(struct destination *d, struct error *err)
{
	int r = error_errno(err, "accept");

	close(take_fd(&d->listen_fd));
	d->relisten_us = clock_mono_us() + RELISTEN_US;
	return r;
}

/* To be polled; -1: there is none now. */
static int listener(struct destination *d)
{
	struct error ignored = { 0 };

	if (d->listen_fd < 0 && clock_mono_us() >= d->relisten_us) {
		d->relisten_us = clock_mono_us() + RELISTEN_US;
		destination_open_listener(d, &ignored);
	}
	return d->listen_fd;
}

static void set_stream(struct destination *d, struct wire *w)
{
	pthread_mutex_lock(&d->wire_lock);
	d->wire = w;
	pthread_mutex_unlock(&d->wire_lock);
}

/* One connection as far as HELLO; d->wire is it then. */
static int greet(struct destination *d, cJSON **ret, struct error *err)
{
	int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct wire *wire = NULL;
	struct tls_stream *tls;
	int r;

	if (fd < 0)
		return errno == EINTR || errno == EAGAIN || errno == ECONNABORTED ? error_errno(err, "accept") : deafen(d, err);
	r = tls_accept(fd, d->first.migration, d->key, PM_KEY_SIZE, clock_mono_us() + HANDSHAKE_US, &tls, err);
	if (r == 0)
		r = wire_new(tls, IDLE_US, &wire, err);
	if (r == 0) {
		set_stream(d, wire);
		r = take_hello(d, ret, err);
	}
	if (r == 0) {
		r = protocol_agree(d->o, *ret, d->facts, &d->protocol, err);
		if (r < 0)
			destination_say_no(d, WIRE_REFUSE, err);
	}
	if (r < 0)
		destination_hang_up(d);
	return r;
}

/* --- the order file: the second way by which the outcome comes --- */

/*
 * Watched once and for good: to close an inotify takes the kernel some 20 ms (it waits until nobody can look at what was watched: fs/notify/mark.c), and between the commit and the open the
 * pod stands still.
 */
static int watch_order(struct destination *d)
{
	char path[4096];

	if (d->order_fd >= 0 || !d->first.order_dir[0] || agent_host_path(d->o, path, sizeof(path), "%s", d->first.order_dir) < 0)
		return d->order_fd;
	d->order_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/* The kubelet makes a new folder and renames a link to it. */
	if (d->order_fd >= 0 && inotify_add_watch(d->order_fd, path, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
		log_warning("the order file is not watched, only looked at", LOG_S("pod", d->first.pod_name), LOG_S("err", strerror(errno)));
	return d->order_fd;
}

static void say_ordered(const struct destination *d)
{
	log_info("committed, by the order at the pod", LOG_S("pod", d->first.pod_name), LOG_S("migration", d->first.migration));
}

static bool drain(int fd)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;

	while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
		any = true;
	return any;
}

/* PostCopy: who runs without the stream would wait for memory that does not come, and be killed. */
static bool is_told_to_run(struct destination *d)
{
	return !d->note.later && order_is_commit(d->o, &d->first);
}

/* The controller asks, as it were, for as long as the order stands.  True: what did not come up is to be opened again. */
static bool is_asked(struct destination *d)
{
	if (d->driver.side == SIDE_DECIDER || !order_is_commit(d->o, &d->first))
		return false;
	if (!d->opened && d->reopened_us <= clock_mono_us()) {
		d->reopened_us = clock_mono_us() + REOPEN_US;
		return true;
	}
	destination_give_receipt(d);
	return false;
}

/* Until something comes on the connection that is there, be it its end (false), or ordered says yes.  It is not asked before look_us: that would cost time while the pod stands still. */
static bool comes_first(struct destination *d, bool (*ordered)(struct destination *d), int64_t look_us)
{
	int order_fd = watch_order(d);

	while (!wire_has_more(d->wire)) {
		struct pollfd p[] = { { wire_fd(d->wire), POLLIN, 0 }, { order_fd, POLLIN, 0 } };

		if (drain(order_fd) || clock_mono_us() >= look_us) {
			look_us = clock_mono_us() + ORDER_LOOK_US;
			if (ordered(d))
				return true;
		}
		if (poll(p, 2, LOOK_MS) > 0 && p[0].revents)
			return false;
	}
	return false;
}

bool destination_ordered_first(struct destination *d)
{
	d->by_order = comes_first(d, is_told_to_run, clock_mono_us() + ORDER_LOOK_US);
	if (d->by_order)
		say_ordered(d);
	return d->by_order;
}

/*
 * HELLO, fresh or again, into *ret; or the pod is gone: -ECANCELED; or ordered (NULL: nothing is waited for) says yes: -EINTR.  It is asked at the beginning, when the order
 * file has changed, and now and then.
 */
static int next_hello(struct destination *d, bool (*ordered)(struct destination *d), cJSON **ret)
{
	int order_fd = ordered ? watch_order(d) : -1;
	int64_t look_us = 0, gone_us = clock_mono_us() + LOOK_MS * 1000;

	destination_hang_up(d);
	for (;;) {
		struct pollfd p[] = { { listener(d), POLLIN, 0 }, { order_fd, POLLIN, 0 } };
		struct error err = { 0 };
		int r;

		if (ordered && (drain(order_fd) || clock_mono_us() >= look_us)) {
			look_us = clock_mono_us() + ORDER_LOOK_US;
			if (ordered(d))
				return -EINTR;
		}
		r = poll(p, 2, LOOK_MS);
		/* By the clock: strangers who keep dialling must not keep it from being seen. */
		if (clock_mono_us() >= gone_us) {
			gone_us = clock_mono_us() + LOOK_MS * 1000;
			if (destination_pod_gone(d))
				return -ECANCELED;
		}
		if (r <= 0 || !p[0].revents)
			continue;
		r = greet(d, ret, &err);
		if (r == 0)
			return 0;
		/* Whoever that was, it did not have the key or did not speak our language: keep waiting for the one who does. */
		log_warning("a connection was refused", LOG_S("pod", d->first.pod_name), LOG_S("err", err.message));
		cJSON_Delete(take_ptr(*ret));
	}
}

enum input destination_listen(void *destination)
{
	struct destination *d = destination;

	for (;;) {
		cJSON_Delete(take_ptr(d->hello));
		if (next_hello(d, NULL, &d->hello) < 0) {
			error_reason(&d->err, -ECANCELED, REASON_DestinationLost, "the destination pod was removed");
			return INPUT_PodGone;
		}
		if (destination_take_hello(d, &d->err) == 0) {
			if (!json_bool(d->hello, "resume"))
				return INPUT_Hello;
			destination_take_waiting(d);
			return INPUT_HelloAgain;
		}
		destination_say_no(d, WIRE_REFUSE, &d->err);
		log_warning("a migration was refused", LOG_S("pod", d->first.pod_name), LOG_S("err", d->err.message));
	}
}

static enum input listen_again(struct destination *d, bool (*ordered)(struct destination *d))
{
	for (;;) {
		cleanup_json cJSON *hello = NULL;
		struct error err = { 0 };
		int r = next_hello(d, ordered, &hello);

		if (r < 0)
			return r == -EINTR ? INPUT_OrderCommit : INPUT_PodGone;
		if (json_bool(hello, "resume"))
			return INPUT_HelloAgain;
		error_reason(&err, -EAGAIN, REASON_ProtocolError, "a second migration into the same pod");
		destination_say_no(d, WIRE_REFUSE, &err);
	}
}

enum input destination_listen_again(void *destination)
{
	return listen_again(destination, NULL);
}

enum input destination_await_outcome(void *destination)
{
	struct destination *d = destination;
	enum input in = listen_again(d, d->driver.side == SIDE_DECIDER ? NULL : is_told_to_run);

	if (in == INPUT_OrderCommit)
		say_ordered(d);
	return in;
}

enum input destination_stay(void *destination)
{
	struct destination *d = destination;
	struct error err = { 0 };
	struct wire_frame f;

	if (d->wire && comes_first(d, is_asked, d->by_order ? 0 : clock_mono_us() + ORDER_LOOK_US))
		return INPUT_OrderCommit;
	if (d->wire && wire_receive(d->wire, -1, &f, &err) == 0 && f.type == WIRE_ENDED)
		return INPUT_Ended;
	/* What is still to come needs its place. */
	if (destination_lacks(d))
		return destination_listen_again(d);
	/* It may take long.  Before, CRIU, which has let the processes run a moment ago, would still write there. */
	destination_drop_parts(d);
	return listen_again(d, is_asked);
}
