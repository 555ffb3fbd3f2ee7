/* SPDX-License-Identifier: Apache-2.0 */
#include "container/cgroup_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroup_mount.h"
#include "cgroup_ns.h"
#include "migration/names.h"
#include "node.h"

#define NOTE "cgroup2-options"
#define MOUNTINFO_MAX (4u << 20)

/* Documentation/admin-guide/cgroup-v2.rst, "Mounting"; others are not touched. */
static const char *const known[] = {
	"nsdelegate",	       "favordynmods",		    "memory_localevents",
	"memory_recursiveprot", "memory_hugetlb_accounting", "pids_localevents",
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static bool has_option(const char *options, const char *name)
{
	for (const char *p = options; *p; p += p[strcspn(p, ",")] ? strcspn(p, ",") + 1 : strlen(p))
		if (strcspn(p, ",") == strlen(name) && !strncmp(p, name, strlen(name)))
			return true;
	return false;
}

unsigned int cgroup_options_mask(const char *options)
{
	unsigned int mask = 0;

	for (size_t i = 0; i < N_KNOWN; i++)
		mask |= has_option(options, known[i]) ? 1u << i : 0;
	return mask;
}

/* proc_pid_mountinfo(5): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue". */
bool cgroup_mount_parse(const char *line, char *path, size_t size, unsigned int *ret_mask)
{
	const char *p = line, *tail = strstr(line, " - cgroup2 ");
	size_t n;

	if (!tail)
		return false;
	for (int column = 0; column < 4; column++) {
		p += strcspn(p, " ");
		p += *p == ' ';
	}
	n = strcspn(p, " ");
	/* A mount point with blanks is written with escapes; no node mounts cgroup2 on one. */
	if (p >= tail || memchr(p, '\\', n) || path_format(path, size, "%.*s", (int)n, p) < 0)
		return false;
	tail += strlen(" - cgroup2 ");
	tail += strcspn(tail, " ");
	tail += *tail == ' ';
	*ret_mask = cgroup_options_mask(tail);
	return true;
}

/* The node's first cgroup2 mount: 1, or 0 when it has none. */
static int find_mount(pid_t host_pid, char *path, size_t size, unsigned int *ret_mask, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(MOUNTINFO_MAX);
	char file[64];
	int r;

	path_format(file, sizeof(file), host_pid > 0 ? "/proc/%d/mountinfo" : "/proc/self/mountinfo", host_pid);
	r = file_read(AT_FDCWD, file, &text, err);
	if (r < 0)
		return r;
	for (char *line = text.data, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		if (cgroup_mount_parse(line, path, size, ret_mask))
			return 1;
	}
	return 0;
}

static int note_path(pid_t host_pid, const char *name, char *out, size_t size, struct error *err)
{
	char path[256];

	if (path_format(path, sizeof(path), "%s/%s", PM_RUN_DIR, name) < 0 || node_path(host_pid, path, out, size) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the run folder is too long");
	return 0;
}

static int write_note(pid_t host_pid, unsigned int mask, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(1024);
	char dir[320], tmp[320], note[320], unique[64];
	int r;

	for (size_t i = 0; i < N_KNOWN; i++)
		if (mask & 1u << i && buf_printf(&text, "%s%s", text.len ? "," : "", known[i]) < 0)
			return error_set(err, -ENOMEM, "out of memory");
	path_format(unique, sizeof(unique), "%s.%d", NOTE, getpid());
	r = note_path(host_pid, "", dir, sizeof(dir), err);
	if (r == 0)
		r = note_path(host_pid, unique, tmp, sizeof(tmp), err);
	if (r == 0)
		r = note_path(host_pid, NOTE, note, sizeof(note), err);
	if (r == 0)
		r = dir_make(AT_FDCWD, dir, 0700, err);
	if (r == 0)
		r = file_write(AT_FDCWD, tmp, text.len ? text.data : "", text.len, 0600, false, err);
	if (r < 0)
		return r;
	/* link fails when a note is there, whole: the first one counts, for later ones may be of a node that CRIU has been on. */
	if (link(tmp, note) < 0 && errno != EEXIST)
		r = error_errno(err, "note the cgroup options");
	unlink(tmp);
	return r;
}

int cgroup_options_keep(pid_t host_pid, struct error *err)
{
	char path[1024];
	unsigned int mask = 0;
	int r = find_mount(host_pid, path, sizeof(path), &mask, err);

	return r <= 0 ? r : write_note(host_pid, mask, err);
}

struct setting {
	const char *path;       /* of the mount, as seen from here */
	unsigned int mask;
	struct error *err;
};

/*
 * fspick works on the file system, not on the mount, so neither its mount namespace nor the mount's own flags matter.  All options
 * are given: a reconfiguration drops those that are not, and it counts only in the first cgroup namespace (kernel/cgroup/cgroup.c,
 * apply_cgroup_root_flags).
 */
static int reconfigure(void *ctx)
{
	struct setting *s = ctx;
	cleanup_close int fd = fspick(AT_FDCWD, s->path, FSPICK_CLOEXEC);

	if (fd < 0)
		return error_errno(s->err, "open the cgroup2 file system %s", s->path);
	for (size_t i = 0; i < N_KNOWN; i++)
		if (s->mask & 1u << i && fsconfig(fd, FSCONFIG_SET_FLAG, known[i], NULL, 0) < 0)
			return error_errno(s->err, "set the cgroup2 option %s", known[i]);
	if (fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return error_errno(s->err, "set the cgroup2 options of %s", s->path);
	return 0;
}

int cgroup_options_restore(pid_t host_pid, struct error *err)
{
	cleanup_buf struct buf noted = BUF_INIT(1024);
	char note[320], path[1024], here[1100];
	unsigned int now = 0, wanted;
	int r = note_path(host_pid, NOTE, note, sizeof(note), err);

	if (r < 0)
		return r;
	r = file_read(AT_FDCWD, note, &noted, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	wanted = cgroup_options_mask(noted.data);
	r = find_mount(host_pid, path, sizeof(path), &now, err);
	if (r <= 0 || (wanted & ~now) == 0)
		return r < 0 ? r : 0;
	if (node_path(host_pid, path, here, sizeof(here)) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the cgroup2 mount is too long");
	return cgroup_ns_run(reconfigure, &(struct setting){ here, wanted | now, err }, err);
}
