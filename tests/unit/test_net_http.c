/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/http.h"
#include "net/http_request.h"
#include "net/tls.h"

#define SECOND 1000000LL

struct fixture {
	struct http_server *server;
	uint16_t port;
	_Atomic int calls;
};

static int handler(void *ctx, const char *path, const char *query, struct buf *body, const char **type)
{
	struct fixture *f = ctx;

	f->calls++;
	if (strcmp(path, "/healthz") == 0)
		return buf_puts(body, "ok\n") < 0 ? 500 : 200;
	if (strcmp(path, "/echo") == 0) {
		*type = "text/x-query";
		return buf_puts(body, query) < 0 ? 500 : 200;
	}
	if (strcmp(path, "/big") == 0) {
		for (int i = 0; i < 65536; i++)
			buf_puts(body, "0123456789abcde\n");
		return 200;
	}
	if (strcmp(path, "/broken") == 0)
		return 503;
	return 404;
}

static int start(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = { 0 };

	assert_int_equal(http_server_start(0, handler, f, &f->server, &f->port, &err), 0);
	*state = f;
	return 0;
}

static int stop(void **state)
{
	struct fixture *f = *state;

	http_server_stop(f->server);
	http_server_stop(NULL);
	free(f);
	return 0;
}

static int dial(const struct fixture *f)
{
	struct error err = { 0 };
	int fd;

	assert_int_equal(tcp_connect("127.0.0.1", f->port, clock_mono_us() + 5 * SECOND, &fd, &err), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	return fd;
}

static void read_all(int fd, struct buf *out)
{
	char chunk[65536];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		assert_int_equal(buf_append(out, chunk, (size_t)n), 0);
	assert_int_equal(buf_append(out, "", 0), 0);
}

/* Sends raw bytes and reads the whole answer. */
static void ask(const struct fixture *f, const char *request, struct buf *out)
{
	int fd = dial(f);

	assert_int_equal(write_full(fd, request, strlen(request)), 0);
	read_all(fd, out);
	close(fd);
}

static void answers(void **state)
{
	static const struct {
		const char *request, *head, *body;
	} cases[] = {
		{ "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n" },
		{ "GET /healthz?verbose HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n" },
		{ "HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "" },
		{ "GET /echo?a=1&b=%20 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "a=1&b=%20" },
		{ "GET /broken HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "Service Unavailable\n" },
		{ "GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "Not Found\n" },
		{ "POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 ", "Method Not Allowed\n" },
		{ "GET /healthz HTTP/2.0\r\n\r\n", "HTTP/1.1 505 ", "HTTP Version Not Supported\n" },
		{ "GET healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n" },
		{ "GET /\xff HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n" },
		{ "GET  HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n" },
		{ "GET /healthz\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n" },
		{ "\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n" },
	};
	const struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_buf struct buf out = BUF_INIT(4096);
		const char *body;

		ask(f, cases[i].request, &out);
		assert_memory_equal(out.data, cases[i].head, strlen(cases[i].head));
		body = strstr(out.data, "\r\n\r\n");
		assert_non_null(body);
		assert_string_equal(body + 4, cases[i].body);
		assert_non_null(strstr(out.data, "\r\nConnection: close\r\n"));
	}
}

static void too_large(void **state)
{
	cleanup_buf struct buf request = BUF_INIT(65536), out = BUF_INIT(4096), longer = BUF_INIT(65536), out2 = BUF_INIT(4096);

	buf_puts(&request, "GET /healthz HTTP/1.1\r\n");
	while (request.len < 12000)
		buf_puts(&request, "X-Long: 0123456789\r\n");
	buf_puts(&request, "\r\n");
	ask(*state, request.data, &out);
	assert_memory_equal(out.data, "HTTP/1.1 431 ", 13);
	buf_puts(&longer, "GET /");
	while (longer.len < 2000)
		buf_puts(&longer, "aaaaaaaaaa");
	buf_puts(&longer, " HTTP/1.1\r\n\r\n");
	ask(*state, longer.data, &out2);
	assert_memory_equal(out2.data, "HTTP/1.1 414 ", 13);
}

/* All of them are answered.  *took: until the first of the slow ones were done. */
static bool crowd_is_served(struct fixture *f, int64_t *took)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\n\r\n";
	int64_t start_us = clock_mono_us();
	bool all = true;
	int fds[32];

	for (int i = 0; i < 32; i++)
		fds[i] = dial(f);
	for (size_t k = 0; k < 10; k++)
		for (int i = 0; i < 16; i++)
			all = write(fds[i], request + k, 1) == 1 && all;
	for (int i = 0; i < 32; i++) {
		cleanup_buf struct buf out = BUF_INIT(4096);
		const char *rest = i < 16 ? request + 10 : request;

		all = all && write_full(fds[i], rest, strlen(rest)) == 0;
		if (i == 15)
			*took = clock_mono_us() - start_us;
		if (all)
			read_all(fds[i], &out);
		all = all && out.len > 13 && memcmp(out.data, "HTTP/1.1 200 ", 13) == 0;
		close(fds[i]);
	}
	return all;
}

/* Byte by byte, and many at once: more than there are connections.  Who is slower than the server's patience, on a machine that is busy, tries again. */
static void slow_and_many(void **state)
{
	struct fixture *f = *state;
	int64_t took = 0;
	int tries = 0;

	while (!crowd_is_served(f, &took))
		assert_true(took > SECOND && tries++ < 10);
	assert_true(tries ? f->calls >= 32 : f->calls == 32);
}

/* Clients that say nothing hold their places for 5 s, not longer; for one when all places are theirs and somebody else comes. */
static void silent_clients(void **state)
{
	cleanup_buf struct buf out = BUF_INIT(4096), silent = BUF_INIT(4096), gone = BUF_INIT(64);
	int64_t start_us = clock_mono_us(), took;
	int fds[16];

	for (int i = 0; i < 16; i++)
		fds[i] = dial(*state);
	ask(*state, "GET /healthz HTTP/1.1\r\n\r\n", &out);
	took = clock_mono_us() - start_us;
	assert_memory_equal(out.data, "HTTP/1.1 200 ", 13);
	assert_true(took > SECOND / 2 && took < 4 * SECOND);
	/* The first of them has made room. */
	read_all(fds[0], &gone);
	assert_int_equal(gone.len, 0);
	read_all(fds[1], &silent);
	assert_memory_equal(silent.data, "HTTP/1.1 408 ", 13);
	took = clock_mono_us() - start_us;
	assert_true(took > 4 * SECOND && took < 10 * SECOND);
	for (int i = 0; i < 16; i++)
		close(fds[i]);
}

static double seconds_used(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A client that waits while there is no file descriptor for it costs no processor, and is served when there is one. */
static void no_descriptor_left(void **state)
{
	cleanup_buf struct buf out = BUF_INIT(4096);
	struct rlimit limit, none;
	double before;
	int fd = dial(*state), waiting = socket(AF_INET, SOCK_STREAM, 0), used[64], n = 0;
	struct sockaddr_in to;
	socklen_t len = sizeof(to);

	assert_int_equal(getpeername(fd, (struct sockaddr *)&to, &len), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* The first one has its place by now. */
	assert_int_equal(write(fd, "GET /healthz HTTP/1.1\r\n\r\n", 25), 25);
	read_all(fd, &out);
	buf_reset(&out);
	/* poll(2) takes no more entries than there may be descriptors. */
	do
		used[n] = dup(waiting);
	while (used[n++] < 63);
	none = (struct rlimit){ 64, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(waiting, (struct sockaddr *)&to, len), 0);
	before = seconds_used();
	usleep(1000000);
	before = seconds_used() - before;
	while (n)
		close(used[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(before < 0.1);
	assert_int_equal(write(waiting, "GET /healthz HTTP/1.1\r\n\r\n", 25), 25);
	read_all(waiting, &out);
	assert_memory_equal(out.data, "HTTP/1.1 200 ", 13);
	close(waiting);
	close(fd);
}

static size_t take(char *data, size_t size, size_t n, void *out)
{
	return buf_append(out, data, size * n) < 0 ? 0 : size * n;
}

/* A real client, a body of 1 MiB. */
static void curl_big(void **state)
{
	const struct fixture *f = *state;
	cleanup_buf struct buf out = BUF_INIT(2u << 20);
	CURL *c = curl_easy_init();
	char url[64], *type = NULL;
	long status = 0;

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/big", (unsigned)f->port);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &out);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
	assert_int_equal(curl_easy_perform(c), CURLE_OK);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
	assert_int_equal(status, 200);
	assert_string_equal(type, "text/plain; charset=utf-8");
	assert_int_equal(out.len, 1u << 20);
	curl_easy_cleanup(c);
}

static void client_leaves(void **state)
{
	struct linger now = { .l_onoff = 1 };

	for (int i = 0; i < 50; i++) {
		int fd = dial(*state);

		assert_int_equal(write(fd, "GET /big HTTP/1.1\r\n\r\n", 21), 21);
		if (i % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
	}
	for (int i = 0; i < 20; i++) {
		cleanup_buf struct buf out = BUF_INIT(4096);

		ask(*state, "GET /healthz HTTP/1.1\r\n\r\n", &out);
		assert_memory_equal(out.data, "HTTP/1.1 200 ", 13);
	}
}

static void stops_with_clients(void **state)
{
	struct fixture f = { 0 };
	struct error err = { 0 };
	int64_t start_us;
	int fd;

	(void)state;
	assert_int_equal(http_server_start(0, handler, &f, &f.server, &f.port, &err), 0);
	fd = dial(&f);
	start_us = clock_mono_us();
	http_server_stop(f.server);
	assert_true(clock_mono_us() - start_us < SECOND);
	close(fd);
}

static void port_in_use(void **state)
{
	const struct fixture *f = *state;
	struct http_server *s = NULL;
	struct error err = { 0 };

	assert_int_equal(http_server_start(f->port, handler, NULL, &s, NULL, &err), -EADDRINUSE);
	assert_null(s);
}

/* The parser alone, on bytes that mean nothing. */
static void parser_junk(void **state)
{
	(void)state;
	srandom(3);
	for (int round = 0; round < 200000; round++) {
		static const char alphabet[] = "GETHEAD /?:.HTTP1\r\n\r\n \0\xff";
		char *data = malloc(64);
		size_t len = (size_t)random() % 64;
		struct http_request r;
		int status;

		for (size_t i = 0; i < len; i++)
			data[i] = alphabet[(size_t)random() % sizeof(alphabet)];
		status = http_request_parse(data, len, &r);
		assert_true(status == 0 || status == 200 || (status >= 400 && status <= 505));
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers, start, stop),
		cmocka_unit_test_setup_teardown(too_large, start, stop),
		cmocka_unit_test_setup_teardown(slow_and_many, start, stop),
		cmocka_unit_test_setup_teardown(silent_clients, start, stop),
		cmocka_unit_test_setup_teardown(no_descriptor_left, start, stop),
		cmocka_unit_test_setup_teardown(curl_big, start, stop),
		cmocka_unit_test_setup_teardown(client_leaves, start, stop),
		cmocka_unit_test(stops_with_clients),
		cmocka_unit_test_setup_teardown(port_in_use, start, stop),
		cmocka_unit_test(parser_junk),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("net_http", tests, NULL, NULL);
}
