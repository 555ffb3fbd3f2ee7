/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "plugin.h"

#define WORDS_MAX 32
#define RUN_TIMEOUT_US 60000000
#define FOLLOW_PAUSE_US 1000000
#define FOLLOW_FAILURES_MAX 5

/* kubectl with its global options and args in front of which they stand. */
static int fill_argv(const struct kubectl *k, const char *const *args, const char **argv)
{
	const struct {
		const char *option, *value;
	} global[] = { { "--kubeconfig", k->kubeconfig }, { "--context", k->context }, { "--namespace", k->ns } };
	int n = 0;

	argv[n++] = "kubectl";
	for (size_t i = 0; i < sizeof(global) / sizeof(global[0]); i++)
		if (global[i].value) {
			argv[n++] = global[i].option;
			argv[n++] = global[i].value;
		}
	for (int i = 0; args[i]; i++) {
		if (n == WORDS_MAX - 1)
			return -E2BIG;
		argv[n++] = args[i];
	}
	argv[n] = NULL;
	return 0;
}

/* Relative paths in $KUBECONFIG or --kubeconfig are those of the person who typed them. */
static int start(const struct kubectl *k, const char *const *args, int stdin_fd, int stdout_fd, struct process *ret, struct error *err)
{
	const char *argv[WORDS_MAX];
	char cwd[PATH_MAX];
	struct process_spec spec = { .argv = argv, .cwd = cwd, .stdin_fd = stdin_fd, .stdout_fd = stdout_fd, .stderr_fd = stdout_fd < 0 ? -1 : 2,
				     .die_with_parent = 1 };

	if (fill_argv(k, args, argv) < 0)
		return error_set(err, -E2BIG, "too many words for kubectl");
	if (!getcwd(cwd, sizeof(cwd)))
		return error_errno(err, "find the current folder");
	return process_start(&spec, stdout_fd < 0, ret, err);
}

/* A file in memory that reads as o. */
static int input_file(const cJSON *o, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(OBJECT_MAX);
	cleanup_close int fd = memfd_create("input", MFD_CLOEXEC);
	int r = json_print(o, &b);

	if (r == 0)
		r = fd < 0 ? -errno : write_full(fd, b.data, b.len);
	if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_set(err, r < 0 ? r : -errno, "the request cannot be written down");
	return take_fd(&fd);
}

/* What kubectl says for people, without its own name in front. */
static const char *said(struct buf *b)
{
	static const char mark[] = "error: ";

	while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
		b->data[--b->len] = '\0';
	if (!b->len)
		return "kubectl failed without a word";
	return !strncmp(b->data, mark, strlen(mark)) ? b->data + strlen(mark) : b->data;
}

int kubectl_object(const struct kubectl *k, const char *const *args, const cJSON *input, cJSON **ret, struct error *err)
{
	cleanup_buf struct buf out = BUF_INIT(OBJECT_MAX);
	cleanup_close int in = input ? input_file(input, err) : -1;
	const char *json;
	struct process p;
	int status, r;

	if (input && in < 0)
		return in;
	r = start(k, args, in, -1, &p, err);
	if (r == 0)
		r = process_wait(&p, clock_mono_us() + RUN_TIMEOUT_US, &out, &status, err);
	if (r < 0)
		return r;
	if (status == 127)
		return error_set(err, -ENOENT, "kubectl was not found on PATH");
	if (status)
		return error_set(err, -EIO, "%s", said(&out));
	/* Warnings of the API server come before it, on the other stream. */
	json = out.len ? memchr(out.data, '{', out.len) : NULL;
	if (!json)
		return error_set(err, -EPROTO, "kubectl printed no object: %s", said(&out));
	return json_parse(json, out.len - (size_t)(json - out.data), OBJECT_MAX, ret, err);
}

/* {"type": .., "object": ..}.  1: enough was seen. */
static int take_event(const char *text, size_t len, bool (*each)(void *ctx, const cJSON *object), void *ctx, struct error *err)
{
	cleanup_json cJSON *e = NULL;
	int r = json_parse(text, len, OBJECT_MAX, &e, err);

	if (r < 0)
		return r;
	if (cJSON_IsObject(json_at(e, "object")) && each(ctx, json_at(e, "object")))
		return 1;
	/* Nothing more is heard of it, but the stream stays open. */
	return strcmp(json_str_or(e, "type", ""), "DELETED") ? 0 : error_set(err, -ENOENT, "the PodMigration was deleted");
}

/* 1: enough was seen; 0: the stream has ended. */
static int read_stream(int fd, bool (*each)(void *ctx, const cJSON *object), void *ctx, struct error *err)
{
	cleanup_buf struct buf line = BUF_INIT(OBJECT_MAX);
	char *end;

	for (;;) {
		char chunk[65536];
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		if (buf_append(&line, chunk, (size_t)n) < 0)
			return error_set(err, -E2BIG, "a PodMigration of more than %u bytes", OBJECT_MAX);
		while (line.len && (end = memchr(line.data, '\n', line.len))) {
			size_t len = (size_t)(end - line.data);
			int r = len ? take_event(line.data, len, each, ctx, err) : 0;

			if (r)
				return r;
			buf_consume(&line, len + 1);
		}
	}
}

int kubectl_follow(const struct kubectl *k, const char *name, bool (*each)(void *ctx, const cJSON *object), void *ctx, struct error *err)
{
	/* One event on one line; `--output=json` would spread it over many. */
	const char *const args[] = { "get", "podmigrations.podmigration.dev", name, "--watch", "--output-watch-events", "--output=jsonpath={@}{\"\\n\"}", NULL };

	for (int failures = 0; failures < FOLLOW_FAILURES_MAX;) {
		cleanup_close int r_end = -1, w_end = -1;
		int fds[2], status = 0, r;
		struct process p;

		if (pipe2(fds, O_CLOEXEC) < 0)
			return error_errno(err, "pipe");
		r_end = fds[0];
		w_end = fds[1];
		r = start(k, args, -1, w_end, &p, err);
		if (r < 0)
			return r;
		close(take_fd(&w_end));
		r = read_stream(r_end, each, ctx, err);
		if (r)
			kill(p.pid, SIGTERM);
		if (process_wait(&p, clock_mono_us() + RUN_TIMEOUT_US, NULL, &status, NULL) == 0 && status == 127)
			return error_set(err, -ENOENT, "kubectl was not found on PATH");
		if (r)
			return r < 0 ? r : 0;
		failures = status ? failures + 1 : 0;
		usleep(FOLLOW_PAUSE_US);
	}
	return error_set(err, -EIO, "the PodMigration cannot be followed; look with kubectl get podmigration %s", name);
}
