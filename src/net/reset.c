/* SPDX-License-Identifier: Apache-2.0 */
#include "net/reset.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "diag.h"

/* sock_diag(7): a list of sockets by SOCK_DIAG_BY_FAMILY, the end of one by SOCK_DESTROY (kernel 4.5). */

#define STATE_TIME_WAIT 6               /* include/net/tcp_states.h; nobody waits for these */
#define STATE_LISTEN 10
#define SOCKETS_MAX 65536               /* of one pass: each reads the whole list */
#define PASSES 8                        /* a child of a listener may come into the list while it is read */

struct job {
	int netns_fd, result;
	bool listened;
	size_t n;
	struct inet_diag_msg found[SOCKETS_MAX];
};

/* More than fit are for the next pass. */
static int remember(void *ctx, const struct inet_diag_msg *m)
{
	struct job *j = ctx;

	if (j->n < SOCKETS_MAX)
		j->found[j->n++] = *m;
	return 0;
}

/* A socket that has ended in between is no failure. */
static int destroy(int fd, const struct inet_diag_msg *m)
{
	struct inet_diag_req_v2 one = { .sdiag_family = m->idiag_family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u, .id = m->id };
	int r;

	/* Of several that listen on one port (SO_REUSEPORT) the kernel finds any: whichever it is, it is due. */
	if (m->idiag_state == STATE_LISTEN)
		one.id.idiag_cookie[0] = one.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	r = diag_ask(fd, SOCK_DESTROY, NLM_F_ACK, &one);
	if (r == 0)
		r = diag_answer(fd);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* How many were ended. */
static int pass(struct job *j, int fd, unsigned states)
{
	int ended = 0, r;

	j->n = 0;
	r = diag_tcp(fd, states, remember, j);
	for (size_t i = 0; r >= 0 && i < j->n; i++) {
		r = destroy(fd, &j->found[i]);
		ended += r > 0;
	}
	return r < 0 ? r : ended;
}

/* Until there are none: a pass that was full says nothing of what is left. */
static int end_all(struct job *j, int fd, unsigned states)
{
	int ended = 0, n = 1;

	for (int passes = 0; passes < PASSES && n > 0; passes += j->n < SOCKETS_MAX) {
		n = pass(j, fd, states);
		ended += n > 0 ? n : 0;
	}
	return n < 0 ? n : ended;
}

/* In a thread of its own: a network namespace belongs to a thread. */
static void *reset_in_netns(void *arg)
{
	struct job *j = arg;
	cleanup_close int fd = setns(j->netns_fd, CLONE_NEWNET) < 0 ? -errno : diag_open();
	int listening, others;

	/* Listening ones first, so that nothing new comes. */
	listening = fd < 0 ? fd : end_all(j, fd, 1u << STATE_LISTEN);
	others = listening < 0 ? listening : end_all(j, fd, ~(1u << STATE_TIME_WAIT));
	j->listened = listening > 0;
	j->result = others < 0 ? others : listening + others;
	return NULL;
}

int tcp_reset_all(int netns_fd, bool *ret_listened, struct error *err)
{
	cleanup_free struct job *j = calloc(1, sizeof(*j));
	pthread_t thread;
	int r;

	if (!j)
		return error_set(err, -ENOMEM, "out of memory");
	j->netns_fd = netns_fd;
	r = pthread_create(&thread, NULL, reset_in_netns, j);
	if (r)
		return error_set(err, -r, "cannot start a thread");
	pthread_join(thread, NULL);
	*ret_listened = j->listened;
	return j->result < 0 ? error_set(err, j->result, "end the pod's connections: %s", strerror(-j->result)) : j->result;
}

#define SNMP_MAX 65536
#define SNMP_TCP "\nTcp: "

/* The number below the name in two lines of /proc/PID/net/snmp, of which the first has the names and the second the numbers (proc_pid_net(5)). */
static int snmp_tcp(const char *text, const char *name, uint64_t *ret)
{
	const char *names = strstr(text, SNMP_TCP), *numbers = names ? strstr(names + 1, SNMP_TCP) : NULL;
	size_t len = strlen(name);
	char *end;

	if (!numbers)
		return -EBADMSG;
	names += sizeof(SNMP_TCP) - 1;
	numbers += sizeof(SNMP_TCP) - 1;
	while (strncmp(names, name, len) || !strchr(" \n", names[len])) {
		names += strcspn(names, " \n");
		numbers += strcspn(numbers, " \n");
		if (*names++ != ' ' || *numbers++ != ' ')
			return -EBADMSG;
	}
	errno = 0;
	*ret = strtoull(numbers, &end, 10);
	return end == numbers || errno ? -EBADMSG : 0;
}

int tcp_resets_sent(pid_t pid, uint64_t *ret, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(SNMP_MAX);
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/net/snmp", pid);
	r = file_read(AT_FDCWD, path, &text, err);
	if (r == 0 && snmp_tcp(text.data, "OutRsts", ret) < 0)
		r = error_set(err, -EBADMSG, "%s has no Tcp: OutRsts", path);
	return r;
}
