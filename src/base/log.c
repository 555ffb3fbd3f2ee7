/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define LINE_MAX_BYTES 16384

/* The one piece of state that belongs to the process as a whole: set once at start, before any thread. */
static struct {
	const char *component;
	enum log_level level;
	int fd;
	bool text;
} logger = { "podmigration", LOG_INFO, STDERR_FILENO, false };

static const char *const level_name[] = { "debug", "info", "warning", "error" };

void log_init(const char *component, enum log_level level, int fd)
{
	logger.component = component;
	logger.level = level;
	logger.fd = fd;
	logger.text = isatty(fd) == 1;
}

/* JSON string (RFC 8259): quotes, backslash and control characters escaped; bytes above 0x7f pass as they are. */
static void put_string(struct buf *b, const char *s)
{
	buf_puts(b, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			buf_printf(b, "\\%c", c);
		else if (c < 0x20)
			buf_printf(b, "\\u%04x", c);
		else
			buf_append(b, s, 1);
	}
	buf_puts(b, "\"");
}

static void put_fields_json(struct buf *b, const struct log_field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!f[i].key)
			continue;
		buf_puts(b, ",");
		put_string(b, f[i].key);
		buf_puts(b, ":");
		if (f[i].str)
			put_string(b, f[i].str);
		else
			buf_printf(b, "%" PRId64, f[i].num);
	}
}

static void put_fields_text(struct buf *b, const struct log_field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!f[i].key)
			continue;
		buf_printf(b, " %s=", f[i].key);
		if (f[i].str)
			put_string(b, f[i].str);
		else
			buf_printf(b, "%" PRId64, f[i].num);
	}
}

void log_emit(enum log_level level, const char *msg, const struct log_field *fields, size_t n)
{
	cleanup_buf struct buf b = BUF_INIT(LINE_MAX_BYTES);
	char now[CLOCK_RFC3339_SIZE];

	if (level < logger.level)
		return;
	clock_rfc3339(clock_real_us(), 0, now);
	if (logger.text) {
		buf_printf(&b, "%s %-7s %s", now, level_name[level], msg);
		put_fields_text(&b, fields, n);
	} else {
		buf_printf(&b, "{\"ts\":\"%s\",\"level\":\"%s\",\"logger\":\"%s\",\"msg\":", now, level_name[level],
			   logger.component);
		put_string(&b, msg);
		put_fields_json(&b, fields, n);
		buf_puts(&b, "}");
	}
	buf_puts(&b, "\n");
	/* A log that cannot be written has nowhere to complain. */
	if (b.data && write(logger.fd, b.data, b.len) < 0)
		return;
}
