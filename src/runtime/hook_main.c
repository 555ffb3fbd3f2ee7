/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hook.h"

static int tell(const char *path, const char *word, bool wait)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char answer[16] = "";

	if (fd < 0 || strlen(path) >= sizeof(to.sun_path))
		return 1;
	memcpy(to.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || send(fd, word, strlen(word), MSG_NOSIGNAL) < 0)
		return 1;
	if (!wait)
		return 0;
	while (recv(fd, answer, sizeof(answer) - 1, 0) < 0)
		if (errno != EINTR)
			return 1;
	return strcmp(answer, HOOK_OPEN) ? 1 : 0;
}

/*
 * podmigration-hook: CRIU runs it at every stage of a restore (action-script, criu(8)), while the application stands still, hence a program of its own that is
 * static and does next to nothing.  At post-restore everything is there and nothing runs: the place to wait for the commit; a status other than 0 makes
 * CRIU kill what it restored.  At post-resume the processes run.
 */
int main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *path = getenv(HOOK_ENV);

	if (!action || !path)
		return 0;
	if (!strcmp(action, "post-restore"))
		return tell(path, HOOK_BARRIER, true);
	if (!strcmp(action, "post-resume"))
		tell(path, HOOK_RESUMED, false);
	return 0;
}
