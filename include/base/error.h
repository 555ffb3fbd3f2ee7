/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/*
 * One error, as it will be read by a person: a machine-readable reason (0: none; the numbers are
 * given names by migration/reason.h) and one sentence.  It lives on the caller's stack, owns nothing
 * and is written only on failure.  Functions that take one return 0 or a negative errno.
 */
struct error {
	int reason;
	char message[2048];
};

/* Sets *err (may be NULL) and returns code, so that `return error_set(err, -EINVAL, ...)` reads well. */
int error_set(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same, with the reason a PodMigration will show. */
int error_reason(struct error *err, int code, int reason, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "outer: " before the message already there; keeps reason and code. */
int error_wrap(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* One more that was found beside it, put behind "; ": the first keeps the reason.  An empty *err becomes *more. */
void error_also(struct error *err, const struct error *more);

/* error_set with ": strerror(errno)" added; returns -errno. */
int error_errno(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
