/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts milliseconds as counter.c does, and says so in the same words; ten times a second it checks what its arguments name: `NAME BAD <what>` when something is not
 * as it was.  Arguments: CHECK or CHECK=VALUE, see the table at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BIG (4ull << 30)
#define MANY 20000              /* unless the argument says another number */
#define OLD 1000000000          /* a modification time: 2001-09-09 */

static const char *name = "kinds";

static void bad(const char *check, const char *what)
{
	printf("%s BAD %s: %s\n", name, check, what);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static size_t read_file(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static int write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* --- who it is: users, groups, capabilities, seccomp, no_new_privs --- */

static char identity[2][1024];

static void read_identity(char *out, size_t size)
{
	static const char *const wanted[] = { "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Umask:" };
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (!strncmp(line, wanted[i], strlen(wanted[i])))
				strncat(out, line, size - strlen(out) - 1);
	if (f)
		fclose(f);
}

/* VALUE: what must be in it from the beginning, such as "Seccomp:\t2". */
static void identity_hold(const char *value)
{
	read_identity(identity[0], sizeof(identity[0]));
	if (*value && !strstr(identity[0], value))
		bad("identity", identity[0]);
}

static void identity_check(const char *value)
{
	(void)value;
	read_identity(identity[1], sizeof(identity[1]));
	if (strcmp(identity[0], identity[1]))
		bad("identity", "it is another one");
}

/* --- files that Kubernetes mounts: PATH:CONTENT (a part of it) --- */

static void file_check(const char *value)
{
	char path[256], text[4096];
	const char *colon = strchr(value, ':');

	snprintf(path, sizeof(path), "%.*s", (int)(colon - value), value);
	read_file(path, text, sizeof(text));
	if (!strstr(text, colon + 1))
		bad("file", value);
}

static long count_lines(const char *text)
{
	long n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* PATH:N: a file that has no more than N lines, such as one that an init container or a hook adds a line to. */
static void lines_check(const char *value)
{
	char path[256], text[4096];
	const char *colon = strchr(value, ':');

	snprintf(path, sizeof(path), "%.*s", (int)(colon - value), value);
	read_file(path, text, sizeof(text));
	if (count_lines(text) > strtol(colon + 1, NULL, 10))
		bad("lines", value);
}

static void readonly_check(const char *value)
{
	(void)value;
	if (open("/written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EROFS)
		bad("readonly", "the root file system can be written");
}

/* A folder in memory, its content, and a file that is open in it. */
static int in_memory = -1;

static void memory_hold(const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/file", value);
	write_file(path, "in memory\n", 0640);
	in_memory = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
}

static void memory_check(const char *value)
{
	char path[256], text[64];
	struct statfs fs;

	snprintf(path, sizeof(path), "%s/file", value);
	if (statfs(value, &fs) < 0 || fs.f_type != 0x01021994)          /* TMPFS_MAGIC */
		bad("memory", "it is no tmpfs");
	read_file(path, text, sizeof(text));
	if (strcmp(text, "in memory\n") || pread(in_memory, text, sizeof(text), 0) != 10)
		bad("memory", "its content is gone");
}

/* A folder of the root file system that is watched, as `tail -f` and programs that read their configuration again do. */
static int watch = -1;

static void watch_hold(const char *value)
{
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (inotify_add_watch(watch, value, IN_CREATE) < 0)
		bad("watch", "cannot be watched");
}

static void watch_check(const char *value)
{
	char path[256], events[4096];

	snprintf(path, sizeof(path), "%s/appears", value);
	write_file(path, "x", 0600);
	unlink(path);
	if (read(watch, events, sizeof(events)) <= 0)
		bad("watch", "it does not tell of a new file");
}

/* Waits that nobody ends: `sleep 3600`, a server's poll. */
static atomic_uint ended;

static void *sleep_long(void *arg)
{
	struct timespec t = { 1000000, 0 };

	(void)arg;
	nanosleep(&t, &t);
	ended |= 1;
	return NULL;
}

static void *poll_long(void *arg)
{
	(void)arg;
	poll(NULL, 0, -1);
	ended |= 2;
	return NULL;
}

static void waits_hold(const char *value)
{
	pthread_t t;

	(void)value;
	if (pthread_create(&t, NULL, sleep_long, NULL) || pthread_create(&t, NULL, poll_long, NULL))
		bad("waits", "no thread");
}

static void waits_check(const char *value)
{
	(void)value;
	if (ended & 1)
		bad("waits", "nanosleep returned");
	if (ended & 2)
		bad("waits", "poll returned");
}

/* --- the end: what it still does when it is told to end --- */

static volatile sig_atomic_t told_to_end;

static void on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static void end_hold(const char *value)
{
	const struct sigaction term = { .sa_handler = on_term, .sa_flags = SA_RESTART };

	(void)value;
	sigaction(SIGTERM, &term, NULL);
}

/* PATH:MS: takes that long to end, unless it is killed; its last words tell how long it had, and how many lines the file has that a preStop hook adds one to. */
static void end_check(const char *value)
{
	char path[256], text[4096];
	const char *colon = strchr(value, ':');
	int64_t told = now_ms();

	if (!told_to_end)
		return;
	snprintf(path, sizeof(path), "%.*s", (int)(colon - value), value);
	while (now_ms() - told < strtol(colon + 1, NULL, 10))
		usleep(10000);
	read_file(path, text, sizeof(text));
	printf("%s end tick=0 ms=%lld had=%lld hooks=%ld\n", name, (long long)now_ms(), (long long)(now_ms() - told), count_lines(text));
	exit(7);
}

/* --- sockets --- */

static int bound[2] = { -1, -1 };

static int bind_own(int type, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const char *ip = getenv("POD_IP");

	if (!ip || inet_pton(AF_INET, ip, &a.sin_addr) != 1 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0))
		return -1;
	return fd;
}

/* Listens on the pod's own address, not on all; and a UDP socket the same. */
static void bound_hold(const char *value)
{
	(void)value;
	bound[0] = bind_own(SOCK_STREAM, 5000);
	bound[1] = bind_own(SOCK_DGRAM, 5001);
	if (bound[0] < 0 || bound[1] < 0)
		bad("bound", strerror(errno));
}

static void bound_check(const char *value)
{
	struct sockaddr_in a = { 0 };
	socklen_t len = sizeof(a);
	char text[8];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;

	(void)value;
	if (getsockname(bound[0], (struct sockaddr *)&a, &len) < 0 || a.sin_port != htons(5000) || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		bad("bound", "nobody listens on the pod's first address");
	other = accept(bound[0], NULL, NULL);
	close(fd);
	close(other);
	a.sin_port = htons(5001);
	if (sendto(bound[1], "x", 1, 0, (struct sockaddr *)&a, sizeof(a)) != 1 || recv(bound[1], text, sizeof(text), 0) != 1)
		bad("bound", "UDP on the pod's first address");
}

/* A datagram that was on its way when the pod was frozen may be lost (the next one comes); one that comes late is passed over. */
#define DATAGRAM_TRIES 3
#define DATAGRAM_MS 500

static bool echoed(int fd, unsigned long n)
{
	unsigned long got;

	for (int i = 0; i < DATAGRAM_TRIES; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (send(fd, &n, sizeof(n), 0) != sizeof(n))
			return false;
		while (poll(&p, 1, DATAGRAM_MS) > 0)
			if (recv(fd, &got, sizeof(got), MSG_DONTWAIT) == sizeof(got) && got == n)
				return true;
	}
	return false;
}

/* Of UDP on all addresses: each datagram goes back to who sent it, inside the pod or outside. */
static void *echo_all(void *arg)
{
	int fd = (int)(intptr_t)arg;

	for (;;) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		char data[512];
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

		if (n >= 0)
			(void)!sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
	return NULL;
}

/* With each a client of its own, connected from the beginning on. */
static int udp_client[2] = { -1, -1 };

static int udp_pair(const struct sockaddr *all, const struct sockaddr *own, socklen_t len)
{
	int fd = socket(all->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), client = socket(own->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	pthread_t t;

	if (bind(fd, all, len) < 0 || connect(client, own, len) < 0 || pthread_create(&t, NULL, echo_all, (void *)(intptr_t)fd))
		bad("udp", strerror(errno));
	return client;
}

/* PORT: on 0.0.0.0, and the next one on ::, where IPv4 comes in, too. */
static void udp_hold(const char *value)
{
	in_port_t port = htons((uint16_t)strtol(value, NULL, 10)), next = htons((uint16_t)(ntohs(port) + 1));
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = port }, own = all;
	struct sockaddr_in6 all6 = { .sin6_family = AF_INET6, .sin6_port = next, .sin6_addr = IN6ADDR_ANY_INIT }, own6 = all6;

	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	own6.sin6_addr = in6addr_loopback;
	udp_client[0] = udp_pair((struct sockaddr *)&all, (struct sockaddr *)&own, sizeof(all));
	udp_client[1] = udp_pair((struct sockaddr *)&all6, (struct sockaddr *)&own6, sizeof(all6));
}

static void udp_check(const char *value)
{
	static unsigned long n;

	(void)value;
	n++;
	if (!echoed(udp_client[0], n))
		bad("udp", "nothing comes to 0.0.0.0");
	if (!echoed(udp_client[1], n))
		bad("udp", "nothing comes to ::");
}

static struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return a;
}

/* Unix datagrams: one with a name, as that of a log daemon, that another thread reads; and a pair, in which one datagram always waits to be read. Here none may be lost. */
static struct {
	int server, client, pair[2];
	atomic_ulong heard;
	unsigned long sent;
} dgram;

static void *hear_all(void *arg)
{
	unsigned long n;

	(void)arg;
	for (;;)
		if (recv(dgram.server, &n, sizeof(n), 0) == sizeof(n)) {
			if (n != dgram.heard + 1)
				bad("dgram", "one is lost, or came twice");
			dgram.heard = n;
		}
	return NULL;
}

static void dgram_hold(const char *value)
{
	struct sockaddr_un a = unix_address(value);
	pthread_t t;

	unlink(value);
	dgram.server = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	dgram.client = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(dgram.server, (struct sockaddr *)&a, sizeof(a)) < 0 || connect(dgram.client, (struct sockaddr *)&a, sizeof(a)) < 0 || pthread_create(&t, NULL, hear_all, NULL) ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram.pair) < 0 || send(dgram.pair[0], &dgram.sent, sizeof(dgram.sent), 0) < 0)
		bad("dgram", strerror(errno));
}

static void dgram_check(const char *value)
{
	unsigned long n;

	(void)value;
	if (recv(dgram.pair[1], &n, sizeof(n), MSG_DONTWAIT) != sizeof(n) || n != dgram.sent)
		bad("dgram", "what waited in the pair is gone");
	dgram.sent++;
	if (send(dgram.pair[0], &dgram.sent, sizeof(n), MSG_DONTWAIT) != sizeof(n) || send(dgram.client, &dgram.sent, sizeof(n), 0) != sizeof(n))
		bad("dgram", strerror(errno));
	for (int i = 0; i < DATAGRAM_MS && dgram.heard != dgram.sent; i++)
		usleep(1000);
	if (dgram.heard != dgram.sent)
		bad("dgram", "what is sent to the name is not heard");
}

static int unix_fd = -1;

static atomic_ulong accepted;

/* At once, as servers do: CRIU cannot dump a connection that its client has closed before it was accepted. */
static void *accept_all(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(unix_fd, NULL, NULL)) >= 0) {
		close(fd);
		accepted++;
	}
	bad("listen", strerror(errno));
	return NULL;
}

