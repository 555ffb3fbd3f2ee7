/* SPDX-License-Identifier: Apache-2.0 */
#include "monitors.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "migration/reason.h"
#include "runtime/monitor.h"

#define INFO_MAX 262144
#define CLAIM_MAX 4096
#define PATIENCE_S 2            /* for one that is stopped, and whose queue is full: it takes nothing more, and would be waited for without end */

struct monitor {
	int fd;
	bool filled;                    /* all memory is in place */
	int64_t pages, micros;
	char state[16];
};

static int parse_info(const cJSON *j, struct monitor_info *m)
{
	if (text_copy(m->id, sizeof(m->id), json_str(j, "id")) < 0 || text_copy(m->name, sizeof(m->name), json_str(j, "name")) < 0 ||
	    text_copy(m->sandbox, sizeof(m->sandbox), json_str(j, "sandbox")) < 0 ||
	    text_copy(m->migration, sizeof(m->migration), json_str(j, "migration")) < 0 ||
	    text_copy(m->pod_ns, sizeof(m->pod_ns), json_str(j, "pod/namespace")) < 0 ||
	    text_copy(m->pod_name, sizeof(m->pod_name), json_str(j, "pod/name")) < 0 ||
	    text_copy(m->pod_uid, sizeof(m->pod_uid), json_str(j, "pod/uid")) < 0 ||
	    text_copy(m->bundle, sizeof(m->bundle), json_str(j, "bundle")) < 0 ||
	    text_copy(m->cgroup, sizeof(m->cgroup), json_str_or(j, "cgroup", "")) < 0 ||
	    text_copy(m->netns, sizeof(m->netns), json_str_or(j, "netns", "")) < 0 ||
	    text_copy(m->key_dir, sizeof(m->key_dir), json_str_or(j, "keyDir", "")) < 0 ||
	    text_copy(m->order_dir, sizeof(m->order_dir), json_str_or(j, "orderDir", "")) < 0)
		return -EINVAL;
	return 0;
}

static int read_member(int containers_fd, const char *id, const char *name, struct buf *b)
{
	char path[512];

	return path_format(path, sizeof(path), "%s/%s", id, name) < 0 ? -EINVAL : file_read(containers_fd, path, b, NULL);
}

static int read_info(int containers_fd, const char *id, struct monitor_info *m)
{
	cleanup_buf struct buf info = BUF_INIT(INFO_MAX), state = BUF_INIT(64);
	cleanup_json cJSON *j = NULL;
	int r = read_member(containers_fd, id, MONITOR_INFO, &info);

	if (r == 0)
		r = read_member(containers_fd, id, MONITOR_STATE, &state);
	if (r < 0)
		return r;
	if (json_parse(info.data, info.len, INFO_MAX, &j, NULL) < 0 || parse_info(j, m) < 0 || strcmp(m->id, id))
		return -EINVAL;
	snprintf(m->state, sizeof(m->state), "%.*s", (int)strcspn(state.data, "\r\n"), state.data);
	return 0;
}

/* Nothing is known of it then: whoever takes it for gone gives up a pod that is there. */
static bool lacks_means(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO;
}

