/* SPDX-License-Identifier: Apache-2.0 */
/* What a monitor hears: packets of an agent, of CRIU and of runc.  First byte: the monitor's state.  Parts: first byte 'h': from CRIU; 'r': from runc; 'f': with three files. */
#include "migration/names.h"

/* No request finds a folder, so none starts runc. */
#undef PM_RUN_DIR
#define PM_RUN_DIR "/nonexistent"

#include "runtime/monitor_restore.c"

#include "fuzz.h"

#include <sys/mman.h>
#include <sys/socket.h>

static int file_fd;

/* The rest of a monitor, without its process, and without the node's claims. */
void monitor_enter(struct monitor *m, enum monitor_state s)
{
	m->state = s;
	agent_tell(m, NULL);
}

void monitor_fail(struct monitor *m, int exit_status)
{
	m->exit_status = exit_status;
	monitor_enter(m, STATE_FAILED);
}

void monitor_abort(struct monitor *m, int exit_status)
{
	must(!m->opened || m->state != STATE_RUNNING);
	m->aborting = true;
	monitor_fail(m, exit_status);
}

int claim_take(const struct claim_key *k, struct error *err)
{
	(void)k;
	(void)err;
	return 0;
}

int claim_opening(const struct claim_key *k, struct error *err)
{
	(void)k;
	(void)err;
	return 0;
}

int claim_opened(const struct claim_key *k, bool durable, struct error *err)
{
	(void)k;
	(void)durable;
	(void)err;
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	file_fd = memfd_create("given", MFD_CLOEXEC);
	must(file_fd >= 0);
	return 0;
}

/* What one end says comes to the other as it is, or with the folders added, or is kept; nothing else is done by it. */
static void from_peer(struct monitor *m, int from, int to, const uint8_t *p, size_t len)
{
	char passed[RELAY_MESSAGE_MAX];
	bool held = m->relay.held;
	ssize_t n;

	/* What was held may have been let go meanwhile, by the agent. */
	while (recv(to, passed, sizeof(passed), MSG_DONTWAIT) > 0)
		continue;
	if (len && m->relay.criu >= 0)
		must(send(from, p, len, MSG_NOSIGNAL) == (ssize_t)len);
	restore_relay(m);
	must(m->init == 0 || (m->init > 1 && m->init <= RECORD_PID_MAX));
	n = recv(to, passed, sizeof(passed), MSG_DONTWAIT);
	must(n <= 0 || (n >= (ssize_t)len && !memcmp(passed, p, len)));
	if (m->relay.held && !held)
		must(n <= 0 && m->relay.answer.len == len && !memcmp(m->relay.answer.data, p, len));
}

static void from_agent(struct monitor *m, int fd, const uint8_t *p, size_t len, bool files)
{
	const int fds[3] = { file_fd, file_fd, file_fd };
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (files) {
		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds)) };
		memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
		h.msg_control = control.space;
		h.msg_controllen = sizeof(control.space);
	}
	must(sendmsg(fd, &h, MSG_NOSIGNAL) == (ssize_t)len);
	agent_handle(m);
	/* Files that came along are taken or closed. */
	must(m->given[0] == -1 && m->given[1] == -1 && m->given[2] == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct monitor_spec spec = { .id = "c1", .root = "/r", .bundle = "/b", .claim = { "u", "n", "" }, .program_dir = "/nonexistent" };
	struct monitor m = { .spec = &spec, .signal_fd = -1, .listen_fd = -1, .relay_listen_fd = -1, .relay = RELAY_NONE, .filler = FILLER_NONE,
			     .guard = GUARD_NONE, .given = { -1, -1, -1 }, .gate_fd = -1, .init_fd = -1, .exit_status = -1 };
	struct parts in = { data + 1, size ? size - 1 : 0 };
	int pair[2], runc[2], criu[2];

	if (size == 0)
		return 0;
	m.state = (enum monitor_state)(data[0] % STATE_COUNT);
	m.opened = m.state == STATE_RUNNING || data[0] & 0x80;
	snprintf(m.dir, sizeof(m.dir), "%s", fuzz_dir);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	m.agent_fd = pair[0];
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, runc) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, criu) == 0);
	m.relay.runc = runc[0];
	m.relay.criu = criu[0];
	must((m.relay.images_fd = dup(file_fd)) >= 0 && (m.relay.work_fd = dup(file_fd)) >= 0);
	for (int i = 0; i < 6 && in.left && m.agent_fd >= 0; i++) {
		const uint8_t *part;
		size_t len = parts_next(&in, &part);

		if (len && part[0] == 'h')
			from_peer(&m, criu[1], runc[1], part + 1, len - 1);
		else if (len && part[0] == 'r')
			from_peer(&m, runc[1], criu[1], part + 1, len - 1);
		else if (len > 1)
			from_agent(&m, pair[1], part + 1, len - 1, part[0] == 'f');
	}
	must(m.state < STATE_COUNT && m.runc == 0);
	if (m.agent_fd >= 0)
		close(m.agent_fd);
	if (m.init_fd >= 0)
		close(m.init_fd);
	relay_close(&m.relay);
	close(runc[1]);
	close(criu[1]);
	close(pair[1]);
	return 0;
}
