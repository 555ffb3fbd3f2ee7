/* SPDX-License-Identifier: Apache-2.0 */
#include "pass_fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
	struct cmsghdr head;
	char space[CMSG_SPACE(sizeof(int))];
};

int pass_fd_send(int socket, int fd)
{
	union control control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd)) } };
	char byte = 'f';
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space) };

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	return sendmsg(socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int pass_fds_receive(int socket, void *data, size_t size, int flags, int *fds, int max, ssize_t *ret_len)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(PASS_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { data, size };
	/* CMSG_LEN: into the padding that CMSG_SPACE adds the kernel would put one more (net/core/scm.c, scm_max_fds). */
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_LEN((size_t)max * sizeof(int)) };
	struct cmsghdr *c;
	size_t len;

	do
		*ret_len = recvmsg(socket, &m, MSG_CMSG_CLOEXEC | flags);
	while (*ret_len < 0 && errno == EINTR);
	c = *ret_len > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	len = c->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(c), len);
	return (int)(len / sizeof(int));
}

int pass_fd_receive(int socket)
{
	int fd = -1, n;
	ssize_t len;
	char byte;

	n = pass_fds_receive(socket, &byte, 1, 0, &fd, 1, &len);
	if (len <= 0)
		return len < 0 ? -errno : -ECONNRESET;
	return n == 1 ? fd : -EBADMSG;
}
