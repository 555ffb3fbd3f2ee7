/* SPDX-License-Identifier: Apache-2.0 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"

#define RUN_US 180000000

void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

	nanosleep(&t, NULL);
}

/*
 * What the kubelet's containers have: own pid, mount, ipc, uts and network namespaces, /dev and /dev/shm on tmpfs, one bind
 * mount.
 */
/* clang-format off */
static const char config[] =
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":false,\"user\":{\"uid\":0,\"gid\":0},"
	"\"args\":[\"/app\",\"%s\",\"/data\",\"%d\"],\"env\":[\"PATH=/\"],\"cwd\":\"/\",\"noNewPrivileges\":true,"
	"\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]}},"
	"\"root\":{\"path\":\"rootfs\",\"readonly\":false},\"hostname\":\"box\",\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"mode=755\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\",\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\"]},"
	"{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"%s/data\",\"options\":[\"rbind\",\"rw\"]}],"
	"\"linux\":{\"cgroupsPath\":\"%s/%s\",\"namespaces\":["
	"{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"},{\"type\":\"network\"}]}}";
/* clang-format on */

static bool copy_file(const char *from, const char *to, mode_t mode)
{
	struct buf b = BUF_INIT(64u << 20);
	bool ok = file_read(AT_FDCWD, from, &b, NULL) == 0 && file_write(AT_FDCWD, to, b.data, b.len, mode, false, NULL) == 0;

	buf_free(&b);
	return ok;
}

static bool make_bundle(struct box *b, const struct place *at, const char *name, const char *group, const char *mode, int mib)
{
	char path[512], text[4096], app[256];
	ssize_t n = readlink("/proc/self/exe", app, sizeof(app) - 1);

	b->runc = (struct runc){ .host_pid = at->host_pid, .root = "/run/ct-runc", .programs = "/opt/container-test", .netns_fd = -1 };
	snprintf(b->id, sizeof(b->id), "%s", name);
	snprintf(b->dir, sizeof(b->dir), "%s/%s", at->base, name);
	snprintf(b->here, sizeof(b->here), "%s%s", at->here, b->dir);
	snprintf(path, sizeof(path), "%s/rootfs/proc", b->here);
	if (n <= 0 || dir_make(AT_FDCWD, path, 0755, NULL) < 0)
		return false;
	for (const char *const *d = (const char *const[]){ "rootfs/dev", "rootfs/data", "data", NULL }; *d; d++) {
		snprintf(path, sizeof(path), "%s/%s", b->here, *d);
		if (dir_make(AT_FDCWD, path, 0755, NULL) < 0)
			return false;
	}
	app[n] = '\0';
	snprintf(strrchr(app, '/') + 1, 8, "app");
	snprintf(path, sizeof(path), "%s/rootfs/app", b->here);
	n = snprintf(text, sizeof(text), config, mode, mib, b->dir, group, name);
	if (!copy_file(app, path, 0755))
		return false;
	snprintf(path, sizeof(path), "%s/config.json", b->here);
	return file_write(AT_FDCWD, path, text, (size_t)n, 0644, false, NULL) == 0;
}

static int run(const struct box *b, const char *const *args, const char *config_env)
{
	const char *argv[24] = { "runc", "--root", b->runc.root },
		   *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", config_env, NULL };
	struct process_spec spec = {
		.argv = argv, .env = env, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .host_root_pid = b->runc.host_pid
	};
	struct buf out = BUF_INIT(8192);
	struct error err;
	int n = 3, r;

	while (*args && n < 23)
		argv[n++] = *args++;
	argv[n] = NULL;
	r = process_run(&spec, RUN_US, &out, &err);
	if (r < 0)
		printf("# runc %s: %s\n# %s\n", argv[3], err.message, out.len ? out.data : "");
	buf_free(&out);
	return r;
}

static bool wait_count(const struct box *b, int64_t more_than)
{
	for (int i = 0; i < 6000; i++, sleep_ms(10))
		if (box_count(b, 0) > more_than && box_count(b, 1) > more_than)
			return true;
	return false;
}

bool box_start(struct box *b, const struct place *at, const char *name, const char *group, const char *mode, int mib)
{
	*b = (struct box){ 0 };
	if (!make_bundle(b, at, name, group, mode, mib) ||
	    run(b, (const char *const[]){ "run", "--detach", "--bundle", b->dir, b->id, NULL }, NULL) < 0)
		return false;
	return wait_count(b, 20) && runc_init_pid(&b->runc, b->id, &b->pid, NULL) == 0;
}

bool box_restore(struct box *b, const struct place *at, const char *name, const char *group, const char *image_dir)
{
	static const uint64_t zero;
	char path[512], env[544];

	*b = (struct box){ 0 };
	if (!make_bundle(b, at, name, group, "count", 1))
		return false;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/data/counter.%d", b->here, i);
		if (file_write(AT_FDCWD, path, &zero, sizeof(zero), 0644, false, NULL) < 0)
			return false;
	}
	snprintf(path, sizeof(path), "%s/criu.conf", b->here);
	snprintf(env, sizeof(env), "CRIU_CONFIG_FILE=%s/criu.conf", b->dir);
	if (file_write(AT_FDCWD, path, "network-lock skip\ntcp-close\n", 28, 0600, false, NULL) < 0 ||
	    run(b,
		(const char *const[]){ "restore", "--detach", "--bundle", b->dir, "--image-path", image_dir, "--work-path",
				       b->dir, b->id, NULL },
		env) < 0)
		return false;
	return runc_init_pid(&b->runc, b->id, &b->pid, NULL) == 0;
}

void box_stop(struct box *b)
{
	if (b->id[0])
		run(b, (const char *const[]){ "delete", "--force", b->id, NULL }, NULL);
	if (b->dir[0])
		tree_remove(AT_FDCWD, b->here, NULL);
	b->id[0] = b->dir[0] = '\0';
}

int64_t box_count(const struct box *b, int who)
{
	char path[512];
	int64_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/data/counter.%d", b->here, who);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, &n, sizeof(n)) != sizeof(n))
		n = -1;
	if (fd >= 0)
		close(fd);
	return n;
}

bool box_memory_bad(const struct box *b)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/data/bad", b->here);
	return access(path, F_OK) == 0;
}

bool box_counts_on(const struct box *b)
{
	int64_t from[2] = { box_count(b, 0), box_count(b, 1) }, end = clock_mono_us() + 20000000;

	while (clock_mono_us() < end) {
		if (box_count(b, 0) >= from[0] + 200 && box_count(b, 1) >= from[1] + 200)
			return true;
		sleep_ms(5);
	}
	return false;
}

int box_freezer(const struct place *at, const pid_t *pids, int n, struct freezer *f, struct error *err)
{
	char root[128];

	snprintf(root, sizeof(root), "%s/sys/fs/cgroup", at->here);
	return freezer_open(root, pids, n, f, err);
}
