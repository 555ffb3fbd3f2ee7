/* SPDX-License-Identifier: Apache-2.0 */
#include "container/mounts_below.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define MOUNTINFO_MAX (4u << 20)

struct job {
	pid_t host_pid;
	const char *folder;
	char *mounts;                   /* the node's, proc_pid_mountinfo(5) */
	struct error *err;
	int result;
};

/* The fifth column of "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue", when it lies below the folder. */
static bool is_below(char *line, const char *folder, const char **ret)
{
	size_t len = strlen(folder);
	char *p = line;

	for (int column = 0; column < 4; column++) {
		p += strcspn(p, " ");
		p += *p == ' ';
	}
	p[strcspn(p, " ")] = '\0';
	*ret = p;
	/* Names with blanks are written with escapes; there are none in our folders. */
	return strncmp(p, folder, len) == 0 && p[len] == '/' && !strchr(p, '\\');
}

/* The upper one takes those below it along: EINVAL, ENOENT. */
static int detach_all(struct job *j)
{
	int r = 0;

	for (char *line = j->mounts, *end; *line; line = end) {
		const char *at;

		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		if (is_below(line, j->folder, &at) && umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT && r == 0)
			r = error_errno(j->err, "detach %s", at);
	}
	return r;
}

/* A mount can be detached only from within the mount namespace that has it.  The root of one that a process has changed its root in is that process's. */
static int enter(pid_t host_pid, struct error *err)
{
	cleanup_close int root = -1, ns = -1;
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/root", (int)host_pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	path_format(path, sizeof(path), "/proc/%d/ns/mnt", (int)host_pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (root < 0 || ns < 0)
		return error_errno(err, "open the node's root and mount namespace");
	if (unshare(CLONE_FS) < 0 || setns(ns, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0)
		return error_errno(err, "enter the node's mount namespace");
	return 0;
}

/* By a thread: the mount namespace and the root are this one's alone, and end with it. */
static void *detach_main(void *arg)
{
	struct job *j = arg;

	j->result = j->host_pid > 0 ? enter(j->host_pid, j->err) : 0;
	if (j->result == 0)
		j->result = detach_all(j);
	return NULL;
}

int mounts_below_detach(pid_t host_pid, const char *folder, struct error *err)
{
	cleanup_buf struct buf mounts = BUF_INIT(MOUNTINFO_MAX);
	struct job j = { .host_pid = host_pid, .folder = folder, .err = err };
	char path[64];
	pthread_t t;
	int r;

	path_format(path, sizeof(path), host_pid > 0 ? "/proc/%d/mountinfo" : "/proc/self/mountinfo", (int)host_pid);
	r = file_read(AT_FDCWD, path, &mounts, err);
	if (r < 0)
		return r;
	j.mounts = mounts.data;
	errno = pthread_create(&t, NULL, detach_main, &j);
	if (errno)
		return error_errno(err, "start a thread");
	pthread_join(t, NULL);
	return j.result;
}
