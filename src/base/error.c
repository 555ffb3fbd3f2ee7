/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static void format(struct error *err, const char *fmt, va_list ap)
{
	/* Callers may pass err->message itself as an argument. */
	char tmp[sizeof(err->message)];

	vsnprintf(tmp, sizeof(tmp), fmt, ap);
	/* It ends up in one-line places (conditions, Events, logs). */
	text_clean(tmp);
	memcpy(err->message, tmp, sizeof(tmp));
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	format(err, fmt, ap);
	va_end(ap);
	err->reason = 0;
	return code;
}

int error_reason(struct error *err, int code, int reason, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	format(err, fmt, ap);
	va_end(ap);
	err->reason = reason;
	return code;
}

int error_wrap(struct error *err, int code, const char *fmt, ...)
{
	char outer[512], inner[sizeof(err->message)];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(outer, sizeof(outer), fmt, ap);
	va_end(ap);
	memcpy(inner, err->message, sizeof(inner));
	/* What does not fit is the end of the inner text. */
	snprintf(err->message, sizeof(err->message), "%s: %.*s", outer, (int)(sizeof(inner) - sizeof(outer) - 3), inner);
	text_clean(err->message);
	return code;
}

int error_errno(struct error *err, const char *fmt, ...)
{
	int code = errno ? -errno : -EIO;
	char what[1024], reason[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return error_set(err, code, "%s: %s", what, strerror_r(-code, reason, sizeof(reason)));
}

void error_also(struct error *err, const struct error *more)
{
	size_t len = strlen(err->message);

	if (!len) {
		*err = *more;
		return;
	}
	snprintf(err->message + len, sizeof(err->message) - len, "; %s", more->message);
	/* It may have been cut within a character. */
	text_clean(err->message);
}