/* A stream listener in a folder that another container has, too. */
static void listen_hold(const char *value)
{
	struct sockaddr_un a = unix_address(value);
	pthread_t t;

	unlink(value);
	unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(unix_fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(unix_fd, 8) < 0 || pthread_create(&t, NULL, accept_all, NULL))
		bad("listen", strerror(errno));
}

static void listen_check(const char *value)
{
	static unsigned long last;
	static int64_t since;

	(void)value;
	if (accepted != last || !since)
		since = now_ms();
	if (now_ms() - since > 10000)
		bad("listen", "nobody connects any more");
	last = accepted;
}

/* Servers that say yes to a probe, one connection after the other. */
static void serve(const char *check, const char *port, void *(*answer)(void *))
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(port, NULL, 10)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t t;

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0 || pthread_create(&t, NULL, answer, (void *)(intptr_t)fd))
		bad(check, strerror(errno));
}

static void *answer_http(void *arg)
{
	static const char yes[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	char request[2048];
	int fd;

	for (;;) {
		fd = accept4((int)(intptr_t)arg, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, request, sizeof(request)) > 0)
			(void)!write(fd, yes, sizeof(yes) - 1);
		close(fd);
	}
	return NULL;
}

static void http_hold(const char *port)
{
	serve("http", port, answer_http);
}

