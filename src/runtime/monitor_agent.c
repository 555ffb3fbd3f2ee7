/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "json_scan.h"
#include "monitor.h"
#include "pass_fd.h"
#include "runtime/monitor.h"

#define PATH_MAX_BYTES 512

static int put_status(const struct monitor *m, const char *refusal, struct buf *b)
{
	const char *error = refusal ? refusal : m->state == STATE_FAILED ? m->error.message : NULL;
	int r = buf_puts(b, "{");

	if (r == 0)
		r = json_put_member(b, "state", state_name(m->state));
	if (r == 0 && error)
		r = json_put_member(b, "error", error);
	if (r == 0 && m->init > 0)
		r = buf_printf(b, ",\"pid\":%d", m->init);
	if (r == 0 && m->filler.done)
		r = buf_printf(b, ",\"filled\":{\"pages\":%llu,\"micros\":%lld}", (unsigned long long)m->filler.pages,
			       (long long)m->filler.micros);
	return r < 0 ? r : buf_puts(b, "}");
}

void agent_tell(struct monitor *m, const char *refusal)
{
	cleanup_buf struct buf b = BUF_INIT(MONITOR_PACKET_MAX);

	if (m->agent_fd < 0)
		return;
	/* An agent that has gone is found out by reading, after all it had said: an abort must not be lost because nobody waits for the answer. */
	if (put_status(m, refusal, &b) == 0 && send(m->agent_fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

void agent_accept(struct monitor *m)
{
	cleanup_close int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	/* The folder is root's alone; this is for the day it is not. */
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0)
		return;
	m->agent_fd = take_fd(&fd);
	agent_tell(m, NULL);
}

static const char *op_restore(struct monitor *m, struct span op, struct error *err)
{
	char images[PATH_MAX_BYTES], work[PATH_MAX_BYTES];
	struct span lazy, connections;

	if (json_copy_at(op, "images", images, sizeof(images)) < 0 || json_copy_at(op, "work", work, sizeof(work)) < 0)
		return "restore: images or work is missing or too long";
	m->keeps_tcp = json_member(op, "connections", &connections) && json_is(connections, "true");
	return restore_begin(m, images, work, json_member(op, "lazy", &lazy) && json_is(lazy, "true"), err) == -EINVAL ? err->message : NULL;
}

static const char *op_go(struct monitor *m, struct span op, struct error *err)
{
	(void)op;
	(void)err;
	restore_go(m);
	return NULL;
}

static const char *op_open(struct monitor *m, struct span op, struct error *err)
{
	(void)op;
	(void)err;
	restore_open(m);
	return NULL;
}

static const char *op_abort(struct monitor *m, struct span op, struct error *err)
{
	(void)op;
	(void)err;
	if (m->opened)
		return "abort: the barrier is open already";
	if (!m->aborting) {
		error_set(&m->error, -ECANCELED, "aborted by the agent");
		if (m->state == STATE_WAITING)
			claim_take(&m->spec->claim, NULL);
	}
	monitor_abort(m, MONITOR_EXIT_FAILED);
	return NULL;
}

static const char *op_status(struct monitor *m, struct span op, struct error *err)
{
	(void)op;
	(void)err;
	agent_tell(m, NULL);
	return NULL;
}

/* An agent that lost its connection asks again: what is done already (quiet) is answered by the state, not by a refusal. */
static const struct {
	const char *name;
	unsigned allowed, quiet;        /* states */
	const char *(*run)(struct monitor *m, struct span op, struct error *err);
	const char *refusal;
} ops[] = {
#define S(name) (1u << STATE_##name)
	{ "restore", S(WAITING), 0, op_restore, "restore: not waiting any more, and nothing is restored twice" },
	{ "go", S(STANDBY), S(RESTORING) | S(BARRIER), op_go, "go: not standing by" },
	{ "open", S(BARRIER), S(RUNNING), op_open, "open: not at the barrier" },
	{ "abort", S(WAITING) | S(STARTING) | S(STANDBY) | S(RESTORING) | S(BARRIER), S(FAILED), op_abort, "abort: the application runs already" },
	{ "status", ~0u, 0, op_status, "" },
#undef S
};

static void dispatch(struct monitor *m, const char *name, struct span op)
{
	struct error err = { 0 };
	const char *refusal = "unknown op";

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (strcmp(ops[i].name, name))
			continue;
		if (ops[i].allowed & 1u << m->state)
			refusal = ops[i].run(m, op, &err);
		else if (ops[i].quiet & 1u << m->state)
			refusal = op_status(m, op, &err);
		else
			refusal = ops[i].refusal;
	}
	if (refusal)
		agent_tell(m, refusal);
}

void agent_handle(struct monitor *m)
{
	char packet[MONITOR_PACKET_MAX], name[16];
	struct span op;
	ssize_t n;

	/* Fds that come along are m->given until the packet has been dealt with. */
	pass_fds_receive(m->agent_fd, packet, sizeof(packet), MSG_TRUNC, m->given, PASS_FDS_MAX, &n);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(take_fd(&m->agent_fd));
		return;
	}
	if ((size_t)n > sizeof(packet) || json_scan(packet, (size_t)n, &op) < 0 || json_copy_at(op, "op", name, sizeof(name)) < 0)
		agent_tell(m, "not a request");
	else
		dispatch(m, name, op);
	fill_drop(m);
}