static int open_containers(const struct agent_options *o)
{
	char path[4096];

	if (agent_host_path(o, path, sizeof(path), "%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR) < 0)
		return -ENAMETOOLONG;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int monitors_list(const struct agent_options *o, struct monitor_info *ret, int max, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	int fd = open_containers(o), n = 0;
	struct dirent *e;

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "open the folder of waiting containers");
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	while (n < max && (e = readdir(d))) {
		struct monitor_info m = { 0 };
		int r = e->d_name[0] == '.' ? -EINVAL : read_info(fd, e->d_name, &m);

		if (lacks_means(r))
			return error_set(err, r, "look at waiting container %s: %s", e->d_name, strerror(-r));
		if (r == 0)
			ret[n++] = m;
	}
	return n;
}

int monitor_key(const struct agent_options *o, const struct monitor_info *m, uint8_t key[PM_KEY_SIZE], struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(PM_KEY_SIZE);
	char path[4096];
	int r;

	if (!m->key_dir[0] || agent_host_path(o, path, sizeof(path), "%s/key", m->key_dir) < 0)
		return error_set(err, -ENOENT, "pod %s/%s has no key volume", m->pod_ns, m->pod_name);
	r = file_read(AT_FDCWD, path, &b, err);
	if (r < 0)
		return error_wrap(err, r, "key of the migration");
	if (b.len != PM_KEY_SIZE)
		return error_reason(err, -EINVAL, REASON_AuthenticationFailed, "the key of pod %s/%s is not %d bytes", m->pod_ns,
				    m->pod_name, PM_KEY_SIZE);
	memcpy(key, b.data, PM_KEY_SIZE);
	explicit_bzero(b.data, b.len);
	return 0;
}

enum monitor_claim monitor_claim(const struct agent_options *o, const char *pod_uid, const char *name)
{
	cleanup_buf struct buf b = BUF_INIT(CLAIM_MAX);
	char path[4096];
	size_t len;

	if (!name_is_safe(pod_uid) || !name_is_safe(name) ||
	    agent_host_path(o, path, sizeof(path), "%s/claims/%s_%s", PM_STATE_DIR, pod_uid, name) < 0 || file_read(AT_FDCWD, path, &b, NULL) < 0)
		return MONITOR_UNCLAIMED;
	len = strcspn(b.data, "\n");
	if (len == 6 && !strncmp(b.data, "opened", 6))
		return MONITOR_RAN;
	return len == 4 && !strncmp(b.data, "used", 4) ? MONITOR_USED : MONITOR_OPENED;
}

/* A blocking socket with SO_SNDTIMEO says EAGAIN of connect(2) and send(2) alike, when there was no room for so long (net/unix/af_unix.c). */
static int no_answer(int e)
{
	return e == EAGAIN ? -ETIMEDOUT : -e;
}

/* Socket paths end at 107 bytes; through /proc/self/fd the folder's length does not matter. */
static int connect_in(int dir_fd)
{
	const struct timeval patience = { PATIENCE_S, 0 };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir_fd, MONITOR_SOCKET);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? no_answer(errno) : take_fd(&fd);
}

int monitor_connect(const struct agent_options *o, const char *id, struct monitor **ret, struct error *err)
{
	cleanup_close int containers = open_containers(o), dir = -1;
	struct monitor *m;
	int fd;

	if (containers < 0)
		return error_errno(err, "open the folder of waiting containers");
	if (!name_is_safe(id))
		return error_set(err, -ENOENT, "container %s is not waiting", id);
	dir = openat(containers, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = dir < 0 ? -errno : connect_in(dir);
	if (fd < 0)
		return error_set(err, fd, "connect to the monitor of container %s: %s", id, strerror(-fd));
	m = calloc(1, sizeof(*m));
	if (!m) {
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	m->fd = fd;
	*ret = m;
	return 0;
}

void monitor_close(struct monitor *m)
{
	if (!m)
		return;
	close(m->fd);
	free(m);
}

static int not_told(struct error *err)
{
	int r = no_answer(errno);

	return error_set(err, r, "tell the monitor: %s", strerror(-r));
}

static int send_json(struct monitor *m, const cJSON *j, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(MONITOR_PACKET_MAX);

	if (json_print(j, &b) < 0)
		return error_set(err, -EMSGSIZE, "a message to a monitor is too large");
	return send(m->fd, b.data, b.len, MSG_NOSIGNAL) < 0 ? not_told(err) : 0;
}

static int send_op(struct monitor *m, const char *op, struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "op", op);
	return send_json(m, j, err);
}

int monitor_restore(struct monitor *m, const char *images, const char *work, bool lazy, struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "op", "restore");
	cJSON_AddStringToObject(j, "images", images);
	cJSON_AddStringToObject(j, "work", work);
	cJSON_AddBoolToObject(j, "lazy", lazy);
	cJSON_AddBoolToObject(j, "connections", true);
	return send_json(m, j, err);
}

int monitor_go(struct monitor *m, int list, int store, int later, struct error *err)
{
	static const char op[] = "{\"op\":\"go\"}";
	const int fds[] = { list, store, later };
	size_t len = later < 0 ? sizeof(fds) - sizeof(fds[0]) : sizeof(fds);
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)op, sizeof(op) - 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (list >= 0) {
		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(len) };
		memcpy(CMSG_DATA(&control.head), fds, len);
		h.msg_control = control.space;
		h.msg_controllen = CMSG_SPACE(len);
	}
	return sendmsg(m->fd, &h, MSG_NOSIGNAL) < 0 ? not_told(err) : 0;
}