/* Frames of HTTP/2 (RFC 9113, 4.1): length, type, flags, stream. */
enum { H2_DATA = 0, H2_SETTINGS = 4, H2_END_STREAM = 1, H2_ACK = 1, H2_HEAD = 9, H2_PREFACE = 24 };

static const char h2_settings[] = "\0\0\0\4\0\0\0\0", h2_settings_ack[] = "\0\0\0\4\1\0\0\0";

/*
 * To the first request of a connection, whatever it asks: :status 200 and content-type (both by their number in the static table of RFC 7541); HealthCheckResponse{SERVING};
 * grpc-status 0.
 */
static const char grpc_yes[] = "\0\0\x14\1\4\0\0\0\1" "\x88\x0f\x10\x10" "application/grpc"
			       "\0\0\7\0\0\0\0\0\1" "\0\0\0\0\2" "\x08\1"
			       "\0\0\x0f\1\5\0\0\0\1" "\0\x0b" "grpc-status" "\1" "0";

static bool h2_take(int fd, void *out, size_t size)
{
	return recv(fd, out, size, MSG_WAITALL) == (ssize_t)size;
}

static void answer_grpc_one(int fd)
{
	unsigned char head[H2_HEAD], payload[1 << 14];

	if (!h2_take(fd, payload, H2_PREFACE) || write(fd, h2_settings, H2_HEAD) != H2_HEAD)
		return;
	while (h2_take(fd, head, H2_HEAD)) {
		size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

		if (len > sizeof(payload) || (len && !h2_take(fd, payload, len)))
			return;
		if (head[3] == H2_SETTINGS && !(head[4] & H2_ACK))
			(void)!write(fd, h2_settings_ack, H2_HEAD);
		if (head[3] == H2_DATA && (head[4] & H2_END_STREAM))
			(void)!write(fd, grpc_yes, sizeof(grpc_yes) - 1);
	}
}

