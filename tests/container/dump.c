/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

bool dump_start(struct dump *d, const char *base, const struct box *b, struct error *err)
{
	*d = (struct dump){ .runc = b->runc };
	snprintf(d->dir, sizeof(d->dir), "%s/dump-%s", base, b->id);
	snprintf(d->images, sizeof(d->images), "%s/images", d->dir);
	snprintf(d->work, sizeof(d->work), "%s/work", d->dir);
	if (tree_remove(AT_FDCWD, d->dir, err) < 0 || dir_make(AT_FDCWD, d->images, 0700, err) < 0 ||
	    dir_make(AT_FDCWD, d->work, 0700, err) < 0 || runc_private_netns(&d->runc.netns_fd, err) < 0 ||
	    runc_dump_start(&d->runc, b->id, d->images, d->work, 7118, &d->dump, err) < 0) {
		printf("# %s\n", err->message);
		return false;
	}
	return true;
}

void dump_end(struct dump *d)
{
	if (d->runc.netns_fd >= 0)
		close(d->runc.netns_fd);
	tree_remove(AT_FDCWD, d->dir, NULL);
}

static bool is_runc_or_criu(const char *pid)
{
	struct buf comm = BUF_INIT(64), cmdline = BUF_INIT(65536);
	char path[300];
	bool yes = false;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	if (file_read(AT_FDCWD, path, &comm, NULL) == 0)
		yes = !strncmp(comm.data, "runc", 4) || !strncmp(comm.data, "criu", 4);
	/* A shim's or a zombie's name is no proof. */
	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	if (yes && (file_read(AT_FDCWD, path, &cmdline, NULL) < 0 || cmdline.len == 0))
		yes = false;
	buf_free(&comm);
	buf_free(&cmdline);
	return yes;
}

int dump_processes_left(const struct dump *d)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	struct error err;
	int n = runc_dump_kill_left(&d->runc, d->work, &err);

	while ((e = readdir(dir)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_runc_or_criu(e->d_name)) {
			printf("# process %s is left\n", e->d_name);
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
