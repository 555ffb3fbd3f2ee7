/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections inside a pod, that must not notice that it moves.  Every connection carries, both ways, the numbers 0, 1, 2, ..  of eight bytes each: one that is lost, comes twice
 * or comes late is `NAME BAD <what>`, and so is a connection that ends.  Counts milliseconds as counter.c does, and says so in the same words.
 * Arguments: serve=PORT, or call=ADDRESS:PORT (in an ADDRESS, POD is the pod's own; of IPv6 as [::1]).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 1000              /* numbers of a direction that is shut down */
#define PATIENCE_MS 5000
#define CONNECTIONS 128

/*
 * The first byte of a connection says how it is used, seen from the client: paced, small pieces; full, more than the reader takes, so that all queues are full; or shut down after LIMIT
 * numbers, by the client or by the server, while the other direction goes on.
 */
enum { PACED = 'p', FULL = 'f', CLIENT_SHUTS = 'c', SERVER_SHUTS = 's', OUTSIDE = 'o' };

struct connection {
	int fd, kind;
	char what[80];
	int64_t stop_writing, stop_reading;     /* after so many numbers; -1: never */
	_Atomic int64_t written, read, moved_ms;
};

static const char *name = "pairs";
static struct connection all[CONNECTIONS];
static atomic_int n_all;
static atomic_ulong outside_ended;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void bad(const struct connection *c, const char *what)
{
	printf("%s BAD %s: %s (written %lld, read %lld)\n", name, c->what, what, (long long)c->written, (long long)c->read);
}

static void pause_ms(int ms)
{
	nanosleep(&(struct timespec){ 0, ms * 1000000L }, NULL);
}

static void *write_main(void *arg)
{
	struct connection *c = arg;
	static const size_t sizes[] = { 1, 3, 100, 2000 };
	uint64_t numbers[2000];

	for (unsigned turn = 0; c->stop_writing < 0 || c->written < c->stop_writing; turn++) {
		size_t n = c->kind == FULL ? 2000 : sizes[turn % 4], at = 0;

		if (c->stop_writing >= 0 && c->written + (int64_t)n > c->stop_writing)
			n = (size_t)(c->stop_writing - c->written);
		for (size_t i = 0; i < n; i++)
			numbers[i] = (uint64_t)c->written + i;
		while (at < n * 8) {
			ssize_t done = send(c->fd, (char *)numbers + at, n * 8 - at, MSG_NOSIGNAL);

			if (done <= 0) {
				if (c->kind != OUTSIDE)
					bad(c, strerror(errno));
				return NULL;
			}
			at += (size_t)done;
		}
		c->written += (int64_t)n;
		if (c->kind != FULL)
			pause_ms(10);
	}
	if (shutdown(c->fd, SHUT_WR) < 0)
		bad(c, "shutdown");
	return NULL;
}

/* After the last number: nothing but the end, however often one looks. */
static void read_end(struct connection *c)
{
	char byte;

	for (;;) {
		ssize_t n = recv(c->fd, &byte, 1, 0);

		if (n) {
			bad(c, n > 0 ? "more than was sent" : strerror(errno));
			return;
		}
		c->moved_ms = now_ms();
		pause_ms(50);
	}
}

static void *read_main(void *arg)
{
	struct connection *c = arg;
	uint64_t numbers[1024];
	size_t have = 0;

	while (c->stop_reading < 0 || c->read < c->stop_reading) {
		ssize_t n = recv(c->fd, (char *)numbers + have, sizeof(numbers) - have, 0);

		if (n <= 0) {
			if (c->kind == OUTSIDE)
				outside_ended++;
			else
				bad(c, n ? strerror(errno) : "the other end has closed");
			return NULL;
		}
		have += (size_t)n;
		for (size_t i = 0; i < have / 8; i++)
			if (numbers[i] != (uint64_t)c->read++) {
				bad(c, "another number than the next");
				return NULL;
			}
		memmove(numbers, numbers + have / 8, have % 8);
		have %= 8;
		c->moved_ms = now_ms();
		if (c->kind == FULL)
			pause_ms(20);
	}
	read_end(c);
	return NULL;
}

static void start(int fd, int kind, int client, const char *what)
{
	int n = n_all++;
	struct connection *c = &all[n < CONNECTIONS ? n : CONNECTIONS - 1];
	int shuts = client ? CLIENT_SHUTS : SERVER_SHUTS, hears = client ? SERVER_SHUTS : CLIENT_SHUTS;
	pthread_t t;

	*c = (struct connection){ .fd = fd, .kind = kind, .stop_writing = kind == shuts ? LIMIT : -1, .stop_reading = kind == hears ? LIMIT : -1, .moved_ms = now_ms() };
	snprintf(c->what, sizeof(c->what), "%s %s %c", client ? "to" : "from", what, kind);
	if (n >= CONNECTIONS || pthread_create(&t, NULL, write_main, c) || pthread_create(&t, NULL, read_main, c))
		bad(c, "cannot start");
}

static void *serve_main(void *arg)
{
	int fd, listener = (int)(intptr_t)arg;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		struct sockaddr_in6 a = { 0 };
		socklen_t len = sizeof(a);
		char what[64] = "", kind;

		getpeername(fd, (struct sockaddr *)&a, &len);
		inet_ntop(AF_INET6, &a.sin6_addr, what, sizeof(what));
		if (recv(fd, &kind, 1, 0) == 1)
			start(fd, kind, 0, what);
	}
	printf("%s BAD accept: %s\n", name, strerror(errno));
	return NULL;
}