static void *answer_grpc(void *arg)
{
	int fd;

	for (;;) {
		fd = accept4((int)(intptr_t)arg, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		answer_grpc_one(fd);
		close(fd);
	}
	return NULL;
}

static void grpc_hold(const char *port)
{
	serve("grpc", port, answer_grpc);
}

static void nothing_to_check(const char *value)
{
	(void)value;
}

/* One short connection at a time, as clients of local sockets make them. */
static void call_check(const char *value)
{
	struct sockaddr_un a = unix_address(value);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r = connect(fd, (struct sockaddr *)&a, sizeof(a));

	if (r < 0 && errno != EAGAIN)
		bad("call", strerror(errno));
	close(fd);
}

/* --- memory that two containers share --- */

static atomic_ulong *shared;
static unsigned long shared_last;
static int64_t shared_moved;

static void shm_hold(const char *value)
{
	int fd = shm_open("/kinds", O_RDWR | O_CREAT, 0666);

	(void)value;
	if (fd < 0 || ftruncate(fd, 4096) < 0 || (shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		bad("shm", strerror(errno));
	close(fd);
}

static void shm_write(const char *value)
{
	(void)value;
	(*shared)++;
}

static void shm_read(const char *value)
{
	(void)value;
	if (*shared < shared_last)
		bad("shm", "it has gone back");
	if (*shared != shared_last)
		shared_moved = now_ms();
	/* The other one may be started, or moved, a while before or after us. */
	if (shared_moved && now_ms() - shared_moved > 10000)
		bad("shm", "what the other container writes does not come");
	shared_last = *shared;
}

static char *segment;

static void sysv_hold(const char *value)
{
	int id = shmget(0x815, 1 << 20, IPC_CREAT | 0600);

	(void)value;
	segment = shmat(id, NULL, 0);
	if (id < 0 || segment == (void *)-1)
		bad("sysv", strerror(errno));
	else
		strcpy(segment + 500000, "segment");
}

static void sysv_check(const char *value)
{
	int id = shmget(0x815, 0, 0);
	char *again = id < 0 ? (void *)-1 : shmat(id, NULL, 0);

	(void)value;
	if (strcmp(segment + 500000, "segment") || again == (void *)-1 || strcmp(again + 500000, "segment"))
		bad("sysv", "the segment is another one");
	if (again != (void *)-1)
		shmdt(again);
}

/* --- the other processes of a pod that shares its process namespace --- */

static long count_processes(void)
{
	char path[64], text[64];
	long found = 0;

	for (int pid = 1; pid < 200; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		found += read_file(path, text, sizeof(text)) && !strcmp(text, "kinds\n");
	}
	return found;
}

/* The kubelet starts the containers one after the other. */
static void processes_hold(const char *value)
{
	for (int i = 0; i < 1200 && count_processes() < strtol(value, NULL, 10); i++)
		usleep(50000);
}

static void processes_check(const char *value)
{
	if (count_processes() < strtol(value, NULL, 10))
		bad("processes", "not all containers' processes can be seen");
}

static pid_t own_pid;

static void pid_hold(const char *value)
{
	(void)value;
	own_pid = getpid();
}

static void pid_check(const char *value)
{
	(void)value;
	if (getpid() != own_pid)
		bad("pid", "it is another one");
}

/* --- many files, and odd ones; below the folder VALUE (many: or FOLDER:NUMBER) --- */

static void fill(char *path, size_t size, const char *folder, const char *file)
{
	snprintf(path, size, "%s/%s", folder, file);
}

/* cap_net_bind_service=ep, as `setcap` writes it (linux/capability.h, revision 2). */
static const char capability[20] = { 1, 0, 0, 2, 0, 4 };

/* What a file gets beside its content, and whether it could: not every file system takes all. What it has taken it must have ever after. */
static const struct attribute {
	const char *name, *value;
	size_t size;
} attributes[] = { { "user.e2e", "yes", 3 }, { "security.capability", capability, sizeof(capability) } };

#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

/* Of the folder looked at; by the length of its name, which tells the two apart that a test has. */
static struct odd {
	int gone;
	bool has[ATTRIBUTES];
} odd_of[64];

static bool has_attribute(const char *path, const struct attribute *a)
{
	char value[64];

	return getxattr(path, a->name, value, sizeof(value)) == (ssize_t)a->size && !memcmp(value, a->value, a->size);
}

static void set_attributes(struct odd *o, const char *path)
{
	for (size_t i = 0; i < ATTRIBUTES; i++) {
		o->has[i] = setxattr(path, attributes[i].name, attributes[i].value, attributes[i].size, 0) == 0;
		if (o->has[i] ? !has_attribute(path, &attributes[i]) : errno != ENOTSUP)
			bad("odd", attributes[i].name);
	}
}

static void odd_hold(const char *folder)
{
	const struct timespec old[2] = { { OLD, 5 }, { OLD, 123456789 } };
	struct odd *o = &odd_of[strlen(folder) % 64];
	char path[256], other[256];
	int fd;

	fill(path, sizeof(path), folder, "one");
	fill(other, sizeof(other), folder, "two");
	write_file(path, "linked\n", 0600);
	if (link(path, other) < 0 || chown(path, 1234, 5678) < 0 || chmod(path, 06755) < 0)
		bad("odd", "link, owner, mode");
	set_attributes(o, path);
	if (utimensat(AT_FDCWD, path, old, 0) < 0)
		bad("odd", "times");
	fill(path, sizeof(path), folder, "sparse");
	write_file(path, "begin", 0644);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (ftruncate(fd, BIG) < 0 || pwrite(fd, "middle", 6, BIG / 2) != 6 || pwrite(fd, "end", 3, BIG - 3) != 3)
		bad("odd", "sparse");
	close(fd);
	fill(path, sizeof(path), folder, "gone");
	o->gone = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (write(o->gone, "gone\n", 5) != 5 || unlink(path) < 0)
		bad("odd", "deleted file");
}

static void odd_check(const char *folder)
{
	const struct odd *o = &odd_of[strlen(folder) % 64];
	char path[256], other[256], text[64];
	struct stat a, b;
	int fd;

	fill(path, sizeof(path), folder, "one");
	fill(other, sizeof(other), folder, "two");
	if (stat(path, &a) < 0 || stat(other, &b) < 0 || a.st_ino != b.st_ino || a.st_nlink != 2)
		bad("odd", "the hard link is none");
	if (a.st_uid != 1234 || a.st_gid != 5678 || (a.st_mode & 07777) != 06755)
		bad("odd", "owner or mode");
	if (a.st_mtim.tv_sec != OLD || a.st_mtim.tv_nsec != 123456789)
		bad("odd", "modification time");
	for (size_t i = 0; i < ATTRIBUTES; i++)
		if (o->has[i] && !has_attribute(path, &attributes[i]))
			bad("odd", attributes[i].name);
	fill(path, sizeof(path), folder, "sparse");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fstat(fd, &a) < 0 || a.st_size != (off_t)BIG || a.st_blocks * 512 > 1 << 20)
		bad("odd", "the sparse file has another size, or is full");
	if (pread(fd, text, 6, BIG / 2) != 6 || memcmp(text, "middle", 6) || pread(fd, text, 3, BIG - 3) != 3 || memcmp(text, "end", 3))
		bad("odd", "content of the sparse file");
	close(fd);
	if (fstat(o->gone, &a) < 0 || a.st_nlink != 0 || (a.st_mode & 07777) != 0640 || pread(o->gone, text, sizeof(text), 0) != 5)
		bad("odd", "the deleted file that is open");
}

static void many_path(char *path, size_t size, const char *folder, int i)
{
	snprintf(path, size, "%s/many/%02d/%d", folder, i % 100, i);
}

static int many_number(const char *value, char *folder, size_t size)
{
	size_t len = strcspn(value, ":");

	snprintf(folder, size, "%.*s", (int)len, value);
	return value[len] ? (int)strtol(value + len + 1, NULL, 10) : MANY;
}

static void many_hold(const char *value)
{
	char path[256], text[32], folder[128];
	int number = many_number(value, folder, sizeof(folder));

	fill(path, sizeof(path), folder, "many");
	mkdir(path, 0755);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "%s/many/%02d", folder, i);
		mkdir(path, 0755);
	}
	for (int i = 0; i < number; i++) {
		many_path(path, sizeof(path), folder, i);
		snprintf(text, sizeof(text), "file %d\n", i);
		if (write_file(path, text, i % 2 ? 0600 : 0644) < 0) {
			bad("many", strerror(errno));
			return;
		}
	}
}

