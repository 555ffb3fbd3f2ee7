/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_APPS_ANSWER_H
#define TESTS_APPS_ANSWER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_PORT 7000
#define MUST(x) do { if ((long)(x) == -1L) { perror(#x); exit(1); } } while (0)

/* Says what is wrong, or returns NULL and a count that never goes back. */
typedef const char *answer_fn(uint64_t *count);

struct answer_client {
	int fd;
	uint32_t boot;
	answer_fn *check;
	pthread_mutex_t *lock;
};

static void *answer_one(void *arg)
{
	struct answer_client c = *(struct answer_client *)arg;
	char line[64], out[256];
	ssize_t n;

	free(arg);
	while ((n = read(c.fd, line, sizeof(line))) > 0) {
		uint64_t count = 0;
		const char *bad;

		pthread_mutex_lock(c.lock);
		bad = c.check(&count);
		pthread_mutex_unlock(c.lock);
		if (bad)
			n = snprintf(out, sizeof(out), "BAD %s\n", bad);
		else
			n = snprintf(out, sizeof(out), "ok %llu %08x\n", (unsigned long long)count, c.boot);
		if (write(c.fd, out, (size_t)n) != n)
			break;
	}
	close(c.fd);
	return NULL;
}

/* For ever: a thread for each connection, one check at a time. */
static void answer(answer_fn *check)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(ANSWER_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	uint32_t boot = 0;

	MUST(getrandom(&boot, sizeof(boot), 0));
	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	MUST(listen(fd, 64));
	for (;;) {
		struct answer_client *c = malloc(sizeof(*c));
		pthread_t t;

		*c = (struct answer_client){ accept(fd, NULL, NULL), boot, check, &lock };
		if (c->fd < 0 || pthread_create(&t, NULL, answer_one, c)) {
			free(c);
			continue;
		}
		pthread_detach(t);
	}
}

#endif
