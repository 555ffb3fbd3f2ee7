/* SPDX-License-Identifier: Apache-2.0 */
#include "hook.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

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
 * criu(8), action scripts.  At post-restore everything is there and nothing runs: the place to wait for the commit; a status other than 0 makes CRIU kill
 * what it restored (also when there is no monitor to ask).  At post-resume the processes run, tens of milliseconds before runc ends.  Two more stages
 * lie between the two, while the application stands still: they must cost nothing.
 */
int hook_main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *dir = getenv(HOOK_ENV);
	bool barrier = action && !strcmp(action, "post-restore");
	cleanup_close int fd = -1;

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
