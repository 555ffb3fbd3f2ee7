/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"

#define CALL_MS 60000
#define GONE_TRIES 20
#define GONE_PAUSE_MS 50

/* One process, one thread: what the last call said. */
static char said[8192], packet[20000];

static void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

	nanosleep(&t, NULL);
}

void shim_init(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
}

/* As containerd's CRI writes it: numbers of 64 bits, an escaped '&', our two volumes in the middle of the mounts. */
static const char config[] =
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":false,\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"/app\",\"/data\"],"
	"\"env\":[\"PATH=/\",\"X=a\\u0026b\"],\"cwd\":\"/\",\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],"
	"\"permitted\":[\"CAP_KILL\"]},\"noNewPrivileges\":true},\"root\":{\"path\":\"rootfs\",\"readonly\":false},\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"mode=755\",\"size=65536k\"]},%s"
	"{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"%s/data\",\"options\":[\"rbind\",\"rw\"]}],"
	"\"annotations\":{\"io.kubernetes.cri.container-type\":\"%s\",\"io.kubernetes.cri.container-name\":\"%s\","
	"\"io.kubernetes.cri.sandbox-id\":\"sandbox%d\",\"io.kubernetes.cri.sandbox-namespace\":\"shop\","
	"\"io.kubernetes.cri.sandbox-name\":\"web\",\"io.kubernetes.cri.sandbox-uid\":\"%s\"%s%s%s},"
	"\"linux\":{%s\"cgroupsPath\":\"%s\",\"namespaces\":["
	"{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"%s\"}]}}";

static const char resources[] = "\"resources\":{\"memory\":{\"limit\":9223372036854771712},\"pids\":{\"limit\":100}},";

static const char volumes[] =
	"{\"destination\":\"/.podmigration/key\",\"type\":\"bind\",\"source\":\"/var/lib/kubelet/pods/%s/volumes/key\",\"options\":[\"rbind\",\"ro\"]},"
	"{\"destination\":\"/.podmigration/order\",\"type\":\"bind\",\"source\":\"/var/lib/kubelet/pods/%s/volumes/order\",\"options\":[\"rbind\"]},";

/* Where only version 2 is seen and the controllers belong to version 1 there are none: runc can limit nothing. */
static bool has_controllers(void)
{
	cleanup_buf struct buf list = BUF_INIT(4096);

	return file_read(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", &list, NULL) < 0 || strstr(list.data, "pids");
}

static bool copy_file(const char *from, const char *to, mode_t mode)
{
	cleanup_buf struct buf b = BUF_INIT(64u << 20);

	return file_read(AT_FDCWD, from, &b, NULL) == 0 && file_write(AT_FDCWD, to, b.data, b.len, mode, false, NULL) == 0;
}

static bool make_tree(struct box *b)
{
	static const char *const folders[] = { "rootfs/proc", "rootfs/dev", "rootfs/data", "data" };
	static const uint64_t zero;
	char path[512], self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 8);

	if (n <= 0)
		return false;
	self[n] = '\0';
	snprintf(strrchr(self, '/') + 1, 8, "app");
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", b->bundle, folders[i]);
		if (dir_make(AT_FDCWD, path, 0755, NULL) < 0)
			return false;
	}
	snprintf(path, sizeof(path), "%s/data/count", b->bundle);
	if (file_write(AT_FDCWD, path, &zero, sizeof(zero), 0644, false, NULL) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/rootfs/app", b->bundle);
	return copy_file(self, path, 0755);
}

