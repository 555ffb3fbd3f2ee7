/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/file.h"

#include "agent/destination_listen.c"
#include "agent/host_path.c"
#include "agent/monitors.c"

/* What a destination that waits does when its listener is ended under it. */

static char root[] = "/tmp/pm-listen-XXXXXX";
static struct agent_options options = { .host_root = root };

int protocol_choose(const cJSON *hello, int *ret, struct error *err)
{
	(void)hello;
	(void)ret;
	return error_set(err, -EPROTO, "nobody speaks here");
}

bool order_is_commit(const struct agent_options *o, const struct monitor_info *info)
{
	(void)o;
	(void)info;
	return false;
}

int destination_take_hello(struct destination *d, struct error *err)
{
	(void)d;
	return error_set(err, -EPROTO, "nobody speaks here");
}

bool destination_lacks(const struct destination *d)
{
	(void)d;
	return false;
}

void destination_take_waiting(struct destination *d)
{
	(void)d;
}

void destination_drop_parts(struct destination *d)
{
	(void)d;
}

void destination_give_receipt(struct destination *d)
{
	(void)d;
}

/* The pod has gone as well: it is seen at the next look, and until then nothing turns round and round. */
static void test_ended_listener(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct destination d = { .o = &options, .listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .sandbox = "s" };
	struct itimerval cpu = { .it_value.tv_usec = 300000 };
	char path[256];

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s" PM_RUN_DIR "/" MONITOR_CONTAINERS_DIR, root);
	assert_int_equal(dir_make(AT_FDCWD, path, 0700, NULL), 0);
	assert_int_equal(bind(d.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(d.listen_fd, 1), 0);
	shutdown(d.listen_fd, SHUT_RDWR);
	/* of processor time: it is to wait, not to spin */
	setitimer(ITIMER_PROF, &cpu, NULL);
	assert_int_equal(destination_listen_again(&d), INPUT_PodGone);
	assert_int_equal(d.listen_fd, -1);
	tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ended_listener) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