/* A part each time, all 20,000 of them within two seconds. */
static void many_check(const char *value)
{
	static int at;
	char path[256], text[32], want[32], folder[128];
	int number = many_number(value, folder, sizeof(folder));

	for (int i = 0; i < MANY / 20; i++, at = (at + 1) % number) {
		struct stat st;

		many_path(path, sizeof(path), folder, at);
		snprintf(want, sizeof(want), "file %d\n", at);
		read_file(path, text, sizeof(text));
		if (strcmp(text, want) || stat(path, &st) < 0 || (st.st_mode & 0777) != (at % 2 ? 0600 : 0644)) {
			bad("many", path);
			return;
		}
	}
}

/* --- busy: files that are rewritten, moved, removed and written through a mapping all the time; what each holds, the program knows --- */

#define BUSY_FILES 400
#define BUSY_FOLDERS 8
#define BUSY_PAGES 256          /* of the two large files: one is mapped, one written to */

static struct {
	unsigned seed, folder[BUSY_FILES], version[BUSY_FILES], mapped[BUSY_PAGES], written[BUSY_PAGES];
	unsigned *map;
	int fd;
} busy;

static void busy_path(char *path, size_t size, const char *folder, unsigned i)
{
	snprintf(path, size, "%s/busy/%u/%u", folder, busy.folder[i], i);
}

