/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "contents.h"
#include "handshake.h"
#include "migration/reason.h"
#include "net/tls.h"

#define IDLE_US 20000000                /* nothing moves on the stream for so long: it is lost */
#define REFUSED_PAUSE_US 20000
#define LAST_WORD_US 100000

/* From the control thread, while the main thread may be hanging up. */
void source_interrupt(void *source)
{
	struct source *s = source;

	pthread_mutex_lock(&s->wire_lock);
	if (s->wire)
		wire_interrupt(s->wire);
	pthread_mutex_unlock(&s->wire_lock);
}

static void set_stream(struct source *s, struct wire *w)
{
	pthread_mutex_lock(&s->wire_lock);
	s->wire = w;
	pthread_mutex_unlock(&s->wire_lock);
	s->peer_gave_up = s->peer_never_ran = false;
}

void source_hang_up(struct source *s)
{
	struct wire *w = s->wire;

	set_stream(s, NULL);
	wire_free(w);
}

/* An order to abort ends the tries where it counts; who has given its word, or has committed, goes on dialling. */
static bool order_ends_it(struct source *s)
{
	return s->driver.ordered(s) && machine_next(s->driver.m, s->driver.state, INPUT_OrderAbort, s->driver.side) >= 0;
}

/* The listener appears when the destination's agent has seen the pod: refused connections are tried again for a while. */
static int connect_patiently(struct source *s, int64_t deadline, int *ret, struct error *err)
{
	int r;

	for (;;) {
		if (order_ends_it(s))
			return control_check(s->control, err);
		r = tcp_connect(s->journal.pod_ip, s->journal.port, deadline, ret, err);
		if (r == 0)
			return 0;
		if (r != -ECONNREFUSED || clock_mono_us() > deadline)
			break;
		usleep(REFUSED_PAUSE_US);
	}
	return error_reason(err, r, REASON_AgentUnavailable, "no podmigration-agent answers at %s port %u: %s", s->journal.pod_ip, s->journal.port,
			    strerror(-r));
}

int source_dial(struct source *s, int64_t patience_us, struct error *err)
{
	struct tls_stream *tls;
	struct wire *w;
	int fd, r;

	source_hang_up(s);
	r = connect_patiently(s, clock_mono_us() + patience_us, &fd, err);
	if (r == 0)
		r = tls_connect(fd, s->journal.migration, s->key, PM_KEY_SIZE, clock_mono_us() + IDLE_US, &tls, err);
	if (r == 0)
		r = wire_new(tls, IDLE_US, &w, err);
	if (r < 0)
		return r;
	wire_set_rate(w, (uint64_t)s->bandwidth);
	set_stream(s, w);
	/* An order that came while there was no stream to interrupt; or the deadline, or the agent's end. */
	if ((s->late || s->leaving) && !s->bound)
		return error_reason(err, -ETIMEDOUT, REASON_TimedOut, "connected too late");
	return order_ends_it(s) ? control_check(s->control, err) : 0;
}

/* Of the pod's containers the first that is confined by a security module: one node has one. */
static void add_confinement(const struct source *s, cJSON *hello)
{
	for (int i = 0; i < s->n; i++) {
		cleanup_buf struct buf label = BUF_INIT(4096);
		char path[64];
		const char *lsm;

		path_format(path, sizeof(path), "/proc/%d/attr/current", s->containers[i].init_pid);
		if (file_read(AT_FDCWD, path, &label, NULL) < 0 || !label.len || !(lsm = lsm_of_label(label.data)))
			continue;
		cJSON_AddStringToObject(hello, "confined", lsm);
		return;
	}
}

/* What cannot be read is in the way as well. */
static void also(struct error *all, int code, const struct error *why)
{
	struct error named = { 0 };

	if (code >= 0)
		return;
	error_set(&named, code, "%s%s%.1800s", why->reason ? reason_name(why->reason) : "", why->reason ? ": " : "", why->message);
	error_also(all, &named);
}

static void add_node(struct source *s, cJSON *hello, struct error *all)
{
	struct error why = { 0 };

	also(all, node_facts(s->o, true, hello, &why), &why);
	if (!json_at(hello, "protocol"))
		node_words(s->o, hello);
}

static uint32_t ids_of_pod(const struct source *s)
{
	return s->n && s->containers[0].bundle ? s->containers[0].bundle->ids.count : 0;
}

/* What this node's agent has found, and of the node and the pod as much as could be read: it is compared all the same, that a person hears of all of it. */
static void add_found(struct source *s, cJSON *hello)
{
	cJSON *found = cJSON_AddObjectToObject(hello, "found");
	struct error all = s->cause;

	cJSON_AddNumberToObject(hello, "stateBytes", (double)source_state_bytes(s));
	add_confinement(s, hello);
	/* Of a pod that was not looked into, nothing is said. */
	if (s->n && s->containers[0].bundle) {
		struct error why = { 0 };

		ids_put(hello, ids_of_pod(s));
		also(&all, contents_add(s->o, s->containers[0].bundle, cJSON_AddObjectToObject(hello, "contents"), &why), &why);
	}
	add_node(s, hello, &all);
	cJSON_AddStringToObject(found, "reason", reason_name(all.reason));
	cJSON_AddStringToObject(found, "message", all.message);
}

