/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cgroups.h"
#include "migration/names.h"
#include "runtime/monitor.h"

#define CONFIG_MAX (4u << 20)
#define ANN_TYPE "io.kubernetes.cri.container-type"
#define ANN_SANDBOX "io.kubernetes.cri.sandbox-id"
#define ANN_NAME "io.kubernetes.cri.container-name"
#define ANN_NS "io.kubernetes.cri.sandbox-namespace"
#define ANN_POD "io.kubernetes.cri.sandbox-name"
#define ANN_UID "io.kubernetes.cri.sandbox-uid"
#define CLAIMED_DIR PM_RUN_DIR "/claimed"

static const char *annotation(const cJSON *config, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(json_at(config, "annotations"), key);

	return cJSON_IsString(v) ? v->valuestring : NULL;
}

static bool is_uid(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return n >= 8 && n <= 63 && strspn(s, "0123456789abcdefABCDEF-") == n;
}

static bool is_waiting_container(const cJSON *config)
{
	const char *type = annotation(config, ANN_TYPE);

	return type && !strcmp(type, "container") && is_uid(annotation(config, PM_ANN_MIGRATION));
}

static int load_config(const char *bundle, cJSON **ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(CONFIG_MAX);
	char path[1024];
	int r;

	if (!bundle || path_format(path, sizeof(path), "%s/config.json", bundle) < 0)
		return error_set(err, -EINVAL, "create: no --bundle");
	r = file_read(AT_FDCWD, path, &b, err);
	return r == 0 ? json_parse(b.data, b.len, CONFIG_MAX, ret, err) : r;
}

/*
 * Our two volumes exist so that the kubelet puts their files on the node; the application never sees them.  A mount that the checkpoint's images do
 * not have would be dropped silently by CRIU anyway; without this the next checkpoint would look for it.
 */
static int strip_mounts(cJSON *config, const char *bundle, cJSON *info, struct error *err)
{
	static const struct {
		const char *destination, *key;
	} ours[] = { { PM_MOUNT_KEY, "keyDir" }, { PM_MOUNT_ORDER, "orderDir" } };
	cJSON *mounts = cJSON_GetObjectItemCaseSensitive(config, "mounts"), *m, *next;
	cleanup_buf struct buf b = BUF_INIT(CONFIG_MAX);
	char path[1024];
	int found = 0;

	for (m = mounts ? mounts->child : NULL; m; m = next) {
		next = m->next;
		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
			if (strcmp(json_str_or(m, "destination", ""), ours[i].destination))
				continue;
			cJSON_AddStringToObject(info, ours[i].key, json_str_or(m, "source", ""));
			cJSON_Delete(cJSON_DetachItemViaPointer(mounts, m));
			found++;
			break;
		}
	}
	if (!found)
		return 0;
	if (json_print(config, &b) < 0 || path_format(path, sizeof(path), "%s/config.json", bundle) < 0)
		return error_set(err, -ENOMEM, "config.json is too large");
	return file_write(AT_FDCWD, path, b.data, b.len, 0600, false, err);
}

static void add_binds(const cJSON *config, cJSON *info)
{
	cJSON *list = cJSON_AddArrayToObject(info, "mounts");
	const cJSON *m;

	cJSON_ArrayForEach(m, json_at(config, "mounts"))
	{
		cJSON *e;

		if (strcmp(json_str_or(m, "type", ""), "bind"))
			continue;
		e = cJSON_CreateObject();
		cJSON_AddStringToObject(e, "destination", json_str_or(m, "destination", ""));
		cJSON_AddStringToObject(e, "source", json_str_or(m, "source", ""));
		cJSON_AddItemToArray(list, e);
	}
}

static const char *netns_path(const cJSON *config)
{
	const cJSON *n;

	cJSON_ArrayForEach(n, json_at(config, "linux/namespaces"))
		if (!strcmp(json_str_or(n, "type", ""), "network"))
			return json_str_or(n, "path", "");
	return "";
}

static int fill_info(const struct oci_args *a, const cJSON *config, cJSON *info, struct error *err)
{
	const struct {
		const char *key, *value;
	} text[] = {
		{ "id", a->id }, { "name", annotation(config, ANN_NAME) }, { "sandbox", annotation(config, ANN_SANDBOX) },
		{ "migration", annotation(config, PM_ANN_MIGRATION) }, { "bundle", a->bundle }, { "root", a->root },
		{ "cgroup", json_str(config, "linux/cgroupsPath") }, { "netns", netns_path(config) },
	};
	cJSON *pod = cJSON_AddObjectToObject(info, "pod");

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		if (!text[i].value)
			return error_set(err, -EINVAL, "create: %s is missing in the bundle or the command line", text[i].key);
		cJSON_AddStringToObject(info, text[i].key, text[i].value);
	}
	cJSON_AddStringToObject(pod, "namespace", annotation(config, ANN_NS) ? annotation(config, ANN_NS) : "");
	cJSON_AddStringToObject(pod, "name", annotation(config, ANN_POD) ? annotation(config, ANN_POD) : "");
	cJSON_AddStringToObject(pod, "uid", annotation(config, ANN_UID) ? annotation(config, ANN_UID) : "");
	add_binds(config, info);
	return 0;
}

/*
 * One-shot: the first container of this name in this sandbox waits for the checkpoint; one that comes after it is the kubelet's restart of a crashed one, and
 * starts from its image.  1: ours, 0: it was there already.
 */
