/* SPDX-License-Identifier: Apache-2.0 */
#include "container/process_info.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <netinet/in.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "migration/obstacles.h"
#include "migration/reason.h"
#include "process_held.h"
#include "process_huge.h"
#include "process_rules.h"

#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */

/* One process under examination; fds of /proc/PID and the process itself, so that a reused pid cannot answer. */
struct subject {
	pid_t pid;
	int proc_fd;
	int pidfd;
	char name[32];
	struct huge_devices huge;
	struct obstacles *found;
	struct error *err;              /* why a check could not look */
};

static void subject_close(struct subject *s)
{
	if (s->proc_fd >= 0)
		close(take_fd(&s->proc_fd));
	if (s->pidfd >= 0)
		close(take_fd(&s->pidfd));
}

static int subject_open(pid_t pid, struct subject *s, struct error *err)
{
	cleanup_buf struct buf name = BUF_INIT(sizeof(s->name) - 1);
	char path[64];

	*s = (struct subject){ .pid = pid, .proc_fd = -1, .pidfd = -1, .err = err };
	path_format(path, sizeof(path), "/proc/%d", pid);
	s->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return error_errno(err, "open %s", path);
	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (s->pidfd < 0 || file_read(s->proc_fd, "comm", &name, NULL) < 0) {
		error_errno(err, "open process %d", pid);
		subject_close(s);
		return -ESRCH;
	}
	path_format(s->name, sizeof(s->name), "%.*s", (int)strcspn(name.data, "\n"), name.data);
	return 0;
}

/* And on: all that is in the way is looked for. */
static void refuse(const struct subject *s, int reason, const char *what, const char *advice)
{
	obstacles_add(s->found, reason, "process %d (%s) %s; %s", s->pid, s->name, what, advice);
}

static int status_number(const char *status, const char *key, bool last, pid_t *ret)
{
	const char *line = strstr(status, key), *p;
	long v = -1;

	if (!line)
		return -ENOENT;
	for (p = line + strlen(key); *p && *p != '\n'; p++) {
		if (*p < '0' || *p > '9')
			continue;
		for (v = 0; *p >= '0' && *p <= '9' && v <= INT_MAX / 10 - 1; p++)
			v = v * 10 + (*p - '0');
		if (!last || *p == '\n' || *p == '\0')
			break;
	}
	*ret = (pid_t)v;
	return v < 0 ? -EBADMSG : 0;
}

int process_ns_pid(pid_t pid, pid_t *ret, struct error *err)
{
	cleanup_buf struct buf status = BUF_INIT(65536);
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/status", pid);
	r = file_read(AT_FDCWD, path, &status, err);
	if (r == 0 && status_number(status.data, "\nNSpid:", true, ret) < 0)
		r = error_set(err, -EBADMSG, "%s has no NSpid", path);
	return r;
}

bool process_locks_memory(pid_t pid)
{
	cleanup_buf struct buf status = BUF_INIT(65536);
	char path[64];
	pid_t kib;

	path_format(path, sizeof(path), "/proc/%d/status", pid);
	return file_read(AT_FDCWD, path, &status, NULL) < 0 || status_number(status.data, "\nVmLck:", false, &kib) < 0 || kib != 0;
}

int process_pending_signals(pid_t pid, uint64_t *ret, struct error *err)
{
	static const char *const keys[] = { "\nSigPnd:", "\nShdPnd:" };
	cleanup_buf struct buf status = BUF_INIT(65536);
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/status", pid);
	r = file_read(AT_FDCWD, path, &status, err);
	*ret = 0;
	for (size_t i = 0; r == 0 && i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *line = strstr(status.data, keys[i]);
		char *end = NULL;

		if (line)
			*ret |= strtoull(line + strlen(keys[i]), &end, 16);
		if (!line || *end != '\n')
			r = error_set(err, -EBADMSG, "%s has no %s", path, keys[i] + 1);
	}
	return r;
}

#define GENERATIONS_MAX 4096

bool process_descends(pid_t pid, pid_t first)
{
	for (int i = 0; i < GENERATIONS_MAX && pid != first; i++) {
		cleanup_buf struct buf status = BUF_INIT(65536);
		char path[64];

		path_format(path, sizeof(path), "/proc/%d/status", pid);
		if (file_read(AT_FDCWD, path, &status, NULL) < 0)
			return true;
		if (status_number(status.data, "\nPPid:", false, &pid) < 0 || pid <= 1)
			return false;
	}
	return pid == first;
}

