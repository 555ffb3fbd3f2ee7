/* SPDX-License-Identifier: Apache-2.0 */
#include "dump_left.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "node.h"

struct connector {
	int netns_fd;
	uint16_t port;
	int result;
};

static void *connect_close(void *ctx)
{
	struct connector *c = ctx;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	cleanup_close int fd = -1;

	if (c->netns_fd > 0 && setns(c->netns_fd, CLONE_NEWNET) < 0) {
		c->result = -errno;
		return NULL;
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		c->result = -errno;
	return NULL;
}

/* By a thread: a network namespace belongs to a thread, and this one's dies with it. */
int page_server_end(int netns_fd, uint16_t port)
{
	struct connector c = { netns_fd, port, 0 };
	pthread_t t;
	int r = pthread_create(&t, NULL, connect_close, &c);

	if (r)
		return -r;
	pthread_join(t, NULL);
	return c.result;
}

/*
 * One dump's marks on its processes: the variable in the environment (runc, its children) and the open log (CRIU overwrites its
 * environment by its title).
 */
struct marks {
	char variable[600];
	struct stat log;
	bool has_log;
};

/* Does a process's environment hold this variable?  Processes that end meanwhile do not. */
static bool has_env(int pid_fd, const char *variable)
{
	cleanup_close int fd = openat(pid_fd, "environ", O_RDONLY | O_CLOEXEC);
	char text[65536];
	size_t len = strlen(variable);
	ssize_t n = 0;

	for (ssize_t got; fd >= 0 && (size_t)n < sizeof(text) && (got = read(fd, text + n, sizeof(text) - (size_t)n)) > 0;)
		n += got;
	for (const char *p = text, *end = text + n; p < end; p += strnlen(p, (size_t)(end - p)) + 1)
		if (strnlen(p, (size_t)(end - p)) == len && !memcmp(p, variable, len))
			return true;
	return false;
}

static DIR *open_list(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

/*
 * Paths are those of another mount namespace, so the files are compared; only candidates, for a stat may hang on a dead network
 * file system.
 */
static bool has_open(int pid_fd, const struct stat *log)
{
	cleanup_closedir DIR *d = open_list(pid_fd, "fd");
	struct dirent *e;
	struct stat st;
	char target[4096];

	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "/" DUMP_LOG) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_ino == log->st_ino &&
		    st.st_dev == log->st_dev)
			return true;
	}
	return false;
}

/* Port of the TCP socket with this inode when it listens, 0 when not; text: /proc/PID/net/tcp (proc_pid_net(5)). */
static uint16_t listening_port(FILE *tcp, unsigned long inode)
{
	char line[512];
	unsigned int port, state;
	unsigned long ino;

	rewind(tcp);
	while (fgets(line, sizeof(line), tcp))
		if (sscanf(line, " %*d: %*8x:%4x %*8x:%*4x %2x %*8x:%*8x %*2x:%*8x %*8x %*u %*d %lu", &port, &state, &ino) == 3 &&
		    state == 0x0a && ino == inode)
			return (uint16_t)port;
	return 0;
}

/* Only a socket of its own: without a private network namespace others listen there, too. */
static uint16_t page_server_port(int pid_fd)
{
	cleanup_closedir DIR *d = open_list(pid_fd, "fd");
	int fd = openat(pid_fd, "net/tcp", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *tcp = fd < 0 ? NULL : fdopen(fd, "r");
	struct dirent *e;
	char target[64];
	unsigned long inode;

	if (!tcp && fd >= 0)
		close(fd);
	while (d && tcp && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		uint16_t port;

		target[n > 0 ? n : 0] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) == 1 && (port = listening_port(tcp, inode)))
			return port;
	}
	return 0;
}

static void ask(int pid_fd)
{
	uint16_t port = page_server_port(pid_fd);
	cleanup_close int netns = port ? openat(pid_fd, "ns/net", O_RDONLY | O_CLOEXEC) : -1;

	if (netns >= 0)
		page_server_end(netns, port);
}

/* The pidfd is taken before the look at the process, so that it cannot be another one's by the time of the kill. */
static bool end_if_marked(int proc_fd, const char *pid_name, const struct marks *m, bool kill)
{
	cleanup_close int pidfd = -1, pid_fd = -1;
	long pid = 0;

	for (const char *c = pid_name; *c; c++) {
		if (*c < '0' || *c > '9' || pid > 100000000)
			return false;
		pid = pid * 10 + (*c - '0');
	}
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	pid_fd = pidfd < 0 || pid == getpid() ? -1 : openat(proc_fd, pid_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pid_fd < 0 || !(has_env(pid_fd, m->variable) || (m->has_log && has_open(pid_fd, &m->log))))
		return false;
	if (kill)
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	else
		ask(pid_fd);
	return true;
}

static int round_over_all(const struct marks *m, bool kill, struct error *err)
{
	cleanup_closedir DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	if (!d)
		return error_errno(err, "open /proc");
	while ((e = readdir(d)))
		n += end_if_marked(dirfd(d), e->d_name, m, kill);
	return n;
}

#define PAUSE_MS 10
#define KILL_US 10000000

int dump_left_end(pid_t host_pid, const char *work_dir, int64_t patience_us, struct error *err)
{
	struct marks m = { 0 };
	char log[1024], path[1024];
	int64_t kill_at = clock_mono_us() + patience_us;
	int total = 0;

	if (path_format(m.variable, sizeof(m.variable), "CRIU_CONFIG_FILE=%s/%s", work_dir, DUMP_CONFIG) < 0 ||
	    path_format(log, sizeof(log), "%s/%s", work_dir, DUMP_LOG) < 0 || node_path(host_pid, log, path, sizeof(path)) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	/*
	 * Again and again until a round finds nobody: a process may just have been forked, and one that was ended is there for a
	 * moment.
	 */
	while (clock_mono_us() < kill_at + KILL_US) {
		int n;

		m.has_log = stat(path, &m.log) == 0;
		n = round_over_all(&m, clock_mono_us() >= kill_at, err);
		if (n <= 0)
			return n < 0 ? n : total;
		total += n;
		poll(NULL, 0, PAUSE_MS);
	}
	return error_set(err, -EBUSY, "processes of the dump in %s do not end", work_dir);
}
