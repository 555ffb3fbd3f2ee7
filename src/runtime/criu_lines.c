/* SPDX-License-Identifier: Apache-2.0 */
#include "criu_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "json_scan.h"

/* Logs are some hundred KiB; what failed stands near the end. */
#define TAIL_MAX (128u << 10)
#define LINES_MAX 16

/* Lines that say Error in restores that succeed. */
static const char *const harmless[] = { "Can't setup RLIMIT_NOFILE for self" };

struct line {
	const char *p;
	size_t len;
};

static int read_tail(const char *path, struct buf *b)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || buf_reserve(b, TAIL_MAX) < 0)
		return -EIO;
	n = pread(fd, b->data, TAIL_MAX, st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0);
	if (n < 0)
		return -errno;
	b->len = (size_t)n;
	b->data[n] = '\0';
	return 0;
}

/* The line before *end, which is moved to its beginning; false at the beginning of the text. */
static bool line_before(const char *text, const char **end, struct line *ret)
{
	const char *stop = *end, *nl;

	if (stop == text)
		return false;
	if (stop[-1] == '\n')
		stop--;
	nl = stop > text ? memrchr(text, '\n', (size_t)(stop - text)) : NULL;
	ret->p = nl ? nl + 1 : text;
	ret->len = (size_t)(stop - ret->p);
	*end = ret->p;
	return true;
}

int runc_message(const char *log, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(TAIL_MAX);
	char level[16], msg[1024];
	const char *end;
	struct line l;
	struct span o;

	if (read_tail(log, &b) < 0)
		return -ENOENT;
	for (end = b.data + b.len; line_before(b.data, &end, &l);)
		if (json_scan(l.p, l.len, &o) == 0 && json_copy_at(o, "level", level, sizeof(level)) == 0 && !strcmp(level, "error") &&
		    json_copy_at(o, "msg", msg, sizeof(msg)) == 0) {
			error_set(err, -EIO, "runc restore: %s", msg);
			return 0;
		}
	return -ENOENT;
}

/* "(00.012345) Error (criu/files.c:123): text": the time says nothing to a person. */
static bool error_part(struct line *l)
{
	const char *e = memmem(l->p, l->len, "Error (", 7);

	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (memmem(l->p, l->len, harmless[i], strlen(harmless[i])))
			return false;
	if (!e)
		return false;
	l->len -= (size_t)(e - l->p);
	l->p = e;
	return true;
}

void criu_lines(const char *work, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(TAIL_MAX), out = BUF_INIT(sizeof(err->message));
	struct line lines[LINES_MAX], l;
	size_t n = 0, room = sizeof(err->message) - strnlen(err->message, sizeof(err->message) - 1);
	const char *end;
	char path[600];

	if (path_format(path, sizeof(path), "%s/restore.log", work) < 0 || read_tail(path, &b) < 0)
		return;
	for (end = b.data + b.len; n < LINES_MAX && line_before(b.data, &end, &l);) {
		if (!error_part(&l))
			continue;
		if (l.len + 16 > room)
			break;
		room -= l.len + 3;
		lines[n++] = l;
	}
	while (n-- > 0)
		if (buf_printf(&out, "%s%.*s", out.len ? " | " : "", (int)lines[n].len, lines[n].p) < 0)
			return;
	if (out.len)
		error_set(err, -EIO, "%s; CRIU: %s", err->message, out.data);
}
