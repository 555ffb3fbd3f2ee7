/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_mapped.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "direct_io.h"

/* A tick is at most 10 ms (CONFIG_HZ=100). */
#define MARGIN_NS 20000000
#define NUMBERS_MAX (1u << 20)
#define DELETED " (deleted)"

struct numbers {
	uint64_t *list;
	size_t n, room;
	size_t sorted;                  /* so many of them, the first ones, ascend, each of them once */
};

struct tree_mapped {
	int64_t began_ns;
	struct numbers inodes, names;   /* names by their hash: one too many does no harm */
	bool lost_one;                  /* a file of a container's own file system is mapped and has lost the name that it was mapped by */
};

int tree_mapped_new(struct tree_mapped **ret, struct error *err)
{
	struct tree_mapped *m = calloc(1, sizeof(*m));
	struct timespec now;

	if (!m)
		return error_set(err, -ENOMEM, "out of memory for mapped files");
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	m->began_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - MARGIN_NS;
	*ret = m;
	return 0;
}

void tree_mapped_free(struct tree_mapped *m)
{
	if (!m)
		return;
	free(m->inodes.list);
	free(m->names.list);
	free(m);
}

int64_t tree_mapped_began(const struct tree_mapped *m)
{
	return m->began_ns;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool has(const struct numbers *a, uint64_t v)
{
	return a->sorted && bsearch(&v, a->list, a->sorted, sizeof(v), by_value);
}

/* A pod's processes have much the same mapped: what others of them have is not put again. */
static int put(struct numbers *a, uint64_t v)
{
	if (has(a, v))
		return 0;
	if (a->n == a->room) {
		size_t room = a->room ? a->room * 2 : 64;
		uint64_t *more = room <= NUMBERS_MAX ? realloc(a->list, room * sizeof(*more)) : NULL;

		if (!more)
			return -ENOMEM;
		a->list = more;
		a->room = room;
	}
	a->list[a->n++] = v;
	return 0;
}

static void sort(struct numbers *a)
{
	size_t n = 0;

	if (a->n == a->sorted)
		return;
	qsort(a->list, a->n, sizeof(*a->list), by_value);
	for (size_t i = 0; i < a->n; i++)
		if (i == 0 || a->list[i] != a->list[n - 1])
			a->list[n++] = a->list[i];
	a->n = a->sorted = n;
}

static uint64_t name_number(const char *name, size_t len)
{
	return XXH3_64bits(name, len);
}

static int put_name(struct tree_mapped *m, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strlen(name), gone = sizeof(DELETED) - 1;
	int r = put(&m->names, name_number(name, len));

	if (r == 0 && len > gone && !strcmp(name + len - gone, DELETED))
		r = put(&m->names, name_number(name, len - gone));
	return r;
}

static bool ends_deleted(const char *path)
{
	size_t len = strlen(path), gone = sizeof(DELETED) - 1;

	return len > gone && !strcmp(path + len - gone, DELETED);
}

/*
 * A mapping of a file that was opened for reading alone can never become one that writes (mm/mmap.c, do_mmap: VM_MAYWRITE goes with FMODE_WRITE); the link
 * in map_files shows how the file was opened (fs/proc/base.c, proc_map_files_instantiate).  Any other can get the right back by mprotect(2), and its dirty
 * pages are then written to without a fault (mm/mprotect.c, can_change_shared_pte_writable).
 */
static bool can_write(pid_t pid, uint64_t start, uint64_t end, const char *perms)
{
	struct stat st;
	char path[96];

	if (perms[1] == 'w')
		return true;
	path_format(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, start, end);
	return lstat(path, &st) < 0 || (st.st_mode & S_IWUSR);
}

/* "7f1c-7f1d rw-s 0000 08:01 123   /path": proc(5). */
static int take_line(struct tree_mapped *m, pid_t pid, char *line, dev_t root)
{
	const char *shared = strchr(line, ' ');
	unsigned major = 0, minor = 0;
	uint64_t start, end, inode;
	char perms[5] = "";
	int at = 0, r;

	/* Nearly all are private, and the pod stands still: no more is read of them. */
	if (shared && strnlen(shared, 5) == 5 && shared[4] == 'p')
		return 0;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %x:%x %" SCNu64 " %n", &start, &end, perms, &major, &minor, &inode, &at) < 6 || !at)
		return -EIO;
	if (perms[3] != 's' || inode == 0 || !can_write(pid, start, end, perms))
		return 0;
	if (ends_deleted(line + at) && makedev(major, minor) == root)
		m->lost_one = true;
	r = put(&m->inodes, inode);
	return r == 0 ? put_name(m, line + at) : r;
}

static int add_mappings(struct tree_mapped *m, pid_t pid, dev_t root, struct error *err)
{
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;
	char path[64];
	int r = 0;

	path_format(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT || errno == ESRCH ? 0 : error_errno(err, "open %s", path);
	while (r == 0 && getline(&line, &size, f) > 0)
		r = take_line(m, pid, line, root);
	return r < 0 ? error_set(err, r, "cannot tell which files process %d has mapped", (int)pid) : 0;
}

/* Regular files that are open for writing with O_DIRECT: 1, 0, or a negative errno. */
static int is_direct(int fds, int infos, const char *name, struct stat *st)
{
	struct stat link;

	if (fstatat(fds, name, &link, AT_SYMLINK_NOFOLLOW) < 0 || !(link.st_mode & S_IWUSR) || fstatat(fds, name, st, 0) < 0 || !S_ISREG(st->st_mode))
		return 0;
	return direct_io_is(infos, name);
}

static int add_open(struct tree_mapped *m, DIR *fds, int infos)
{
	char target[4097];
	struct dirent *e;
	int r = 0;

	while (r >= 0 && (e = readdir(fds))) {
		struct stat st;
		ssize_t n;

		r = e->d_name[0] == '.' ? 0 : is_direct(dirfd(fds), infos, e->d_name, &st);
		if (r <= 0)
			continue;
		r = put(&m->inodes, st.st_ino);
		n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (r == 0)
			r = put_name(m, target);
	}
	return r;
}

static int add_direct(struct tree_mapped *m, pid_t pid, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	cleanup_close int infos = direct_io_open(pid, "fdinfo");
	int fd = infos < 0 ? infos : direct_io_open(pid, "fd"), r = fd < 0 ? fd : 0;

	if (r == -ESRCH)
		return 0;
	if (r == 0 && !(d = fdopendir(fd))) {
		close(fd);
		r = -ENOMEM;
	}
	if (r == 0)
		r = add_open(m, d, infos);
	return r < 0 ? error_set(err, r, "cannot tell which files process %d has open", (int)pid) : 0;
}

int tree_mapped_add(struct tree_mapped *m, pid_t pid, bool running, struct error *err)
{
	struct stat root;
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/root", (int)pid);
	if (stat(path, &root) < 0)
		root.st_dev = 0;
	r = add_mappings(m, pid, root.st_dev, err);
	if (r == 0 && running)
		r = add_direct(m, pid, err);
	sort(&m->inodes);
	sort(&m->names);
	return r;
}

bool tree_mapped_has(const struct tree_mapped *m, bool overlay, const char *name, const struct stat *st)
{
	if (has(&m->inodes, st->st_ino) || has(&m->names, name_number(name, strlen(name))))
		return true;
	/* overlayfs shows other inode numbers for what was copied up, and another name may be the one that was mapped; maps writes line ends in its own way. */
	return m->inodes.n && ((overlay && (st->st_nlink > 1 || m->lost_one)) || strchr(name, '\n'));
}
