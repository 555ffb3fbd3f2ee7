/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "container/runc.h"
#include "criu_log.h"
#include "migration/names.h"
#include "migration/reason.h"
#include "node.h"

#define RUN_TIMEOUT_US 10000000
#define OUTPUT_MAX (64 * 1024)
#define CPUINFO_NAME "cpuinfo.img"
#define CPUINFO_MAX (64 * 1024)

static int run_criu(pid_t host_pid, const char *const *argv, struct buf *out, struct error *err)
{
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .host_root_pid = host_pid };

	return process_run(&spec, RUN_TIMEOUT_US, out, err);
}

/* Digits of one version part; *p is moved behind them. */
static int number(const char **p)
{
	int v = 0;

	while (**p >= '0' && **p <= '9' && v < 100)
		v = v * 10 + *(*p)++ - '0';
	return v;
}

/* "Version: 4.2.1", also "4.2" and "3.17.1-2". */
static int parse_version(const char *text, char *out, size_t size)
{
	const char *p = strstr(text, "Version: "), *from;
	int part[3] = { 0 };

	if (!p)
		return -EBADMSG;
	from = p += 9;
	for (int i = 0; i < 3 && *p >= '0' && *p <= '9'; i++) {
		part[i] = number(&p);
		if (*p != '.')
			break;
		p++;
	}
	if (part[0] < 1 || part[0] > 99 || part[1] > 99 || part[2] > 99)
		return -EBADMSG;
	if (path_format(out, size, "%.*s", (int)strcspn(from, " \r\n"), from) < 0)
		return -EBADMSG;
	return part[0] * 10000 + part[1] * 100 + part[2];
}

int criu_version(pid_t host_pid, int *ret_version, char *text, size_t size, struct error *err)
{
	const char *const argv[] = { "criu", "--version", NULL };
	cleanup_buf struct buf out = BUF_INIT(OUTPUT_MAX);
	int r = run_criu(host_pid, argv, &out, err);

	if (r < 0)
		return r;
	r = parse_version(out.data ? out.data : "", text, size);
	if (r < 0)
		return error_set(err, r, "criu --version says no version");
	*ret_version = r;
	return 0;
}

/* A folder on the node for one call of criu; *node names it there, *here from us. */
struct scratch {
	char node[128], here[256];
};

static int scratch_make(pid_t host_pid, struct scratch *s, struct error *err)
{
	char run[256];
	int r;

	if (node_path(host_pid, PM_RUN_DIR, run, sizeof(run)) < 0 ||
	    path_format(s->here, sizeof(s->here), "%s/criu-XXXXXX", run) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the run folder is too long");
	r = dir_make(AT_FDCWD, run, 0700, err);
	if (r < 0)
		return r;
	if (!mkdtemp(s->here))
		return error_errno(err, "make a folder in %s", run);
	return path_format(s->node, sizeof(s->node), "%s%s", PM_RUN_DIR, strrchr(s->here, '/'));
}

static void scratch_remove(const struct scratch *s)
{
	tree_remove(AT_FDCWD, s->here, NULL);
}

int criu_cpuinfo_dump(pid_t host_pid, struct buf *out, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(OUTPUT_MAX);
	struct scratch s;
	char path[320];
	int r = scratch_make(host_pid, &s, err);

	if (r < 0)
		return r;
	r = run_criu(host_pid, (const char *const[]){ "criu", "cpuinfo", "dump", "-D", s.node, NULL }, &text, err);
	if (r == 0 && path_format(path, sizeof(path), "%s/%s", s.here, CPUINFO_NAME) == 0)
		r = file_read(AT_FDCWD, path, out, err);
	scratch_remove(&s);
	return r < 0 ? error_wrap(err, r, "read the features of this node's CPU") : 0;
}

static int check_cpuinfo(pid_t host_pid, const struct scratch *s, const void *image, size_t len, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(OUTPUT_MAX);
	cleanup_buf struct buf quote = BUF_INIT(1024);
	int reason = REASON_NONE, r;
	char path[320];

	if (path_format(path, sizeof(path), "%s/%s", s->here, CPUINFO_NAME) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long");
	r = file_write(AT_FDCWD, path, image, len, 0600, false, err);
	if (r < 0)
		return r;
	r = run_criu(host_pid, (const char *const[]){ "criu", "cpuinfo", "check", "-D", s->node, NULL }, &text, err);
	if (r == 0)
		return 0;
	criu_log_quote(text.data ? text.data : "", text.len, quote.max, &quote, &reason);
	/* Without such a line it is criu that failed, not the CPU. */
	if (reason != REASON_CPUIncompatible)
		return error_reason(err, r, reason, "compare the CPUs: %s", quote.len ? quote.data : "criu says nothing");
	return error_reason(err, -ENOTSUP, REASON_CPUIncompatible, "this node's CPU lacks features of the source's; CRIU: %s",
			    quote.data);
}

int criu_cpuinfo_check(pid_t host_pid, const void *image, size_t len, struct error *err)
{
	struct scratch s;
	int r;

	if (len == 0 || len > CPUINFO_MAX)
		return error_set(err, -EINVAL, "the source's CPU image holds %zu bytes", len);
	r = scratch_make(host_pid, &s, err);
	if (r < 0)
		return r;
	r = check_cpuinfo(host_pid, &s, image, len, err);
	scratch_remove(&s);
	return r;
}