static void busy_text(char *text, size_t size, unsigned i)
{
	text[0] = '\0';
	for (unsigned n = busy.version[i] % 40 + 1; n > 0; n--)
		snprintf(text + strlen(text), size - strlen(text), "file %u version %u\n", i, busy.version[i]);
}

static void busy_write(const char *folder, unsigned i)
{
	char path[256], text[2048];

	busy.version[i]++;
	busy_path(path, sizeof(path), folder, i);
	busy_text(text, sizeof(text), i);
	if (write_file(path, text, 0640) < 0)
		bad("busy", path);
}

static void busy_hold(const char *folder)
{
	char path[256];
	int fd;

	for (unsigned i = 0; i <= BUSY_FOLDERS; i++) {
		snprintf(path, sizeof(path), i ? "%s/busy/%u" : "%s/busy", folder, i - 1);
		mkdir(path, 0755);
	}
	for (unsigned i = 0; i < BUSY_FILES; i++)
		busy_write(folder, i);
	snprintf(path, sizeof(path), "%s/busy/written", folder);
	busy.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	snprintf(path, sizeof(path), "%s/busy/mapped", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (ftruncate(busy.fd, BUSY_PAGES * 4096) < 0 || ftruncate(fd, BUSY_PAGES * 4096) < 0)
		bad("busy", "size");
	busy.map = mmap(NULL, BUSY_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
}

static void busy_change(const char *folder)
{
	unsigned i = (unsigned)rand_r(&busy.seed) % BUSY_FILES, page = (unsigned)rand_r(&busy.seed) % BUSY_PAGES;
	char path[256], to[256];

	busy_path(path, sizeof(path), folder, i);
	switch (rand_r(&busy.seed) % 5) {
	case 0:
		busy.folder[i] = (unsigned)rand_r(&busy.seed) % BUSY_FOLDERS;
		busy_path(to, sizeof(to), folder, i);
		if (rename(path, to) < 0)
			bad("busy", "rename");
		break;
	case 1:
		if (unlink(path) < 0)
			bad("busy", "unlink");
		busy_write(folder, i);
		break;
	case 2:
		busy.map[page * 1024] = ++busy.mapped[page];
		break;
	case 3:
		busy.written[page]++;
		if (pwrite(busy.fd, &busy.written[page], sizeof(unsigned), page * 4096) != sizeof(unsigned))
			bad("busy", "write");
		break;
	default:
		busy_write(folder, i);
	}
}

static void busy_check(const char *folder)
{
	char path[256], text[2048], got[2048];
	unsigned number;
	struct stat st;
	int fd;

	for (unsigned i = 0; i < BUSY_FILES; i++) {
		busy_path(path, sizeof(path), folder, i);
		busy_text(text, sizeof(text), i);
		if (read_file(path, got, sizeof(got)) != strlen(text) || strcmp(text, got) || stat(path, &st) < 0 || (st.st_mode & 0777) != 0640)
			bad("busy", path);
	}
	snprintf(path, sizeof(path), "%s/busy/mapped", folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < BUSY_PAGES; i++) {
		if (pread(fd, &number, sizeof(number), i * 4096) != sizeof(number) || number != busy.mapped[i])
			bad("busy", "the mapped file");
		if (pread(busy.fd, &number, sizeof(number), i * 4096) != sizeof(number) || number != busy.written[i])
			bad("busy", "the large file");
	}
	close(fd);
	for (int i = 0; i < 60; i++)
		busy_change(folder);
}

/* --- pages: PATH:MIB, a large file of which each millisecond a page is written through a mapping; two at most --- */

#define PAGE_WORDS 1024u

static struct paged {
	const char *path;               /* of the argument: it ends with a colon */
	uint32_t *map, *version;        /* version: of each page, what it must hold */
	uint32_t n, seed, at;
} paged[2];

static struct paged *paged_find(const char *value)
{
	struct paged *f = paged;

	while (f->path && f->path != value)
		f++;
	return f;
}

static uint32_t paged_next(uint32_t x)
{
	x ^= x << 13;
	x ^= x >> 17;
	return x ^ x << 5;
}

/* No two pages are the same, and none can be packed. */
static void paged_fill(uint32_t *words, uint32_t page, uint32_t version)
{
	uint32_t x = page * 2654435761u + version * 40503u + 1;

	for (unsigned i = 0; i < PAGE_WORDS; i++)
		words[i] = x = paged_next(x ? x : 1);
}

static void pages_hold(const char *value)
{
	struct paged *f = paged_find(value);
	const char *colon = strchr(value, ':');
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%.*s", (int)(colon - value), value);
	f->path = value;
	f->seed = 1;
	f->n = (uint32_t)strtoul(colon + 1, NULL, 10) * 256;
	f->version = calloc(f->n, sizeof(*f->version));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)f->n * 4096) < 0 || (f->map = mmap(NULL, (size_t)f->n * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		bad("pages", strerror(errno));
		exit(1);
	}
	close(fd);
	for (uint32_t i = 0; i < f->n; i++)
		paged_fill(f->map + (size_t)i * PAGE_WORDS, i, 0);
}

static void pages_write(const char *value)
{
	struct paged *f = paged_find(value);
	uint32_t page;

	f->seed = paged_next(f->seed);
	page = f->seed % f->n;
	paged_fill(f->map + (size_t)page * PAGE_WORDS, page, ++f->version[page]);
}

/* A part each time, by its name: all of it within two seconds. */
static void pages_check(const char *value)
{
	struct paged *f = paged_find(value);
	uint32_t got[PAGE_WORDS], want[PAGE_WORDS];
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%.*s", (int)(strchr(value, ':') - value), value);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (uint32_t i = 0; i < f->n / 20 + 1; i++, f->at = (f->at + 1) % f->n) {
		paged_fill(want, f->at, f->version[f->at]);
		if (pread(fd, got, sizeof(got), (off_t)f->at * 4096) != sizeof(got) || memcmp(got, want, sizeof(got)) != 0) {
			bad("pages", path);
			break;
		}
	}
	close(fd);
}

