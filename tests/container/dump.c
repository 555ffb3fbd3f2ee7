/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

bool dump_start(struct dump *d, const struct place *at, const struct box *b, struct error *err)
{
	char images[400], work[400];

	*d = (struct dump){ .runc = b->runc };
	snprintf(d->here, sizeof(d->here), "%s%s/dump-%s", at->here, at->base, b->id);
	snprintf(d->images_here, sizeof(d->images_here), "%s/images", d->here);
	snprintf(work, sizeof(work), "%s/work", d->here);
	snprintf(images, sizeof(images), "%s", d->images_here + strlen(at->here));
	snprintf(d->work, sizeof(d->work), "%s", work + strlen(at->here));
	if (tree_remove(AT_FDCWD, d->here, err) < 0 || dir_make(AT_FDCWD, d->images_here, 0700, err) < 0 ||
	    dir_make(AT_FDCWD, work, 0700, err) < 0 || runc_private_netns(&d->runc.netns_fd, err) < 0 ||
	    runc_dump_start(&d->runc, b->id, b->pid, images, d->work, 7118, &d->dump, err) < 0) {
		printf("# %s\n", err->message);
		return false;
	}
	return true;
}

bool dump_go(struct dump *d, struct error *err)
{
	if (runc_dump_wait_gate(&d->dump, clock_mono_us() + 60000000, err) == 0 && runc_dump_go(&d->dump, err) == 0)
		return true;
	printf("# %s\n", err->message);
	return false;
}

void dump_end(struct dump *d)
{
	if (d->runc.netns_fd >= 0)
		close(d->runc.netns_fd);
	tree_remove(AT_FDCWD, d->here, NULL);
}

/* The dump's processes, and only they, are in its private network namespace: a mark the library does not use. */
int dump_processes_left(const struct dump *d)
{
	DIR *dir = opendir("/proc");
	struct stat ours, other;
	struct dirent *e;
	char path[300];
	int n = 0;

	if (!dir || fstat(d->runc.netns_fd, &ours) < 0)
		return -1;
	while ((e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/ns/net", e->d_name);
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && stat(path, &other) == 0 && other.st_ino == ours.st_ino)
			n++;
	}
	closedir(dir);
	return n;
}

bool dump_traced(pid_t pid)
{
	struct buf b = BUF_INIT(65536);
	char path[64];
	bool traced;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	traced = file_read(AT_FDCWD, path, &b, NULL) < 0 || !strstr(b.data, "\nTracerPid:\t0\n");
	buf_free(&b);
	return traced;
}