static cJSON *hello_json(struct source *s, bool resume, struct error *err)
{
	cJSON *j = cJSON_CreateObject(), *names;

	cJSON_AddStringToObject(j, "migration", s->journal.migration);
	cJSON_AddStringToObject(j, "namespace", s->journal.ns);
	cJSON_AddStringToObject(j, "name", s->journal.name);
	cJSON_AddNumberToObject(j, "epoch", (double)s->epoch);
	cJSON_AddStringToObject(j, "decider", s->journal.remote ? "destination" : "source");
	cJSON_AddBoolToObject(j, "resume", resume);
	names = cJSON_AddArrayToObject(j, "containers");
	for (int i = 0; i < s->n; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(s->containers[i].info.name));
	if (resume) {
		node_words(s->o, j);
		return j;
	}
	if (s->cause.message[0]) {
		add_found(s, j);
		return j;
	}
	s->ipc_owner = source_ipc_owner(s);
	cJSON_AddNumberToObject(j, "ipcOwner", s->ipc_owner);
	cJSON_AddNumberToObject(j, "stateBytes", (double)source_state_bytes(s));
	add_confinement(s, j);
	ids_put(j, ids_of_pod(s));
	if (contents_add(s->o, s->containers[0].bundle, cJSON_AddObjectToObject(j, "contents"), err) < 0 || node_facts(s->o, true, j, err) < 0) {
		cJSON_Delete(j);
		return NULL;
	}
	return j;
}

/* A refusal or abort of the other side becomes our error. */
static int peer_error(struct source *s, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *j = NULL;

	s->peer_gave_up = true;
	if (wire_json(f, &j, err) < 0)
		return -ECONNABORTED;
	s->peer_never_ran = f->type == WIRE_ABORT && json_bool(j, "neverRan");
	return error_reason(err, -ECONNABORTED, reason_from_name(json_str(j, "reason")), "%s",
			    json_str_or(j, "message", "the destination gave up"));
}

/* PostCopy, dialled again: that it runs is known. */
static bool says_again(const struct wire_frame *f, enum wire_type expected)
{
	return expected == WIRE_COMPLETE && f->type == WIRE_RUNNING;
}

/*
 * Up to PREPARED the pod stands still for nobody's good: it has so long in all, however often something else comes, or a destination that asks now and then for a page would hold it for ever.  Behind the commit
 * what it asks for is what it needs.
 */
static int receive(struct source *s, enum wire_type expected, int64_t idle_us, int64_t begun_us, struct wire_frame *ret, struct error *err)
{
	int64_t left = expected == WIRE_PREPARED ? begun_us + idle_us - clock_mono_us() : idle_us;

	if (!s->wire)
		return error_set(err, -ENOTCONN, "there is no stream");
	if (left <= 0)
		return error_reason(err, -ETIMEDOUT, REASON_TimedOut, "the destination asked for memory, and was not prepared within %d s", (int)(idle_us / 1000000));
	return wire_receive(s->wire, left, ret, err);
}

static bool gives_up(const struct wire_frame *f)
{
	return f->type == WIRE_REFUSE || f->type == WIRE_ABORT;
}

/* What it has asked before nobody waits for any more.  In all no longer than that: what it said lies here already. */
void source_hear_last_word(struct source *s, struct error *err)
{
	int64_t begun = clock_mono_us();
	struct wire_frame f = { .type = WIRE_WANT };
	struct error why = { 0 };
	int r = s->peer_gave_up || err->reason != REASON_TransferFailed ? -ENODATA : 0;

	while (r == 0 && f.type == WIRE_WANT)
		r = receive(s, WIRE_PREPARED, LAST_WORD_US, begun, &f, &why);
	if (r == 0 && gives_up(&f))
		peer_error(s, &f, err);
}

/* Who hangs up behind its last word takes no answer any more; the word is what counts, not that the answer could not be sent. */
static int answer(struct source *s, const struct wire_frame *f, struct error *err)
{
	int r = source_answer(s, f, err);

	if (r < 0)
		source_hear_last_word(s, err);
	return r < 0 && s->peer_gave_up ? -ECONNABORTED : r;
}

int source_expect(struct source *s, enum wire_type type, int64_t idle_us, cJSON **ret, struct error *err)
{
	int64_t begun = clock_mono_us();
	struct wire_frame f;
	int r = receive(s, type, idle_us, begun, &f, err);

	while (r == 0 && (f.type == WIRE_WANT || says_again(&f, type))) {
		r = f.type == WIRE_WANT ? answer(s, &f, err) : 0;
		if (r == 0)
			r = receive(s, type, idle_us, begun, &f, err);
	}
	if (r < 0)
		return r;
	if (gives_up(&f))
		return peer_error(s, &f, err);
	if (f.type != type)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the destination sent frame type %d where %d was expected", f.type, type);
	return wire_json(&f, ret, err);
}

/* One for each, since each has a thread of its own. */
static int make_packers(struct source *s, struct error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && s->protocol >= WIRE_PROTOCOL_PACKED && i < s->n; i++)
		if (!s->containers[i].packer)
			r = packer_new(&s->containers[i].packer, err);
	return r;
}

int source_greet(struct source *s, bool resume, struct error *err)
{
	cleanup_json cJSON *hello = hello_json(s, resume, err);
	int r = hello ? wire_send_json(s->wire, WIRE_HELLO, WIRE_NO_CONTAINER, hello, err) : -EINVAL;

	cJSON_Delete(s->welcome);
	s->welcome = NULL;
	if (r == 0)
		r = source_expect(s, WIRE_WELCOME, IDLE_US, &s->welcome, err);
	if (r == 0)
		r = protocol_take(s->welcome, &s->protocol, err);
	/* What is resumed has been welcomed once. */
	if (r == 0 && !resume)
		r = ids_known(s->welcome, ids_of_pod(s), err);
	s->stored = json_bool(s->welcome, "stored");
	return r == 0 ? make_packers(s, err) : r;
}
