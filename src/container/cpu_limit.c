/* SPDX-License-Identifier: Apache-2.0 */
#include "container/cpu_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroup_path.h"

#define QUOTA_MIN_US 1000               /* kernel/sched/core.c, min_cfs_quota_period */
#define PERIOD_MAX_US 1000000           /* .., max_cfs_quota_period */
#define QUOTA_MAX_US 1000000000000

/* Where the group's folder may lie.  A v2 group's controllers may stand beside the v1 hierarchies. */
struct place {
	const char *file;
	const char *folders[3];
};

static const struct place limits[] = { { "cpu.cfs_quota_us", { "cpu", "cpu,cpuacct" } }, { "cpu.max", { ".", "unified" } } };
static const struct place usages[] = { { "cpuacct.usage", { "cpuacct", "cpu,cpuacct" } }, { "cpu.stat", { ".", "unified" } } };

/* The first folder that has the file.  -ENOENT: the group is gone, or has no such controller. */
static int open_group(const char *cgroup_root, const struct cpu_limit *l, const struct place *p, int *ret, struct error *err)
{
	char path[4096];
	int why = 0;

	for (int i = 0; p->folders[i]; i++) {
		cleanup_close int fd = -1;

		if (path_format(path, sizeof(path), "%s/%s%s", cgroup_root, p->folders[i], l->group) < 0)
			return error_set(err, -ENAMETOOLONG, "path of the container's cgroup is too long");
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && faccessat(fd, p->file, F_OK, 0) == 0) {
			*ret = take_fd(&fd);
			return 0;
		}
		/* Only what is not there has no limit. */
		if (errno != ENOENT)
			why = errno;
	}
	if (why)
		return error_set(err, -why, "open cgroup %s: %s", l->group, strerror(why));
	return error_set(err, -ENOENT, "no %s for cgroup %s", p->file, l->group);
}

/* One line, without its end. */
static int read_line(int group, const char *file, char *out, size_t size, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(4096);
	int r = file_read(group, file, &b, err);

	if (r < 0)
		return r;
	return path_format(out, size, "%.*s", (int)strcspn(b.data, "\n"), b.data) < 0 ? error_set(err, -EBADMSG, "%s is too long", file) : 0;
}

/* A whole number from 1 on; *ret_end: behind it. */
static int64_t number(const char *text, const char **ret_end)
{
	char *end;
	long long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoll(text, &end, 10);
	*ret_end = end;
	return errno || n < 1 || n > QUOTA_MAX_US ? -EINVAL : n;
}

int64_t cpu_limit_quota(const char *text, bool v2)
{
	const char *none = v2 ? "max" : "-1", *end = text + strlen(none);
	int64_t quota = INT64_MAX, period = 1;

	if (strncmp(text, none, strlen(none)))
		quota = number(text, &end);
	if (quota > 0 && v2)
		period = *end == ' ' ? number(end + 1, &end) : -EINVAL;
	return quota < 0 || period < 0 || *end ? -EINVAL : quota;
}

static bool is_ours(const struct cpu_limit *l, const char *text)
{
	return *text && (!strcmp(text, l->set[0]) || !strcmp(text, l->set[1]));
}

bool cpu_limit_is_sound(const struct cpu_limit *l)
{
	if (!l->group[0])
		return true;
	for (int i = 0; i < 2; i++)
		if (l->set[i][0] && cpu_limit_quota(l->set[i], l->v2) < 0)
			return false;
	return l->group[0] == '/' && !strstr(l->group, "/..") && cpu_limit_quota(l->own, l->v2) > 0;
}

static int read_period(int group, struct cpu_limit *l, struct error *err)
{
	char text[CPU_LIMIT_TEXT];
	const char *at = text, *end;
	int r = read_line(group, l->v2 ? limits[1].file : "cpu.cfs_period_us", text, sizeof(text), err);

	if (r < 0)
		return r;
	if (l->v2)
		at = strchr(text, ' ') ? strchr(text, ' ') + 1 : "";
	l->period_us = number(at, &end);
	return l->period_us < QUOTA_MIN_US || l->period_us > PERIOD_MAX_US ? error_set(err, -EBADMSG, "cgroup %s: the period is \"%.32s\"", l->group, at) : 0;
}