/* --- all of it --- */

static const struct kind {
	const char *name;
	void (*hold)(const char *value), (*check)(const char *value);
	void (*each)(const char *value);        /* millisecond; NULL: nothing */
} kinds[] = {
	{ "identity", identity_hold, identity_check, NULL },
	{ "file", NULL, file_check, NULL },
	{ "lines", NULL, lines_check, NULL },
	{ "readonly", NULL, readonly_check, NULL },
	{ "memory", memory_hold, memory_check, NULL },
	{ "watch", watch_hold, watch_check, NULL },
	{ "waits", waits_hold, waits_check, NULL },
	{ "end", end_hold, end_check, NULL },
	{ "bound", bound_hold, bound_check, NULL },
	{ "udp", udp_hold, udp_check, NULL },
	{ "dgram", dgram_hold, dgram_check, NULL },
	{ "listen", listen_hold, listen_check, NULL },
	{ "call", NULL, call_check, NULL },
	{ "http", http_hold, nothing_to_check, NULL },
	{ "grpc", grpc_hold, nothing_to_check, NULL },
	{ "shm-write", shm_hold, shm_write, NULL },
	{ "shm-read", shm_hold, shm_read, NULL },
	{ "sysv", sysv_hold, sysv_check, NULL },
	{ "processes", processes_hold, processes_check, NULL },
	{ "pid", pid_hold, pid_check, NULL },
	{ "odd", odd_hold, odd_check, NULL },
	{ "many", many_hold, many_check, NULL },
	{ "busy", busy_hold, busy_check, NULL },
	{ "pages", pages_hold, pages_check, pages_write },
};