static int claim(const cJSON *info, struct error *err)
{
	char path[1024];
	int fd;

	if (dir_make(AT_FDCWD, CLAIMED_DIR, 0700, err) < 0)
		return -EIO;
	if (path_format(path, sizeof(path), "%s/%s-%s", CLAIMED_DIR, json_str_or(info, "sandbox", ""), json_str_or(info, "name", "")) < 0)
		return error_set(err, -ENAMETOOLONG, "container name too long");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0 : error_errno(err, "create %s", path);
	close(fd);
	return 1;
}

static int write_pid(const char *path, pid_t pid, struct error *err)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return path ? file_write(AT_FDCWD, path, text, strlen(text), 0644, false, err) : error_set(err, -EINVAL, "no --pid-file");
}

static int start_monitor(const struct oci_args *a, cJSON *info, pid_t *ret, struct error *err)
{
	struct monitor_spec spec = { a->id, a->root, a->bundle, json_str_or(info, "cgroup", ""), a->systemd_cgroup };
	cleanup_close int r_end = -1, w_end = -1;
	int p[2], r;
	char text[1024] = "";
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	r_end = p[0];
	w_end = p[1];
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0)
		_exit(monitor_main(&spec, info, w_end));
	close(take_fd(&w_end));
	n = read(r_end, text, sizeof(text) - 1);
	if (n >= 1 && text[0] == '+') {
		*ret = pid;
		return 0;
	}
	r = error_set(err, -EIO, "the monitor could not start: %s", n > 1 ? text + 1 : "it ended");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static void undo(const struct oci_args *a, const cJSON *info)
{
	struct cgroups all;
	char path[1024];

	if (container_dir(a->id, path, sizeof(path)))
		tree_remove(AT_FDCWD, path, NULL);
	if (path_format(path, sizeof(path), "%s/%s-%s", CLAIMED_DIR, json_str_or(info, "sandbox", ""), json_str_or(info, "name", "")) == 0)
		unlink(path);
	if (cgroups_current(&all, NULL) == 0)
		cgroups_remove(&all, json_str_or(info, "cgroup", "/none"));
}

static int create_waiting(const struct oci_args *a, cJSON *config, struct error *err)
{
	cleanup_json cJSON *info = cJSON_CreateObject();
	pid_t pid = 0;
	int r;

	if (!a->id || !name_is_safe(a->id) || a->bundle[0] != '/')
		return error_set(err, -EINVAL, "create: the container id or --bundle is not valid");
	r = strip_mounts(config, a->bundle, info, err);
	if (r == 0)
		r = fill_info(a, config, info, err);
	if (r == 0)
		r = claim(info, err);
	if (r == 0)
		return runc_exec(a);
	if (r > 0)
		r = start_monitor(a, info, &pid, err);
	if (r == 0)
		r = write_pid(a->pid_file, pid, err);
	if (r < 0)
		undo(a, info);
	return r;
}

int command_create(const struct oci_args *a)
{
	cleanup_json cJSON *config = NULL;
	struct error err = { 0 };

	/* What cannot be read here is runc's to complain about. */
	if (load_config(a->bundle, &config, &err) < 0 || !is_waiting_container(config))
		return runc_exec(a);
	return create_waiting(a, config, &err) < 0 ? report_error(a, &err) : 0;
}

/* The sandbox goes: its claims with it. */
static void drop_claims(const char *sandbox)
{
	cleanup_closedir DIR *d = opendir(CLAIMED_DIR);
	struct dirent *e;
	size_t len = strlen(sandbox);

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, sandbox, len) && e->d_name[len] == '-')
			unlinkat(dirfd(d), e->d_name, 0);
}

static int runc_wait(const struct oci_args *a)
{
	pid_t pid = fork();
	int st = 0;

	if (pid == 0) {
		runc_exec(a);
		_exit(127);
	}
	if (pid < 0)
		return 1;
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static void end_monitor(const char *id)
{
	pid_t pid = container_monitor_pid(id);

	if (pid <= 1)
		return;
	kill(pid, SIGKILL);
	/* It is the shim's child: gone, or a zombie that the shim reaps. */
	for (int i = 0; i < 100 && kill(pid, 0) == 0; i++)
		usleep(1000);
}

int command_delete(const struct oci_args *a)
{
	char dir[512], state[32];
	struct cgroups all;
	cleanup_buf struct buf b = BUF_INIT(262144);
	cleanup_json cJSON *info = NULL;
	char path[600];
	int r = 0;

	if (!a->id)
		return runc_exec(a);
	if (!container_dir(a->id, dir, sizeof(dir))) {
		r = runc_wait(a);
		if (name_is_safe(a->id))
			drop_claims(a->id);
		return r;
	}
	container_state(a->id, state, sizeof(state));
	if (!strcmp(state, "running")) {
		r = runc_wait(a);
	} else {
		end_monitor(a->id);
		if (path_format(path, sizeof(path), "%s/%s", dir, MONITOR_INFO) == 0 && file_read(AT_FDCWD, path, &b, NULL) == 0 &&
		    json_parse(b.data, b.len, b.max, &info, NULL) == 0 && cgroups_current(&all, NULL) == 0)
			cgroups_remove(&all, json_str_or(info, "cgroup", "/none"));
	}
	tree_remove(AT_FDCWD, dir, NULL);
	return r;
}
