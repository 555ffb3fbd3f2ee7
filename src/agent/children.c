/* SPDX-License-Identifier: Apache-2.0 */
#include "children.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"

#define RETRY_FIRST_US 500000
#define RETRY_LAST_US 30000000
#define ARGS_MAX 32

struct child *children_find(struct children *c, enum child_kind kind, const char *key)
{
	for (int i = 0; i < c->n; i++)
		if (c->items[i].kind == kind && !strcmp(c->items[i].key, key))
			return &c->items[i];
	return NULL;
}

int children_running(const struct children *c, enum child_kind kind)
{
	int n = 0;

	for (int i = 0; i < c->n; i++)
		n += c->items[i].kind == kind && c->items[i].pid > 0;
	return n;
}

/* A slot for a new worker; ended ones are forgotten when the table is full. */
static struct child *take_slot(struct children *c)
{
	if (c->n < CHILDREN_MAX)
		return &c->items[c->n++];
	for (int i = 0; i < c->n; i++)
		if (c->items[i].pid == 0) {
			cJSON_Delete(c->items[i].line);
			return &c->items[i];
		}
	return NULL;
}

bool child_crashed(const struct child *c)
{
	return !c->pid && c->exit_status > 128;
}

/* The worker is this same program with the same settings. */
static int spawn(const struct children *c, enum child_kind kind, const char *key, int stdin_fd, struct process *ret, struct error *err)
{
	const struct agent_options *o = c->o;
	const int keep[] = { c->lock_fd > 0 ? c->lock_fd : -1, -1 };
	char port[16], max[32], pid[16];
	const char *argv[ARGS_MAX] = {
		"/proc/self/exe", kind == CHILD_SOURCE ? "source" : "destination", "--node", o->node, "--host-root", o->host_root,
		"--host-pid", pid, "--runc-root", o->runc_root, "--containerd-socket", o->containerd_socket, "--stream-port", port,
		"--max-bytes", max, NULL,
	};
	int n = 0;
	struct process_spec spec = { .argv = argv, .stdin_fd = stdin_fd, .stdout_fd = 2, .stderr_fd = 2, .keep_fds = keep, .die_with_parent = 1 };

	while (argv[n])
		n++;
	snprintf(port, sizeof(port), "%u", o->stream_port);
	snprintf(pid, sizeof(pid), "%d", o->host_pid);
	snprintf(max, sizeof(max), "%llu", (unsigned long long)o->max_bytes);
	if (o->kubeconfig) {
		argv[n++] = "--kubeconfig";
		argv[n++] = o->kubeconfig;
	}
	if (kind == CHILD_DESTINATION) {
		argv[n++] = "--sandbox";
		argv[n++] = key;
	}
	argv[n] = NULL;
	return process_start(&spec, false, ret, err);
}

static struct child *find_or_make(struct children *c, enum child_kind kind, const char *key, struct error *err)
{
	struct child *item = children_find(c, kind, key);

	if (item)
		return item;
	item = take_slot(c);
	if (!item) {
		error_set(err, -EBUSY, "%d migrations run on this node already", CHILDREN_MAX);
		return NULL;
	}
	*item = (struct child){ .kind = kind, .pidfd = -1, .control_fd = -1 };
	snprintf(item->key, sizeof(item->key), "%s", key);
	return item;
}

/* *ret_control: the other end of its stdin, -1 without one. */
static int start(const struct children *c, enum child_kind kind, const char *key, bool has_line, struct process *ret, int *ret_control, struct error *err)
{
	cleanup_close int theirs = -1, ours = -1;
	int pair[2], r;

	if (has_line && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "socketpair");
	if (has_line) {
		theirs = pair[0];
		ours = pair[1];
	}
	r = spawn(c, kind, key, theirs, ret, err);
	if (r == 0)
		*ret_control = take_fd(&ours);
	return r;
}

struct child *children_start(struct children *c, enum child_kind kind, const char *key, const cJSON *first_line, struct error *err)
{
	bool known = children_find(c, kind, key) != NULL;
	struct child *item = find_or_make(c, kind, key, err);
	struct process p = { 0, -1, -1 };
	int control = -1;

	if (!item)
		return NULL;
	if (start(c, kind, key, first_line != NULL, &p, &control, err) < 0) {
		/* One that has an entry is taken for begun: it is tried again at the next occasion. */
		if (!known)
			children_forget(c, item);
		return NULL;
	}
	item->pid = p.pid;
	item->pidfd = p.pidfd;
	item->control_fd = control;
	item->told_address = item->told_abort = item->stays = false;
	if (first_line) {
		cJSON *copy = cJSON_Duplicate(first_line, 1);

		snprintf(item->pod_uid, sizeof(item->pod_uid), "%s", json_str_or(first_line, "podUID", ""));
		child_tell(item, first_line);
		cJSON_Delete(item->line);
		item->line = copy;
	}
	return item;
}

void child_tell(struct child *c, const cJSON *line)
{
	cleanup_buf struct buf b = BUF_INIT(65536);
	int r;

	if (c->control_fd < 0)
		return;
	if (json_print(line, &b) < 0 || buf_puts(&b, "\n") < 0)
		return;
	r = write_full(c->control_fd, b.data, b.len);
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		log_warning("a worker could not be told", LOG_S("key", c->key), LOG_S("err", strerror(-r)));
	explicit_bzero(b.data, b.len);
}

void child_hear(struct child *c, short revents)
{
	/* A worker that ends closes its end altogether. */
	c->stays = c->stays || ((revents & POLLRDHUP) && !(revents & POLLHUP));
	if (revents)
		close(take_fd(&c->control_fd));
}

void child_reap(struct child *c)
{
	int st = 0;

	while (waitpid(c->pid, &st, 0) < 0 && errno == EINTR)
		;
	c->exit_status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	c->pid = 0;
	close(take_fd(&c->pidfd));
	if (c->control_fd >= 0)
		close(take_fd(&c->control_fd));
	if (c->exit_status == 0) {
		c->failures = 0;
	} else {
		int64_t wait = RETRY_FIRST_US << (c->failures < 6 ? c->failures : 6);

		c->failures++;
		c->retry_us = clock_mono_us() + (wait < RETRY_LAST_US ? wait : RETRY_LAST_US);
	}
}

void children_forget(struct children *c, struct child *item)
{
	cJSON_Delete(item->line);
	*item = c->items[--c->n];
}
