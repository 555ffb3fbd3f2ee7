/* SPDX-License-Identifier: Apache-2.0 */
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/gate.h"

static int connect_monitor(const char *dir)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = HOOK_SOCKET };
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	/* From inside the folder, since a socket's path ends at 107 bytes. */
	if (fd < 0 || chdir(dir) < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -1;
	return take_fd(&fd);
}

static bool tell(int fd, const char *word)
{
	const char *pid = getenv("CRTOOLS_INIT_PID");
	char packet[HOOK_PACKET_MAX];
	int n = snprintf(packet, sizeof(packet), "%s %s", word, pid ? pid : "0");

	return n > 0 && n < (int)sizeof(packet) && send(fd, packet, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool wait_open(int fd)
{
	char answer[HOOK_PACKET_MAX];
	ssize_t n;

	do
		n = recv(fd, answer, sizeof(answer) - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	answer[n] = '\0';
	return !strcmp(answer, HOOK_OPEN);
}

/*
 * Never opens a pipe in a way that waits: when whoever opens the gate has gone, there is nobody to wait for.  The reader's end of GATE_WORD is opened
 * before GATE_HERE is written, so that the word finds us.
 */
static int wait_at_gate(const char *dir)
{
	struct pollfd p = { .fd = -1, .events = POLLIN };
	cleanup_close int here = -1, word = -1;
	char c = GATE_NO;

	if (chdir(dir) < 0)
		return 1;
	word = open(GATE_WORD, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	here = word < 0 ? -1 : open(GATE_HERE, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (here < 0 || write(here, "h", 1) != 1)
		return 1;
	p.fd = word;
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	return read(word, &c, 1) == 1 && c == GATE_GO ? 0 : 1;
}

/*
 * criu(8), action scripts.  At pre-dump, before CRIU looks at anything, a dump waits for the freeze (base/gate.h).  At post-restore everything is there and nothing runs: the place to wait for the commit; a status other than 0 makes CRIU kill
 * what it restored (also when there is no monitor to ask).  At post-resume the processes run, tens of milliseconds before runc ends.  Two more stages
 * lie between the two, while the application stands still: they must cost nothing.
 */
int hook_main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *dir = getenv(HOOK_ENV), *gate = getenv(GATE_ENV);
	bool barrier = action && !strcmp(action, "post-restore");
	cleanup_close int fd = -1;

	if (gate)
		return action && !strcmp(action, "pre-dump") ? wait_at_gate(gate) : 0;
	if (!barrier && (!action || strcmp(action, "post-resume")))
		return 0;
	fd = dir ? connect_monitor(dir) : -1;
	if (!barrier) {
		/* Too late to fail; the monitor hears of it from runc. */
		tell(fd, HOOK_RESUMED);
		return 0;
	}
	return fd >= 0 && tell(fd, HOOK_BARRIER) && wait_open(fd) ? 0 : 1;
}