static const struct kind *find(const char *arg, const char **value)
{
	size_t len = strcspn(arg, "=");

	*value = arg[len] ? arg + len + 1 : "";
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, arg, len))
			return &kinds[i];
	fprintf(stderr, "no such check: %s\n", arg);
	exit(2);
}

int main(int argc, char **argv)
{
	int64_t last, largest = 0;
	const char *value;
	uint32_t boot;

	name = getenv("NAME") ? getenv("NAME") : name;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrandom(&boot, sizeof(boot), 0) != sizeof(boot))
		return 1;
	for (int i = 1; i < argc; i++) {
		const struct kind *k = find(argv[i], &value);

		if (k->hold)
			k->hold(value);
	}
	last = now_ms();
	printf("%s start tick=0 ms=%lld mib=0 pid=%d boot=%08x\n", name, (long long)now_ms(), getpid(), boot);
	for (unsigned long tick = 1;; tick++) {
		int64_t now;

		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
		for (int i = 1; i < argc; i++) {
			const struct kind *k = find(argv[i], &value);

			if (k->each)
				k->each(value);
			if (tick % 100 == 0)
				k->check(value);
		}
		now = now_ms();
		largest = now - last > largest ? now - last : largest;
		last = now;
		if (tick % 1000 == 0) {
			printf("%s tick %lu ms=%lld gap=%lld boot=%08x\n", name, tick, (long long)now, (long long)largest, boot);
			largest = 0;
		}
	}
}
