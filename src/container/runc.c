/* SPDX-License-Identifier: Apache-2.0 */
#include "container/runc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "node.h"

#define STATE_MAX (4u << 20)
#define STATE_TIMEOUT_US 10000000

int node_path(pid_t host_pid, const char *path, char *out, size_t size)
{
	return host_pid > 0 ? path_format(out, size, "/proc/%d/root%s", host_pid, path) : path_format(out, size, "%s", path);
}

int runc_init_pid(const struct runc *r, const char *id, pid_t *ret, struct error *err)
{
	const char *argv[] = { "runc", "--root", r->root, "state", id, NULL };
	struct process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .host_root_pid = r->host_pid
	};
	cleanup_buf struct buf text = BUF_INIT(STATE_MAX);
	cleanup_json cJSON *state = NULL;
	int64_t pid;
	int e;

	if (!name_is_safe(id) || id[0] == '-')
		return error_set(err, -EINVAL, "not a container id");
	e = process_run(&spec, STATE_TIMEOUT_US, &text, err);
	if (e == 0)
		e = json_parse(text.data, text.len, STATE_MAX, &state, err);
	if (e < 0)
		return error_wrap(err, e, "runc state of %s", id);
	/* A container that has ended is still there with pid 0 until it is deleted. */
	if (json_int(state, "pid", 1, INT_MAX, &pid) < 0)
		return error_set(err, -ESRCH, "runc: container %s does not run (%s)", id,
				 json_str_or(state, "status", "no status"));
	*ret = (pid_t)pid;
	return 0;
}

struct netns_maker {
	int fd;
	struct error *err;
	int result;
};

static int lo_up(void)
{
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0)
		return -1;
	lo.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &lo);
}

/*
 * In a thread of its own: a network namespace belongs to a thread, and this one's dies with it while the fd keeps the namespace.
 */
static void *make_netns(void *ctx)
{
	struct netns_maker *m = ctx;

	if (unshare(CLONE_NEWNET) < 0 || lo_up() < 0)
		m->result = error_errno(m->err, "make a network namespace for CRIU");
	else if ((m->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
		m->result = error_errno(m->err, "open the network namespace for CRIU");
	return NULL;
}

int runc_private_netns(int *ret_fd, struct error *err)
{
	struct netns_maker m = { -1, err, 0 };
	pthread_t t;

	errno = pthread_create(&t, NULL, make_netns, &m);
	if (errno)
		return error_errno(err, "start a thread");
	pthread_join(t, NULL);
	if (m.result == 0)
		*ret_fd = m.fd;
	return m.result;
}