/* The text of the file as it stands. */
static int read_now(const char *cgroup_root, const struct cpu_limit *l, int *ret_group, char now[CPU_LIMIT_TEXT], struct error *err)
{
	int r = open_group(cgroup_root, l, &limits[l->v2], ret_group, err);

	if (r == 0)
		r = read_line(*ret_group, limits[l->v2].file, now, CPU_LIMIT_TEXT, err);
	if (r == 0 && cpu_limit_quota(now, l->v2) < 0)
		return error_set(err, -EBADMSG, "cgroup %s: %s is \"%.32s\"", l->group, limits[l->v2].file, now);
	return r;
}

int cpu_limit_look(const char *cgroup_root, pid_t pid, struct cpu_limit *ret, struct error *err)
{
	cleanup_free struct cgroup_paths *p = NULL;
	cleanup_close int group = -1;
	struct cpu_limit l = { 0 };
	int r = cgroup_paths_of_pod(cgroup_root, pid, &p, err);

	if (r < 0)
		return r;
	l.v2 = p->v2;
	if (path_format(l.group, sizeof(l.group), "%s", p->group[0]) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the container's cgroup is too long");
	r = read_now(cgroup_root, &l, &group, l.own, err);
	if (r == 0)
		r = read_period(group, &l, err);
	if (r == 0)
		*ret = l;
	return r;
}

int cpu_limit_used(const char *cgroup_root, const struct cpu_limit *l, int64_t *ret_us, struct error *err)
{
	static const char key[] = "usage_usec ";
	cleanup_close int group = -1;
	char text[64];
	const char *at = text, *end;
	int64_t n;
	int r = open_group(cgroup_root, l, &usages[l->v2], &group, err);

	/* In v1 nanoseconds, the only word; in v2 the first line. */
	if (r == 0)
		r = read_line(group, usages[l->v2].file, text, sizeof(text), err);
	if (r < 0)
		return r;
	if (l->v2)
		at = strncmp(text, key, sizeof(key) - 1) ? "" : text + sizeof(key) - 1;
	errno = 0;
	n = strtoll(at, (char **)&end, 10);
	if (end == at || *end || errno || n < 0)
		return error_set(err, -EBADMSG, "cgroup %s: %s is \"%.32s\"", l->group, usages[l->v2].file, text);
	*ret_us = l->v2 ? n : n / 1000;
	return 0;
}

int cpu_limit_plan(const char *cgroup_root, struct cpu_limit *l, int64_t quota_us, struct error *err)
{
	cleanup_close int group = -1;
	char now[CPU_LIMIT_TEXT];
	int64_t own;
	int r = read_now(cgroup_root, l, &group, now, err);

	if (r == 0 && !is_ours(l, now) && strcmp(now, l->own)) {
		memcpy(l->own, now, sizeof(l->own));
		memset(l->set, 0, sizeof(l->set));
		r = read_period(group, l, err);
	}
	if (r < 0)
		return r;
	own = cpu_limit_quota(l->own, l->v2);
	quota_us = quota_us > own ? own : quota_us < QUOTA_MIN_US ? QUOTA_MIN_US : quota_us;
	memcpy(l->set[0], l->set[1], sizeof(l->set[0]));
	if (l->v2)
		return path_format(l->set[1], sizeof(l->set[1]), "%" PRId64 " %" PRId64, quota_us, l->period_us);
	return path_format(l->set[1], sizeof(l->set[1]), "%" PRId64, quota_us);
}

static int write_text(int group, const struct cpu_limit *l, const char *text, struct error *err)
{
	const char *file = limits[l->v2].file;
	cleanup_close int fd = openat(group, file, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int r = fd < 0 ? -errno : write_full(fd, text, strlen(text));

	return r < 0 ? error_set(err, r, "write \"%s\" to %s of cgroup %s: %s", text, file, l->group, strerror(-r)) : 0;
}

int cpu_limit_write(const char *cgroup_root, const struct cpu_limit *l, struct error *err)
{
	cleanup_close int group = -1;
	int r = open_group(cgroup_root, l, &limits[l->v2], &group, err);

	return r == 0 ? write_text(group, l, l->set[1], err) : r;
}

int cpu_limit_lift(const char *cgroup_root, const struct cpu_limit *l, struct error *err)
{
	cleanup_close int group = -1;
	char now[CPU_LIMIT_TEXT];
	int r = l->group[0] ? read_now(cgroup_root, l, &group, now, err) : -ENOENT;

	if (r == 0 && is_ours(l, now))
		r = write_text(group, l, l->own, err);
	/* ENODEV: the folder was open, and the group was removed. */
	return r == -ENOENT || r == -ENODEV ? 0 : r;
}