bool shim_bundle(struct box *b, struct setup *s, const struct bundle_options *o)
{
	char text[8192], mounts[2048] = "", uid[64], cgroup[160], path[512];
	const char *migration = o->migration ? o->migration : "";
	int n = ++s->seq;

	*b = (struct box){ .s = s, .out_fd = -1 };
	/* A container id of containerd's length. */
	snprintf(b->id, sizeof(b->id), "%04d%060d", n, getpid());
	snprintf(b->bundle, sizeof(b->bundle), "%s/%s", s->base, b->id);
	snprintf(b->log, sizeof(b->log), "%s/log.json", b->bundle);
	snprintf(uid, sizeof(uid), "%s", o->pod_uid ? o->pod_uid : "");
	if (!o->pod_uid)
		snprintf(uid, sizeof(uid), "aaaaaaaa-0000-4000-8000-%012d", n);
	snprintf(cgroup, sizeof(cgroup), "/kubepods/pod%d/%s", n, b->id);
	if (*migration) {
		char dir[256];

		snprintf(mounts, sizeof(mounts), volumes, uid, uid);
		snprintf(dir, sizeof(dir), "/var/lib/kubelet/pods/%s/volumes", uid);
		if (dir_make(AT_FDCWD, dir, 0755, NULL) < 0)
			return false;
	}
	if (!make_tree(b))
		return false;
	n = snprintf(text, sizeof(text), config, mounts, b->bundle, o->type ? o->type : "container", o->name ? o->name : "app", n, uid,
		     *migration ? ",\"podmigration.dev/migration\":\"" : "", migration, *migration ? "\"" : "", has_controllers() ? resources : "", o->cgroup ? o->cgroup : cgroup, s->netns);
	snprintf(path, sizeof(path), "%s/config.json", b->bundle);
	return file_write(AT_FDCWD, path, text, (size_t)n, 0644, false, NULL) == 0;
}

/* --- calls --- */

static void read_log(struct box *b)
{
	cleanup_buf struct buf log = BUF_INIT(1u << 20);
	char *last, *end;

	b->message[0] = '\0';
	if (file_read(AT_FDCWD, b->log, &log, NULL) < 0 || !log.len)
		return;
	while (log.len && log.data[log.len - 1] == '\n')
		log.data[--log.len] = '\0';
	last = strrchr(log.data, '\n');
	last = strstr(last ? last + 1 : log.data, "\"msg\":\"");
	end = last ? strstr(last + 7, "\",\"") : NULL;
	if (end)
		snprintf(b->message, sizeof(b->message), "%.*s", (int)(end - last - 7), last + 7);
}

static int wait_pid(pid_t pid, int ms)
{
	int64_t end = clock_mono_us() + ms * 1000ll;
	int st;

	do {
		if (waitpid(pid, &st, WNOHANG) == pid)
			return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
		sleep_ms(2);
	} while (clock_mono_us() < end);
	return -1;
}

/* in, out: the runtime's standard streams. */
static int call(struct box *b, const char *const *args, int in, int out)
{
	const char *argv[32] = { b->s->runtime, "--root", b->s->root, "--log", b->log, "--log-format", "json" };
	int n = 7, r;
	pid_t pid;

	while (*args && n < 31)
		argv[n++] = *args++;
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	r = wait_pid(pid, CALL_MS);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	read_log(b);
	return r;
}

int shim_call(struct box *b, const char *const *args)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC), p[2], r;
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	r = call(b, args, in, p[1]);
	close(p[1]);
	close(in);
	/* The shim waits for the end of this pipe: a child that kept it would hang it. */
	said[0] = '\0';
	for (size_t used = 0;;) {
		struct pollfd f = { p[0], POLLIN, 0 };

		if (poll(&f, 1, 2000) <= 0) {
			snprintf(said, sizeof(said), "(the pipe was kept open)");
			break;
		}
		n = read(p[0], said + used, sizeof(said) - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		said[used] = '\0';
	}
	close(p[0]);
	return r;
}

const char *shim_said(void)
{
	return said;
}

int shim_create(struct box *b)
{
	char pid_file[288], text[32] = "";
	const char *const args[] = { "create", "--bundle", b->bundle, "--pid-file", pid_file, b->id, NULL };
	cleanup_buf struct buf pid = BUF_INIT(sizeof(text));
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC), p[2], r;

	snprintf(pid_file, sizeof(pid_file), "%s/init.pid", b->bundle);
	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	r = call(b, args, in, p[1]);
	close(in);
	close(p[1]);
	b->out_fd = p[0];
	if (r == 0 && file_read(AT_FDCWD, pid_file, &pid, NULL) == 0)
		b->pid = (pid_t)strtol(pid.data, NULL, 10);
	return r;
}

int shim_op(struct box *b, const char *op)
{
	return shim_call(b, (const char *const[]){ op, b->id, NULL });
}

int shim_kill(struct box *b, const char *signal)
{
	return shim_call(b, (const char *const[]){ "kill", b->id, signal, NULL });
}

int shim_delete(struct box *b, bool force)
{
	if (force)
		return shim_call(b, (const char *const[]){ "delete", "--force", b->id, NULL });
	return shim_call(b, (const char *const[]){ "delete", b->id, NULL });
}