static int check_status(struct subject *s)
{
	cleanup_buf struct buf status = BUF_INIT(65536);
	struct stat own, children;
	char what[64];
	pid_t tracer, threads;
	int r = file_read(s->proc_fd, "status", &status, s->err);

	if (r < 0)
		return r;
	/* Only one process can trace another, and CRIU must. */
	if (status_number(status.data, "\nTracerPid:", false, &tracer) == 0 && tracer > 0) {
		path_format(what, sizeof(what), "is traced by process %d", tracer);
		refuse(s, REASON_CheckpointFailed, what, "detach the debugger");
	}
	/*
	 * ptrace(2) of one that is stopped waits, and cannot be interrupted, until it has woken up for a moment (kernel/ptrace.c, JOBCTL_TRAPPING), which a frozen one does not:
	 * CRIU would stand there with the pod frozen.
	 */
	if (strstr(status.data, "\nState:\tT"))
		refuse(s, REASON_CheckpointFailed, "is stopped by a signal (SIGSTOP, Ctrl-Z)", "let it go on (SIGCONT) or end it");
	/* Its memory is nobody's to read any more by its number, and CRIU takes it for a dead one. */
	if (strstr(status.data, "\nState:\tZ") && status_number(status.data, "\nThreads:", false, &threads) == 0 && threads > 1)
		refuse(s, REASON_CheckpointFailed, "has ended its first thread while others go on", "CRIU cannot dump that; let the first thread wait for the others");
	if (fstatat(s->proc_fd, "ns/pid", &own, 0) == 0 && fstatat(s->proc_fd, "ns/pid_for_children", &children, 0) == 0 &&
	    own.st_ino != children.st_ino)
		refuse(s, REASON_CheckpointFailed, "makes a pid namespace of its own",
		       "CRIU cannot dump nested pid namespaces");
	return 0;
}

/*
 * CRIU takes 16 bytes of memory for each page of private mappings, also of such that were only reserved and hold nothing (criu/mem.c), and walks over them while the
 * pod is frozen: measured with CRIU 4.2.1, 4 MiB and 10 ms for each GiB.  8 TiB, MariaDB's default, took all memory of a node.
 */
#ifdef __SANITIZE_ADDRESS__     /* the tests look at themselves, and it reserves 20 TiB */
#define RESERVED_MAX (64ull << 40)
#else
#define RESERVED_MAX (512ull << 30)
#endif

static void check_reserved(struct subject *s, uint64_t reserved)
{
	char what[96];

	if (reserved <= RESERVED_MAX)
		return;
	path_format(what, sizeof(what), "reserves %llu GiB of address space", (unsigned long long)(reserved >> 30));
	refuse(s, REASON_UnsupportedContainer, what,
	       "CRIU needs memory for each page of it, used or not, at most 512 GiB can be moved (MariaDB: set innodb_buffer_pool_size_max)");
}

/* CRIU knows huge pages in part, and nobody has tried whether that is enough; the two nodes may not have the same, either. */
static void refuse_huge(const struct subject *s, const char *what)
{
	refuse(s, REASON_UnsupportedContainer, what, "let the program do without them for the move (transparent huge pages can be moved)");
}

/* Of a line of maps: what the mapping counts for CRIU. */
static uint64_t private_bytes(const char *line)
{
	unsigned long long start, end;
	char perms[5] = "";

	return sscanf(line, "%llx-%llx %4s", &start, &end, perms) == 3 && perms[3] == 'p' && end > start ? end - start : 0;
}