static void serve(const char *value)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)strtol(value, NULL, 10)), .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
	pthread_t t;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0 || pthread_create(&t, NULL, serve_main, (void *)(intptr_t)fd))
		printf("%s BAD serve: %s\n", name, strerror(errno));
}

static int dial(const char *host, uint16_t port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = { 0 };
	int v4 = inet_pton(AF_INET, host, &a.in.sin_addr) == 1, fd = -1;

	if (!v4 && inet_pton(AF_INET6, host, &a.in6.sin6_addr) != 1)
		return -1;
	a.any.sa_family = v4 ? AF_INET : AF_INET6;
	a.in.sin_port = htons(port);    /* in the same place in both */
	/* The other container may be started later. */
	for (int i = 0; i < 1200; i++) {
		fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, &a.any, v4 ? sizeof(a.in) : sizeof(a.in6)) == 0)
			return fd;
		close(fd);
		pause_ms(50);
	}
	return -1;
}

static void call(const char *value, const char *kinds)
{
	char host[64];
	const char *colon = strrchr(value, ':');
	size_t len = (size_t)(colon - value);

	if (*value == '[')
		snprintf(host, sizeof(host), "%.*s", (int)len - 2, value + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)len, value);
	if (!strcmp(host, "POD") && getenv("POD_IP"))
		snprintf(host, sizeof(host), "%s", getenv("POD_IP"));
	for (const char *kind = kinds; *kind; kind++) {
		int fd = dial(host, (uint16_t)strtol(colon + 1, NULL, 10));

		if (fd < 0 || send(fd, kind, 1, 0) != 1)
			printf("%s BAD call %s: %s\n", name, value, strerror(errno));
		else
			start(fd, *kind, 1, host);
	}
}

static void check_progress(void)
{
	for (int i = 0; i < n_all && i < CONNECTIONS; i++)
		if (all[i].kind != OUTSIDE && now_ms() - all[i].moved_ms > PATIENCE_MS) {
			bad(&all[i], "nothing comes any more");
			all[i].moved_ms = now_ms();
		}
}

static void begin(const char *arg)
{
	static const char all_kinds[] = { PACED, FULL, CLIENT_SHUTS, SERVER_SHUTS, 0 }, outside[] = { OUTSIDE, 0 };

	if (!strncmp(arg, "serve=", 6))
		serve(arg + 6);
	else if (!strncmp(arg, "call=", 5))
		call(arg + 5, all_kinds);
	else if (!strncmp(arg, "outside=", 8))
		call(arg + 8, outside);
	else
		printf("%s BAD argument %s\n", name, arg);
}

int main(int argc, char **argv)
{
	int64_t last, largest = 0;
	unsigned long ended = 0;
	uint32_t boot;

	name = getenv("NAME") ? getenv("NAME") : name;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrandom(&boot, sizeof(boot), 0) != sizeof(boot))
		return 1;
	for (int i = 1; i < argc; i++)
		begin(argv[i]);
	last = now_ms();
	printf("%s start tick=0 ms=%lld mib=0 pid=%d boot=%08x\n", name, (long long)now_ms(), getpid(), boot);
	for (unsigned long tick = 1;; tick++) {
		int64_t now;

		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
		now = now_ms();
		largest = now - last > largest ? now - last : largest;
		last = now;
		if (tick % 1000 == 0) {
			printf("%s tick %lu ms=%lld gap=%lld boot=%08x\n", name, tick, (long long)now, (long long)largest, boot);
			largest = 0;
			check_progress();
		}
		if (outside_ended != ended) {
			ended = outside_ended;
			fprintf(stderr, "%s end tick=%lu outside closed\n", name, tick);
		}
	}
}