int shim_exec_start(struct box *b, const char *args_json, pid_t *ret_pid)
{
	char process[288], pid_file[288], text[1024];
	const char *const args[] = { "exec", "--process", process, "--detach", "--pid-file", pid_file, b->id, NULL };
	cleanup_buf struct buf pid = BUF_INIT(32);
	int r;

	snprintf(process, sizeof(process), "%s/exec.json", b->bundle);
	snprintf(pid_file, sizeof(pid_file), "%s/exec.pid", b->bundle);
	r = snprintf(text, sizeof(text), "{\"terminal\":false,\"user\":{\"uid\":0,\"gid\":0},\"args\":%s,\"cwd\":\"/\"}", args_json);
	unlink(pid_file);
	*ret_pid = 0;
	if (file_write(AT_FDCWD, process, text, (size_t)r, 0600, false, NULL) < 0)
		return -1;
	r = shim_call(b, args);
	if (r == 0 && file_read(AT_FDCWD, pid_file, &pid, NULL) == 0)
		*ret_pid = (pid_t)strtol(pid.data, NULL, 10);
	return r;
}

int shim_exec_wait(pid_t pid, int ms)
{
	return pid > 1 ? wait_pid(pid, ms) : -1;
}

int shim_exec(struct box *b, const char *args_json, int *ret_code)
{
	pid_t pid;
	int r = shim_exec_start(b, args_json, &pid);

	*ret_code = r == 0 ? shim_exec_wait(pid, 5000) : -1;
	return r;
}

int shim_wait(struct box *b, int ms)
{
	return b->pid > 1 ? wait_pid(b->pid, ms) : -1;
}

bool shim_output(struct box *b, const char *text, int ms)
{
	int64_t end = clock_mono_us() + ms * 1000ll;
	char seen[16384] = "";
	size_t used = 0;

	while (clock_mono_us() < end) {
		struct pollfd f = { b->out_fd, POLLIN, 0 };
		ssize_t n;

		if (poll(&f, 1, 50) <= 0)
			continue;
		if (used > sizeof(seen) / 2)
			used = 0;
		n = read(b->out_fd, seen + used, sizeof(seen) - 1 - used);
		if (n <= 0)
			return false;
		used += (size_t)n;
		seen[used] = '\0';
		if (strstr(seen, text))
			return true;
	}
	return false;
}

void shim_drop_output(struct box *b)
{
	struct pollfd f = { b->out_fd, POLLIN, 0 };
	char text[4096];

	while (poll(&f, 1, 0) > 0 && read(b->out_fd, text, sizeof(text)) > 0)
		;
}

/* --- what is there --- */

int64_t box_count(const struct box *b)
{
	cleanup_buf struct buf n = BUF_INIT(8);
	char path[512];
	int64_t v = -1;

	snprintf(path, sizeof(path), "%s/data/count", b->bundle);
	if (file_read(AT_FDCWD, path, &n, NULL) == 0 && n.len == sizeof(v))
		memcpy(&v, n.data, sizeof(v));
	return v;
}

bool box_ticks(const struct box *b)
{
	int64_t from = box_count(b);

	for (int i = 0; i < 100; i++, sleep_ms(10))
		if (box_count(b) > from + 5)
			return true;
	return false;
}

static int find_group(const char *dir, const char *id, int depth)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d && depth < 6 && (e = readdir(d))) {
		char path[1024];

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (strstr(e->d_name, id)) {
			printf("# left: %s\n", path);
			n++;
		}
		n += find_group(path, id, depth + 1);
	}
	if (d)
		closedir(d);
	return n;
}

/* Ended, and not yet waited for: in version 2 it is still listed with the cgroup that it was in, in version 1 with the root (cgroup-v2.rst, kernel/cgroup/cgroup.c, proc_cgroup_show). */
static char state_of(const char *pid)
{
	cleanup_buf struct buf b = BUF_INIT(4096);
	const char *name_end;
	char path[320];

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	name_end = file_read(AT_FDCWD, path, &b, NULL) == 0 && b.data ? strrchr(b.data, ')') : NULL;
	return name_end && name_end[1] ? name_end[2] : '?';
}

/* A command line's words, with spaces between. */
static const char *words(struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] == '\0')
			b->data[i] = ' ';
	return (const char *)b->data;
}

