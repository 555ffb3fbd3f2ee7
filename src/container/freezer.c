/* SPDX-License-Identifier: Apache-2.0 */
#include "container/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cgroup_path.h"
#include "migration/reason.h"

/*
 * Both versions know a state that is asked for and one that is reached: a group is asked by one write, and every task below
 * stops when it next passes its signal check.  A task in uninterruptible sleep passes late or never, hence the deadlines.
 */
struct freezer_version {
	const char *file, *freeze, *thaw; /* where and what to write */
	const char *state_file, *frozen;  /* where the state that is reached stands, and how it reads */
};

/* Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst. */
static const struct freezer_version version1 = { "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN\n" };
static const struct freezer_version version2 = { "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1\n" };

static const struct freezer_version *version(const struct freezer *f)
{
	return f->v2 ? &version2 : &version1;
}

/* Nothing in v1 can be polled: short pauses first, since most tasks stop within some 100 us, then longer ones. */
#define V1_PAUSE_FIRST_US 100
#define V1_PAUSE_MAX_US 5000

void freezer_close(struct freezer *f)
{
	if (f->pod_fd >= 0)
		close(take_fd(&f->pod_fd));
	for (int i = 0; i < f->n; i++)
		if (f->group_fd[i] >= 0)
			close(take_fd(&f->group_fd[i]));
	f->n = 0;
}

static int write_state(int group_fd, const char *file, const char *value)
{
	cleanup_close int fd = openat(group_fd, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write_full(fd, value, strlen(value));
}

static int read_state(int fd, const char *frozen, bool *ret)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	*ret = strstr(text, frozen) != NULL;
	return 0;
}