static int check_maps(struct subject *s)
{
	uint64_t reserved = 0;
	cleanup_close int fd = openat(s->proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *f = NULL;
	char line[PATH_MAX + 128], what[512];

	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		return error_errno(s->err, "read the mappings of process %d", s->pid);
	fd = -1;
	while (fgets(line, sizeof(line), f)) {
		const struct process_rule *rule;
		const char *path;
		bool huge;

		reserved += private_bytes(line);
		huge = huge_devices_has(&s->huge, process_maps_device(line));
		path = process_maps_path(line);
		if (huge) {
			path_format(what, sizeof(what), "has huge pages (hugetlbfs) mapped, %.400s", path ? path : "");
			refuse_huge(s, what);
			continue;
		}
		rule = path ? process_rule_for_mapping(path) : NULL;
		if (rule) {
			path_format(what, sizeof(what), "has %.400s mapped", path);
			refuse(s, rule->reason, what, rule->advice);
		}
	}
	check_reserved(s, reserved);
	return 0;
}

static bool same_pid_ns(const struct subject *s, pid_t other)
{
	struct stat ours, theirs;
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/ns/pid", other);
	/* A peer that is gone or cannot be seen proves nothing. */
	if (fstatat(s->proc_fd, "ns/pid", &ours, 0) < 0 || stat(path, &theirs) < 0)
		return true;
	return ours.st_ino == theirs.st_ino;
}

/* A stream to a process of another pid namespace, which is another container or the node, cannot be cut in two. */
static void check_unix(struct subject *s, int sock, int type, int fd)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	char what[128];

	if (type == SOCK_DGRAM || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
		return;
	if (same_pid_ns(s, peer.pid))
		return;
	path_format(what, sizeof(what), "is connected by a unix socket (fd %d) to process %d outside its container", fd,
		    peer.pid);
	refuse(s, REASON_ExternalUnixSocket, what, "close that connection before");
}

static int socket_number(int sock, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(sock, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

/* pidfd_getfd (kernel 5.6) gives the very socket, whatever network namespace it is of; our copy is closed at once. */
static int check_socket(struct subject *s, int fd)
{
	cleanup_close int sock = (int)syscall(SYS_pidfd_getfd, s->pidfd, fd, 0);
	int domain, type, protocol;
	const struct process_rule *rule;
	char what[128];

	/* Closed meanwhile, or a kernel without pidfd_getfd: then CRIU has the last word. */
	if (sock < 0 && (errno == EBADF || errno == ESRCH || errno == ENOSYS))
		return 0;
	if (sock < 0)
		return error_errno(s->err, "look at socket %d of process %d (%s)", fd, s->pid, s->name);
	domain = socket_number(sock, SO_DOMAIN);
	type = socket_number(sock, SO_TYPE);
	protocol = socket_number(sock, SO_PROTOCOL);
	if (domain == AF_UNIX)
		check_unix(s, sock, type, fd);
	rule = process_rule_for_socket(domain, type, protocol);
	if (!rule)
		return 0;
	path_format(what, sizeof(what), "has a socket of family %d, protocol %d (fd %d)", domain, protocol, fd);
	refuse(s, rule->reason, what, rule->advice);
	return 0;
}

/* "tty-index:" of /proc/PID/fdinfo of a ptmx (kernel 5.?; drivers/tty/pty.c pty_show_fdinfo); -1 when there is none. */
static int ptmx_index(int proc_fd, const char *fd_name)
{
	cleanup_buf struct buf text = BUF_INIT(4096);
	char path[64];
	pid_t index;

	if (path_format(path, sizeof(path), "fdinfo/%s", fd_name) < 0 || file_read(proc_fd, path, &text, NULL) < 0)
		return -1;
	return status_number(text.data, "tty-index:", false, &index) < 0 ? -1 : index;
}

static bool holds_master(int proc_fd, int index)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	char target[64];
	int fd = openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(fd, e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "ptmx") && ptmx_index(proc_fd, e->d_name) == index)
			return true;
	}
	return false;
}

/* Is the master of this terminal in the same pid namespace?  Then it is dumped along (script, tmux, sshd in a container). */
static bool master_inside(const struct subject *s, int index)
{
	cleanup_closedir DIR *d = opendir("/proc");
	struct stat own, other;
	struct dirent *e;

	if (!d || fstatat(s->proc_fd, "ns/pid", &own, 0) < 0)
		return true;
	while ((e = readdir(d))) {
		cleanup_close int fd = -1;

		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && fstatat(fd, "ns/pid", &other, 0) == 0 && other.st_ino == own.st_ino && holds_master(fd, index))
			return true;
	}
	return false;
}

static void check_terminal(struct subject *s, int fd, const char *target)
{
	static const char pts[] = "/dev/pts/";
	char what[128];
	int index = 0;

	if (strncmp(target, pts, sizeof(pts) - 1) || !strcmp(target, "/dev/pts/ptmx"))
		return;
	for (const char *p = target + sizeof(pts) - 1; *p >= '0' && *p <= '9' && index < 1000000; p++)
		index = index * 10 + (*p - '0');
	if (master_inside(s, index))
		return;
	path_format(what, sizeof(what), "uses the terminal %.40s (fd %d), whose other end is outside the container", target, fd);
	refuse(s, REASON_TerminalAttached, what, "run the container without stdin and tty");
}