/* Processes that name the container: our monitors do not, so every process with its bundle open or in its command line or cgroup. */
static int find_processes(const char *id)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d))) {
		static const char *const files[] = { "cmdline", "cgroup" };

		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		for (int i = 0; i < 2; i++) {
			cleanup_buf struct buf b = BUF_INIT(1u << 20);
			char path[320];

			snprintf(path, sizeof(path), "/proc/%s/%s", e->d_name, files[i]);
			if (file_read(AT_FDCWD, path, &b, NULL) == 0 && b.len && memmem(b.data, b.len, id, strlen(id))) {
				printf("# left: process %s (%s, state %c): %.*s\n", e->d_name, files[i], state_of(e->d_name), (int)b.len, words(&b));
				n += state_of(e->d_name) != 'Z';
				break;
			}
		}
	}
	if (d)
		closedir(d);
	return n;
}

static int there(const char *path)
{
	struct stat st;
	int yes = lstat(path, &st) == 0;

	if (yes)
		printf("# left: %s\n", path);
	return yes;
}

static int box_left(const struct box *b)
{
	char path[512];
	int left = find_processes(b->id) + find_group("/sys/fs/cgroup", b->id, 0);

	snprintf(path, sizeof(path), "%s/%s", CONTAINERS, b->id);
	left += there(path);
	snprintf(path, sizeof(path), "%s/%s", b->s->root, b->id);
	return left + there(path);
}

/* The guard of a monitor that was killed looks every 10 ms whether the groups are empty, and may end after the deletion that it had no part in. */
bool box_gone(const struct box *b)
{
	int left;

	for (int i = 0; (left = box_left(b)) && i < GONE_TRIES; i++)
		sleep_ms(GONE_PAUSE_MS);
	return left == 0;
}

/* --- the agent's side --- */

int agent_open(const struct box *b)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), dir;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", CONTAINERS, b->id);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/monitor.sock", dir);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		fd = -1;
	}
	close(dir);
	return fd;
}

bool agent_say(int fd, const char *json)
{
	return send(fd, json, strlen(json), MSG_NOSIGNAL) == (ssize_t)strlen(json);
}

const char *agent_hear(int fd, int ms)
{
	struct pollfd f = { fd, POLLIN, 0 };
	ssize_t n;

	if (poll(&f, 1, ms) <= 0)
		return NULL;
	n = recv(fd, packet, sizeof(packet) - 1, 0);
	packet[n > 0 ? n : 0] = '\0';
	return packet;
}

bool agent_wait(int fd, const char *state, int ms)
{
	int64_t end = clock_mono_us() + ms * 1000ll;
	char want[64];

	snprintf(want, sizeof(want), "\"state\":\"%s\"", state);
	while (clock_mono_us() < end) {
		const char *p = agent_hear(fd, (int)((end - clock_mono_us()) / 1000));

		if (!p || !*p)
			return false;
		if (strstr(p, want))
			return true;
		if (strstr(p, "\"failed\""))
			return false;
	}
	return false;
}

const char *agent_last(void)
{
	return packet;
}

bool agent_restore(int fd, struct box *b, const char *images)
{
	char work[256], json[1024];

	snprintf(work, sizeof(work), RUN "/test/work-%s", b->id);
	if (dir_make(AT_FDCWD, work, 0700, NULL) < 0)
		return false;
	snprintf(json, sizeof(json), "{\"op\":\"restore\",\"images\":\"%s\",\"work\":\"%s\",\"lazy\":false}", images, work);
	return agent_say(fd, json);
}

/* script: with $f and $t. */
static bool run_shell(const char *script, const char *from, const char *to)
{
	char line[1024];

	return snprintf(line, sizeof(line), "f=%s t=%s; %s", from, to, script) < (int)sizeof(line) && system(line) == 0;
}

bool agent_first_images(struct box *b, char *dir, size_t size)
{
	snprintf(dir, size, RUN "/test/images-%s", b->id);
	return dir_make(AT_FDCWD, dir, 0700, NULL) == 0 && run_shell("cp $f/descriptors.json $t/", b->s->images, dir);
}

bool agent_other_images(const struct box *b, const char *dir)
{
	return run_shell("cp $f/inventory.img $t/inventory.go && for i in $f/*; do [ $i = $f/inventory.img ] || cp $i $t/ || exit 1; done",
			 b->s->images, dir);
}
