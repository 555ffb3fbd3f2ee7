/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "container/runc.h"
#include "criu_log.h"
#include "migration/reason.h"

/* CRIU logs some hundred KiB per dump; what failed stands near the end. */
#define TAIL_MAX (256 * 1024)

/*
 * Texts of CRIU 4.2.1 that name a cause (files.c, sk-unix.c, sk-inet.c, sockets.c, tty.c, files-reg.c, fsnotify.c, proc_parse.c,
 * image.c, arch/x86/cpu.c), the telling ones first: io_uring is reported by the general "Can't dump file".
 */
static const struct {
	const char *text;
	int reason;
} causes[] = {
	{ "io_uring", REASON_IOUringInUse },
	/* Since 6.7 the kernel refuses to pass an io_uring to another process (net/core/scm.c scm_fp_copy: EINVAL), which is how
	   CRIU gets at files. */
	{ "send_fds failed (-22)", REASON_IOUringInUse },
	{ "No space left on device", REASON_NoSpace },
	{ "Disk quota exceeded", REASON_NoSpace },
	{ "Can't dump half of stream unix connection", REASON_ExternalUnixSocket },
	{ "Can't dump name-less external socket", REASON_ExternalUnixSocket },
	{ "External socket is used", REASON_ExternalUnixSocket },
	{ "with unreachable peer", REASON_ExternalUnixSocket },
	{ "without correspond master peer", REASON_TerminalAttached },
	{ "Can't dump file", REASON_UnsupportedFile },
	{ "Can't handle non-regular mapping", REASON_UnsupportedFile },
	{ "Unsupported mapping found", REASON_UnsupportedFile },
	{ "Unsupported proto", REASON_UnsupportedFile },
	{ "Unsupported socket", REASON_UnsupportedFile },
	{ "Unknown socket family", REASON_UnsupportedFile },
	{ "inet: Can't dump", REASON_UnsupportedFile },
	{ "Can't dump ghost file", REASON_UnsupportedFile },
	{ "Can't dump that handle", REASON_UnsupportedFile },
	{ "): cpu: ", REASON_CPUIncompatible },
	{ "but host cpu doesn't support it", REASON_CPUIncompatible },
	{ "Not supported images version", REASON_CRIUIncompatible },
};

/* Lines that say Error in dumps and restores that succeed. */
static const char *const harmless[] = { "rlimit: Can't setup RLIMIT_NOFILE for self" };

int criu_log_reason(const char *line, size_t len)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (memmem(line, len, causes[i].text, strlen(causes[i].text)))
			return causes[i].reason;
	return REASON_NONE;
}

/* "(00.012345) Error (criu/files.c:123): text": the time says nothing to a person. */
static const char *error_part(const char *line, size_t len)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (memmem(line, len, harmless[i], strlen(harmless[i])))
			return NULL;
	return memmem(line, len, "Error (", 7);
}

static bool general(int reason)
{
	return reason == REASON_NONE || reason == REASON_CheckpointFailed || reason == REASON_RestoreFailed;
}

struct line {
	const char *text;
	size_t len;
};

/* The last lines that fit into room, in the order of the log: kept in a ring. */
#define LINES_MAX 16

void criu_log_quote(const char *log, size_t len, size_t room, struct buf *out, int *reason)
{
	struct line ring[LINES_MAX];
	size_t n = 0, first, total = 0;

	for (const char *p = log, *end = log + len; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
		const char *e = error_part(p, (size_t)(stop - p));

		if (e) {
			ring[n++ % LINES_MAX] = (struct line){ e, (size_t)(stop - e) };
			if (general(*reason) && criu_log_reason(e, (size_t)(stop - e)))
				*reason = criu_log_reason(e, (size_t)(stop - e));
		}
		p = stop + 1;
	}
	for (first = n; first > 0 && n - first < LINES_MAX && total + ring[(first - 1) % LINES_MAX].len + 3 <= room; first--)
		total += ring[(first - 1) % LINES_MAX].len + 3;
	for (; first < n; first++)
		if (buf_printf(out, "%s%.*s", out->len ? " | " : "", (int)ring[first % LINES_MAX].len,
			       ring[first % LINES_MAX].text) < 0)
			return;
}

static int read_tail(int dirfd, const char *path, struct buf *b)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || buf_reserve(b, TAIL_MAX) < 0)
		return -1;
	n = pread(fd, b->data, TAIL_MAX, st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0);
	if (n < 0)
		return -1;
	b->len = (size_t)n;
	return 0;
}

void criu_explain(int dirfd, const char *log_path, struct error *err)
{
	static const char joint[] = "; CRIU: ";
	cleanup_buf struct buf log = BUF_INIT(TAIL_MAX);
	cleanup_buf struct buf quote = BUF_INIT(sizeof(err->message));
	size_t used = strnlen(err->message, sizeof(err->message));
	int reason = err->reason;

	if (read_tail(dirfd, log_path, &log) < 0)
		return;
	criu_log_quote(log.data, log.len,
		       used + sizeof(joint) < sizeof(err->message) ? sizeof(err->message) - used - sizeof(joint) : 0, &quote,
		       &reason);
	err->reason = reason;
	if (quote.len)
		error_reason(err, 0, reason, "%s%s%s", err->message, joint, quote.data);
}
