/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define criu_version played_criu
#define containerd_open played_containerd
#define containerd_version played_containerd_version
#define cri_runtime played_runtime
#define kube_watch_synced played_synced
#define kube_watch_status played_status
#include "agent/health.c"

/* What /readyz says, of a node of which all is played. */

static struct {
	int criu;
	bool synced;
	const char *why;
} node;

int played_criu(pid_t host_pid, int *ret_version, char *text, size_t size, struct error *err)
{
	(void)host_pid;
	(void)ret_version;
	(void)text;
	(void)size;
	return node.criu < 0 ? error_set(err, node.criu, "no criu") : 0;
}

int played_containerd(const char *socket, struct containerd **ret, struct error *err)
{
	(void)socket;
	(void)err;
	*ret = NULL;
	return 0;
}

int played_containerd_version(struct containerd *c, char *text, size_t size, struct error *err)
{
	(void)c;
	(void)text;
	(void)size;
	(void)err;
	return 0;
}

int played_runtime(const char *socket, const char *handler, struct cri_runtime *ret, struct error *err)
{
	(void)socket;
	(void)handler;
	(void)ret;
	(void)err;
	return 0;
}

bool played_synced(const struct kube_watch *w)
{
	(void)w;
	return node.synced;
}

void played_status(const struct kube_watch *w, char *out, size_t size)
{
	(void)w;
	snprintf(out, size, "%s", node.why);
}

static void assert_says(int status, const char *line, struct kube_watch *watch)
{
	static const struct agent_options options = { .host_root = "/host", .containerd_socket = "/run/c.sock" };
	struct health h = { .o = &options, .watch = watch };
	struct buf body = BUF_INIT(4096);
	const char *type;

	assert_int_equal(handle(&h, "/readyz", "", &body, &type), status);
	if (!strstr(body.data, line))
		fail_msg("\"%s\" is not in:\n%s", line, body.data);
	buf_free(&body);
}

static void it_tells_what_is_missing(void **state)
{
	struct kube_watch *some = (struct kube_watch *)(uintptr_t)&node;

	(void)state;
	node.synced = true;
	node.why = "";
	assert_says(200, "[+] criu ok\n", some);
	assert_says(200, "[+] watch of PodMigrations ok\n", some);
	node.criu = -ENOENT;
	assert_says(503, "[-] criu failed: no criu\n", some);
	node.criu = 0;
}

/* For who asks why "no agent has reported"; the node is fit all the same. */
static void it_tells_of_a_watch_that_hears_nothing(void **state)
{
	struct kube_watch *some = (struct kube_watch *)(uintptr_t)&node;

	(void)state;
	node.synced = false;
	node.why = "";
	assert_says(200, "[!] watch of PodMigrations: not synced\n", some);
	node.why = "GET /apis/podmigration.dev/v1alpha1/podmigrations: HTTP 403";
	assert_says(200, "[!] watch of PodMigrations: GET /apis/podmigration.dev/v1alpha1/podmigrations: HTTP 403\n", some);
	node.synced = true;
	assert_says(200, "[!] watch of PodMigrations: GET", some);
	assert_says(200, "[!] watch of PodMigrations: it has not begun: another agent works on this node\n", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_tells_what_is_missing),
		cmocka_unit_test(it_tells_of_a_watch_that_hears_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
