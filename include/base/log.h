/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

/*
 * Structured log, one JSON line per call on stderr (or readable text when stderr is a terminal), written by one write(2).
 * The message is a constant sentence; data goes into fields.  Never log memory contents, keys or Secrets.
 */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_field {
	const char *key;
	const char *str;        /* used when not NULL */
	int64_t num;
};

#define LOG_S(key, value) ((struct log_field){ (key), (value) ? (value) : "", 0 })
#define LOG_N(key, value) ((struct log_field){ (key), NULL, (int64_t)(value) })

/* level: the least that is written.  component: a constant, the program's name.  fd: where to. */
void log_init(const char *component, enum log_level level, int fd);

void log_emit(enum log_level level, const char *msg, const struct log_field *fields, size_t n);

/* The head element is skipped; it lets the macros take no fields at all. */
#define LOG_CALL_(level, msg, ...)                                                                       \
	log_emit((level), (msg), (const struct log_field[]){ { 0 }, __VA_ARGS__ },                       \
		 sizeof((const struct log_field[]){ { 0 }, __VA_ARGS__ }) / sizeof(struct log_field))
#define log_debug(...) LOG_CALL_(LOG_DEBUG, __VA_ARGS__, )
#define log_info(...) LOG_CALL_(LOG_INFO, __VA_ARGS__, )
#define log_warning(...) LOG_CALL_(LOG_WARNING, __VA_ARGS__, )
#define log_error(...) LOG_CALL_(LOG_ERROR, __VA_ARGS__, )

#endif