/*
 * POSIX message queues: CRIU knows neither their descriptors nor what waits in them.  The kernel opens a queue on a mount of its own (ipc/mqueue.c), where it is
 * "/NAME"; queues that nobody has open stand in /dev/mqueue.
 */
static bool is_mqueue(int dir, const char *name)
{
	cleanup_close int fd = openat(dir, name, O_PATH | O_CLOEXEC);
	struct statfs fs;

	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == MQUEUE_MAGIC;
}

static int check_mqueues(struct subject *s)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	char what[320];
	int fd = is_mqueue(s->proc_fd, "root/dev/mqueue") ? openat(s->proc_fd, "root/dev/mqueue", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		path_format(what, sizeof(what), "has a POSIX message queue, /%s, in its pod", e->d_name);
		refuse(s, REASON_UnsupportedFile, what, "CRIU cannot dump it");
	}
	return 0;
}

/* What is not to be seen at a descriptor. */
static int check_held(struct subject *s)
{
	char group[64], what[128];

	if (process_has_write_lease(s->pid))
		refuse(s, REASON_UnsupportedFile, "holds a write lease on a file (fcntl F_SETLEASE)", "let it give the lease back: copying the file would break it");
	if (!process_multicast_group(s->proc_fd, group, sizeof(group)))
		return 0;
	path_format(what, sizeof(what), "is in a pod that has joined the multicast group %s", group);
	refuse(s, REASON_UnsupportedFile, what, "CRIU does not restore memberships: let the program leave the group before, or do without multicast");
	return 0;
}

static int check_fd(struct subject *s, int dir, int fd, const char *target)
{
	const struct process_rule *rule = process_rule_for_file(target);
	char what[512], name[16];
	struct stat st;

	/* Only what looks like a device is asked for: stat of a file on a dead network file system would hang. */
	path_format(name, sizeof(name), "%d", fd);
	if (!rule && !strncmp(target, "/dev/", 5) && fstatat(dir, name, &st, 0) == 0)
		rule = process_rule_for_device(st.st_mode, st.st_rdev);
	/* One of memory cannot hang either. */
	if (!strncmp(target, "/memfd:", 7) && fstatat(dir, name, &st, 0) == 0 && huge_devices_has(&s->huge, st.st_dev)) {
		path_format(what, sizeof(what), "has huge pages (hugetlbfs), %.400s, open (fd %d)", target, fd);
		refuse_huge(s, what);
		return 0;
	}
	if (rule) {
		path_format(what, sizeof(what), "has %.400s open (fd %d)", target, fd);
		refuse(s, rule->reason, what, rule->advice);
		return 0;
	}
	if (target[0] == '/' && !strchr(target + 1, '/') && is_mqueue(dir, name)) {
		path_format(what, sizeof(what), "has the POSIX message queue %.255s open (fd %d)", target, fd);
		refuse(s, REASON_UnsupportedFile, what, "CRIU cannot dump it");
		return 0;
	}
	if (!strncmp(target, "socket:[", 8))
		return check_socket(s, fd);
	check_terminal(s, fd, target);
	return 0;
}

static int fd_number(const char *name)
{
	int v = 0;

	for (; *name; name++) {
		if (*name < '0' || *name > '9' || v > INT_MAX / 10 - 1)
			return -1;
		v = v * 10 + (*name - '0');
	}
	return v;
}

static int check_fds(struct subject *s)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	char target[PATH_MAX];
	int dir = openat(s->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	d = dir < 0 ? NULL : fdopendir(dir);
	if (!d) {
		if (dir >= 0)
			close(dir);
		return error_errno(s->err, "list the open files of process %d", s->pid);
	}
	while ((e = readdir(d))) {
		int fd = e->d_name[0] == '.' ? -1 : fd_number(e->d_name), r;
		ssize_t n = fd < 0 ? -1 : readlinkat(dir, e->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		r = check_fd(s, dir, fd, target);
		if (r < 0)
			return r;
	}
	return 0;
}

int process_find_obstacles(pid_t pid, struct obstacles *out, struct error *err)
{
	static int (*const checks[])(struct subject *) = { check_status, check_fds, check_held, check_maps, check_mqueues };
	struct subject s;
	int r = subject_open(pid, &s, err);

	if (r < 0)
		return r;
	s.found = out;
	huge_devices_find(s.proc_fd, &s.huge);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && r == 0; i++)
		r = checks[i](&s);
	subject_close(&s);
	return r;
}