/* v2 wakes pollers of cgroup.events by POLLPRI (kernfs_notify); v1 has nothing but time. */
static int wait_change(int fd, bool v2, int64_t left_us, int64_t *pause_us)
{
	struct pollfd p = { fd, POLLPRI, 0 };
	int64_t us = v2 || *pause_us > left_us ? left_us : *pause_us;
	struct timespec ts = { us / 1000000, (long)(us % 1000000) * 1000 };

	*pause_us = *pause_us * 3 / 2 > V1_PAUSE_MAX_US ? V1_PAUSE_MAX_US : *pause_us * 3 / 2;
	if (ppoll(v2 ? &p : NULL, v2 ? 1 : 0, &ts, NULL) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

/* Waits until the group is frozen; -ETIMEDOUT. */
static int wait_frozen(const struct freezer *f, int group_fd, int64_t deadline_us)
{
	const struct freezer_version *v = version(f);
	cleanup_close int fd = openat(group_fd, v->state_file, O_RDONLY | O_CLOEXEC);
	int64_t pause_us = V1_PAUSE_FIRST_US;
	bool frozen = false;
	int r;

	if (fd < 0)
		return -errno;
	for (;;) {
		int64_t left = deadline_us - clock_mono_us();

		r = read_state(fd, v->frozen, &frozen);
		if (r < 0 || frozen)
			return r;
		if (left <= 0)
			return -ETIMEDOUT;
		r = wait_change(fd, f->v2, left, &pause_us);
		/* v1 may miss a task that forked meanwhile; writing FROZEN again makes it look again (freezer-subsystem.rst). */
		if (r == 0 && !f->v2)
			r = write_state(group_fd, v->file, v->freeze);
		if (r < 0)
			return r;
	}
}

static bool is_asked_to_freeze_v2(int group_fd)
{
	cleanup_close int fd = openat(group_fd, version2.file, O_RDONLY | O_CLOEXEC);
	bool asked = false;

	return fd >= 0 && read_state(fd, version2.freeze, &asked) == 0 && asked;
}

/*
 * In v2 a task that is sent a deadly signal ends, frozen or not, and until it is gone the group does not count as frozen (kernel/signal.c, get_signal;
 * kernel/cgroup/freezer.c): a group that is asked to be frozen is given the time for that.
 */
#define V2_AGAIN_US 100000

int freezer_is_frozen(struct freezer *f, int i, bool *ret, struct error *err)
{
	cleanup_close int fd = openat(f->group_fd[i], version(f)->state_file, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : read_state(fd, version(f)->frozen, ret);

	if (r == 0 && !*ret && f->v2 && is_asked_to_freeze_v2(f->group_fd[i])) {
		r = wait_frozen(f, f->group_fd[i], clock_mono_us() + V2_AGAIN_US);
		*ret = r == 0;
		r = r == -ETIMEDOUT ? 0 : r;
	}
	if (r < 0) {
		errno = -r;
		return error_errno(err, "read the freezer state of container %d", i);
	}
	return 0;
}

static int freeze_error(struct error *err, int r, int i, const char *what)
{
	if (r == -ETIMEDOUT)
		return error_reason(err, r, REASON_FreezeFailed,
				    "container %d did not freeze in time: one of its processes is in uninterruptible sleep", i);
	return error_reason(err, r, REASON_FreezeFailed, "%s container %d: %s", what, i, strerror(-r));
}

static int freeze_members(struct freezer *f, int64_t deadline_us, struct error *err)
{
	const struct freezer_version *v = version(f);
	int r;

	/* One write stops every process below the pod's group; from here on the containers cannot drift apart. */
	if (f->pod_fd >= 0 && (r = write_state(f->pod_fd, v->file, v->freeze)) < 0)
		return error_reason(err, r, REASON_FreezeFailed, "freeze the pod's cgroup: %s", strerror(-r));
	for (int i = 0; i < f->n; i++)
		if ((r = write_state(f->group_fd[i], v->file, v->freeze)) < 0)
			return freeze_error(err, r, i, "freeze");
	/*
	 * CRIU thaws a container's own group to run code in its tasks; that needs a thawed parent (effective state is theirs or
	 * ours).
	 */
	if (f->pod_fd >= 0 && (r = write_state(f->pod_fd, v->file, v->thaw)) < 0)
		return error_reason(err, r, REASON_FreezeFailed, "thaw the pod's cgroup: %s", strerror(-r));
	for (int i = 0; i < f->n; i++)
		if ((r = wait_frozen(f, f->group_fd[i], deadline_us)) < 0)
			return freeze_error(err, r, i, "wait for the freeze of");
	return 0;
}

int freezer_freeze(struct freezer *f, int64_t deadline_us, struct error *err)
{
	struct error second;
	int r = freeze_members(f, deadline_us, err);

	if (r < 0 && freezer_thaw(f, &second) < 0)
		return error_wrap(err, r, "%s, after", second.message);
	return r;
}

int freezer_refreeze(struct freezer *f, int i, int64_t deadline_us, struct error *err)
{
	int r = write_state(f->group_fd[i], version(f)->file, version(f)->freeze);

	if (r == 0)
		r = wait_frozen(f, f->group_fd[i], deadline_us);
	return r < 0 ? freeze_error(err, r, i, "freeze") : 0;
}

/* A group that is gone holds nobody (ENODEV: the folder is open, the group removed). */
static int thaw_one(const struct freezer *f, int fd)
{
	int r = write_state(fd, version(f)->file, version(f)->thaw);

	return r == -ENODEV || r == -ENOENT ? 0 : r;
}

int freezer_thaw(struct freezer *f, struct error *err)
{
	int first = 0, r;

	for (int i = 0; i < f->n; i++)
		if ((r = thaw_one(f, f->group_fd[i])) < 0 && !first)
			first = error_set(err, r, "thaw container %d: %s", i, strerror(-r));
	if (f->pod_fd >= 0 && (r = thaw_one(f, f->pod_fd)) < 0 && !first)
		first = error_set(err, r, "thaw the pod's cgroup: %s", strerror(-r));
	return first;
}

/* How deep groups are followed below a container's: systemd in a container makes three or four levels. */
#define DEPTH_MAX 16
#define KILLED_MAX 65536        /* processes of one container */

struct pid_list {
	pid_t *pids;
	int n, max;
};

static int add_procs(int group_fd, struct pid_list *l)
{
	cleanup_close int fd = openat(group_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *in = NULL;
	int pid, n;

	if (fd < 0)
		return errno == ENOENT || errno == ENODEV ? 0 : -errno;
	in = fdopen(fd, "r");
	if (!in)
		return -ENOMEM;
	fd = -1;
	while ((n = fscanf(in, "%d", &pid)) == 1) {
		if (l->n == l->max)
			return -E2BIG;
		l->pids[l->n++] = pid;
	}
	/* A threaded v2 group's processes are listed by its domain, and only there. */
	if (ferror(in) && errno != EOPNOTSUPP && errno != ENODEV)
		return -errno;
	return 0;
}

static int add_tree(int group_fd, int depth, struct pid_list *l)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	int r = add_procs(group_fd, l), fd;

	if (r < 0)
		return r;
	fd = openat(group_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(d))) {
		cleanup_close int sub = -1;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (depth == DEPTH_MAX)
			return -ELOOP;
		sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = sub < 0 ? (errno == ENOENT ? 0 : -errno) : add_tree(sub, depth + 1, l);
	}
	return r;
}

int freezer_pids(struct freezer *f, int i, pid_t *pids, int max)
{
	struct pid_list l = { pids, 0, max };
	int r = add_tree(f->group_fd[i], 0, &l);

	return r < 0 ? r : l.n;
}

/* Nobody of a frozen group can end; so when it is frozen still after the pidfd was taken, that is of the process that was listed. */
static int kill_member(struct freezer *f, int i, pid_t pid, struct error *err)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool frozen = false;
	int r = freezer_is_frozen(f, i, &frozen, err);

	if (r == 0 && !frozen)
		r = error_set(err, -ESTALE, "container %d is not frozen any more", i);
	if (r == 0 && pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
		r = error_errno(err, "end process %d", pid);
	return r;
}

static int kill_members(struct freezer *f, int i, struct error *err)
{
	pid_t *pids = calloc(KILLED_MAX, sizeof(*pids));
	int n = pids ? freezer_pids(f, i, pids, KILLED_MAX) : -ENOMEM, r = 0;

	if (n < 0)
		r = error_set(err, n, "list the processes of container %d: %s", i, strerror(-n));
	for (int k = 0; r == 0 && k < n; k++)
		r = kill_member(f, i, pids[k], err);
	free(pids);
	return r;
}

/*
 * In v2 who is killed ends at once, frozen or not, and the group counts as frozen no more: so not one by one.  cgroup.kill is of kernel 5.14 (cgroup-v2.rst).
 */
static int kill_v2(struct freezer *f, int i, struct error *err)
{
	bool frozen = false;
	int r = freezer_is_frozen(f, i, &frozen, err);

	if (r == 0 && !frozen)
		r = error_set(err, -ESTALE, "container %d is not frozen any more", i);
	if (r == 0 && (r = write_state(f->group_fd[i], "cgroup.kill", "1")) < 0)
		error_set(err, r, "end the processes of container %d: %s", i, strerror(-r));
	return r;
}

int freezer_kill(struct freezer *f, int i, struct error *err)
{
	int r = f->v2 ? kill_v2(f, i, err) : kill_members(f, i, err);

	if (r == 0 && (r = thaw_one(f, f->group_fd[i])) < 0)
		error_set(err, r, "thaw container %d: %s", i, strerror(-r));
	return r;
}

static int open_group(int root_fd, const char *path, int *ret, struct error *err)
{
	while (*path == '/')
		path++;
	*ret = openat(root_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? error_errno(err, "open the cgroup /%s", path) : 0;
}

/* The hierarchy's folder: v1 "freezer"; v2 the root itself, or "unified" beside v1 hierarchies. */
static int open_hierarchy(const char *cgroup_root, bool v2, int *ret, struct error *err)
{
	static const char *const v1_names[] = { "freezer" }, *const v2_names[] = { ".", "unified" };
	const char *const *names = v2 ? v2_names : v1_names;
	char path[4096];

	for (int i = 0; i < (v2 ? 2 : 1); i++) {
		cleanup_close int fd = -1;

		if (path_format(path, sizeof(path), "%s/%s", cgroup_root, names[i]) < 0)
			return error_set(err, -ENAMETOOLONG, "path of the cgroup file system is too long");
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && faccessat(fd, "cgroup.procs", F_OK, 0) == 0) {
			*ret = take_fd(&fd);
			return 0;
		}
	}
	return error_set(err, -ENOENT, "no cgroup v%d file system in %s", v2 ? 2 : 1, cgroup_root);
}

static int open_groups(struct freezer *f, const char *cgroup_root, const struct cgroup_paths *p, struct error *err)
{
	cleanup_close int root = -1;
	int r = open_hierarchy(cgroup_root, p->v2, &root, err);

	f->v2 = p->v2;
	if (r == 0 && p->pod[0])
		r = open_group(root, p->pod, &f->pod_fd, err);
	for (int i = 0; r == 0 && i < p->n; i++) {
		r = open_group(root, p->group[i], &f->group_fd[i], err);
		if (r == 0)
			f->n++;
	}
	return r;
}

int freezer_open(const char *cgroup_root, const pid_t *pids, int n, struct freezer *ret, struct error *err)
{
	cleanup_free struct cgroup_paths *p = calloc(1, sizeof(*p));
	struct freezer f = { .pod_fd = -1 };
	int r;

	if (!p)
		return error_set(err, -ENOMEM, "freezer: out of memory");
	if (n < 1 || n > FREEZER_GROUPS_MAX)
		return error_set(err, -EINVAL, "freezer: %d containers", n);
	r = cgroup_paths_read(cgroup_root, pids, n, p, err);
	if (r == 0)
		r = open_groups(&f, cgroup_root, p, err);
	if (r < 0) {
		freezer_close(&f);
		return r;
	}
	*ret = f;
	return 0;
}
