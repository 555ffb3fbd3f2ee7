/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agent/destination_listen.c"

/* A worker that waits for its source must neither spin nor grow deaf for good when its listener is taken from it, and see that its pod is gone. */

static int opened;      /* so often was a listener opened */
static int looks;       /* so often was it asked whether the pod is there */
static int looks_left;  /* it is gone after so many */

static int listen_somewhere(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

int destination_open_listener(struct destination *d, struct error *err)
{
	(void)err;
	opened++;
	d->listen_fd = listen_somewhere();
	return 0;
}

int monitors_list(const struct agent_options *o, struct monitor_info *ret, int max, struct error *err)
{
	(void)o;
	(void)max;
	(void)err;
	looks++;
	ret[0] = (struct monitor_info){ .sandbox = "s" };
	return looks_left-- > 0 ? 1 : 0;
}

bool order_is_commit(const struct agent_options *o, const struct monitor_info *m)
{
	(void)o;
	(void)m;
	return false;
}

void destination_give_receipt(struct destination *d)
{
	(void)d;
}

int destination_take_hello(struct destination *d, struct error *err)
{
	(void)d;
	(void)err;
	return 0;
}

void destination_take_waiting(struct destination *d)
{
	(void)d;
}

bool destination_lacks(const struct destination *d)
{
	(void)d;
	return false;
}

void destination_drop_parts(struct destination *d)
{
	(void)d;
}

int agent_host_path(const struct agent_options *o, char *ret, size_t size, const char *format, ...)
{
	(void)o;
	(void)ret;
	(void)size;
	(void)format;
	return -ENAMETOOLONG;
}

int protocol_agree(const struct agent_options *o, const cJSON *hello, const cJSON *here, int *ret, struct error *err)
{
	(void)o;
	(void)here;
	(void)hello;
	(void)ret;
	return error_set(err, -EPROTO, "none");
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* As SOCK_DESTROY leaves it. */
static void take_away(int fd)
{
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
}

static void wait_for_the_end(struct destination *d, int after)
{
	cJSON *hello = NULL;

	opened = looks = 0;
	looks_left = after;
	assert_int_equal(next_hello(d, NULL, &hello), -ECANCELED);
	assert_null(hello);
}

static void test_listener_taken_away(void **state)
{
	struct destination *d = calloc(1, sizeof(*d));
	double before = cpu_seconds();

	(void)state;
	snprintf(d->sandbox, sizeof(d->sandbox), "s");
	d->order_fd = -1;
	d->listen_fd = listen_somewhere();
	take_away(d->listen_fd);
	wait_for_the_end(d, 2);
	assert_int_equal(looks, 3);
	assert_in_range(opened, 1, 3);          /* another one, for the source may still dial, and not all the time */
	assert_true(d->listen_fd >= 0);
	assert_true(cpu_seconds() - before < 0.5);
	close(d->listen_fd);
	free(d);
}

static void test_pod_gone(void **state)
{
	struct destination *d = calloc(1, sizeof(*d));

	(void)state;
	snprintf(d->sandbox, sizeof(d->sandbox), "s");
	d->order_fd = -1;
	d->listen_fd = listen_somewhere();
	wait_for_the_end(d, 0);
	assert_int_equal(opened, 0);
	close(d->listen_fd);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listener_taken_away),
		cmocka_unit_test(test_pod_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