int monitor_open(struct monitor *m, struct error *err)
{
	return send_op(m, "open", err);
}

int monitor_abort(struct monitor *m, struct error *err)
{
	return send_op(m, "abort", err);
}

static int receive_state(struct monitor *m, int64_t deadline_us, struct error *err)
{
	struct pollfd f = { m->fd, POLLIN, 0 };
	int64_t left = deadline_us ? (deadline_us - clock_mono_us() + 999) / 1000 : -1;
	cleanup_json cJSON *j = NULL;
	char packet[MONITOR_PACKET_MAX];
	ssize_t n;
	int r = deadline_us && left <= 0 ? 0 : poll(&f, 1, (int)(left > 3600000 ? 3600000 : left));

	if (r < 0 && errno == EINTR)
		return 0;
	if (r == 0)
		return deadline_us && clock_mono_us() >= deadline_us ?
			       error_reason(err, -ETIMEDOUT, REASON_TimedOut, "the container did not come up in time") : 0;
	n = recv(m->fd, packet, sizeof(packet), 0);
	if (n <= 0)
		return error_reason(err, -EPIPE, REASON_DestinationLost, "the monitor of the container has ended");
	if (json_parse(packet, (size_t)n, sizeof(packet), &j, err) < 0)
		return error_wrap(err, -EPROTO, "message of the monitor");
	snprintf(m->state, sizeof(m->state), "%s", json_str_or(j, "state", ""));
	m->filled = m->filled || (json_int(j, "filled/pages", 0, INT64_MAX, &m->pages) == 0 && json_int(j, "filled/micros", 0, INT64_MAX, &m->micros) == 0);
	if (!strcmp(m->state, "failed"))
		return error_reason(err, -EIO, REASON_RestoreFailed, "%s", json_str_or(j, "error", "restore failed"));
	/* In any other state: what was asked for was refused, and will not come. */
	if (json_at(j, "error"))
		return error_reason(err, -EPROTO, REASON_InternalError, "the monitor of the container refused: %s", json_str_or(j, "error", ""));
	return 0;
}

int monitor_fd(const struct monitor *m)
{
	return m->fd;
}

int monitor_hear(struct monitor *m, struct error *err)
{
	return receive_state(m, 0, err);
}

bool monitor_filled(const struct monitor *m)
{
	return m->filled;
}

int monitor_look(struct monitor *m, struct error *err)
{
	struct pollfd f = { m->fd, POLLIN, 0 };
	int r = 0;

	while (r == 0 && poll(&f, 1, 0) > 0)
		r = receive_state(m, 0, err);
	return r;
}

int monitor_wait(struct monitor *m, const char *state, int64_t deadline_us, struct error *err)
{
	while (strcmp(m->state, state)) {
		int r = receive_state(m, deadline_us, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int monitor_wait_filled(struct monitor *m, int64_t deadline_us, int64_t *ret_pages, int64_t *ret_micros, struct error *err)
{
	while (!m->filled) {
		int r = receive_state(m, deadline_us, err);

		if (r < 0)
			return r;
	}
	*ret_pages = m->pages;
	*ret_micros = m->micros;
	return 0;
}
