/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "handshake.h"
#include "migration/reason.h"

#define HANDSHAKE_US 5000000
#define IDLE_US 20000000
#define LOOK_MS 1000            /* whether the pod is still there: nobody tells; it costs one readdir */
#define MONITORS_MAX 1024

void destination_hang_up(struct destination *d)
{
	wire_free(take_ptr(d->wire));
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

/* One connection as far as HELLO; d->wire is it then. */
static int greet(struct destination *d, cJSON **ret, struct error *err)
{
	int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct tls_stream *tls;
	int r;

	if (fd < 0)
		return error_errno(err, "accept");
	r = tls_accept(fd, d->first.migration, d->key, PM_KEY_SIZE, clock_mono_us() + HANDSHAKE_US, &tls, err);
	if (r == 0)
		r = wire_new(tls, IDLE_US, &d->wire, err);
	if (r == 0)
		r = take_hello(d, ret, err);
	if (r == 0) {
		r = protocol_choose(*ret, &d->protocol, err);
		if (r < 0)
			destination_say_no(d, WIRE_REFUSE, err);
	}
	if (r < 0)
		destination_hang_up(d);
	return r;
}

/* HELLO, fresh or again, into *ret; or the pod is gone: -ECANCELED. */
static int next_hello(struct destination *d, cJSON **ret)
{
	destination_hang_up(d);
	for (;;) {
		struct pollfd p = { d->listen_fd, POLLIN, 0 };
		struct error err = { 0 };
		int r = poll(&p, 1, LOOK_MS);

		if (r <= 0 && destination_pod_gone(d))
			return -ECANCELED;
		if (r <= 0)
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
		if (next_hello(d, &d->hello) < 0) {
			error_reason(&d->err, -ECANCELED, REASON_DestinationLost, "the destination pod was removed");
			return INPUT_PodGone;
		}
		if (destination_take_hello(d, &d->err) == 0)
			return json_bool(d->hello, "resume") ? INPUT_HelloAgain : INPUT_Hello;
		destination_say_no(d, WIRE_REFUSE, &d->err);
		log_warning("a migration was refused", LOG_S("pod", d->first.pod_name), LOG_S("err", d->err.message));
	}
}

enum input destination_listen_again(void *destination)
{
	struct destination *d = destination;

	for (;;) {
		cleanup_json cJSON *hello = NULL;
		struct error err = { 0 };

		if (next_hello(d, &hello) < 0)
			return INPUT_PodGone;
		if (json_bool(hello, "resume"))
			return INPUT_HelloAgain;
		error_reason(&err, -EAGAIN, REASON_ProtocolError, "a second migration into the same pod");
		destination_say_no(d, WIRE_REFUSE, &err);
	}
}

enum input destination_stay(void *destination)
{
	struct destination *d = destination;
	struct error err = { 0 };
	struct wire_frame f;

	if (d->wire && wire_receive(d->wire, -1, &f, &err) == 0 && f.type == WIRE_ENDED)
		return INPUT_Ended;
	/* What is still to come needs its place. */
	if (destination_lacks(d))
		return destination_listen_again(d);
	/* It may take long.  Before, CRIU, which has let the processes run a moment ago, would still write there. */
	destination_drop_parts(d);
	return destination_listen_again(d);
}
