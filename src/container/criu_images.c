/* SPDX-License-Identifier: Apache-2.0 */
#include "container/criu_images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "migration/reason.h"

/* Two u32: the common magic and the kind's. */
#define HEADER_SIZE 8
#define NAME_MAX_LEN 128

/* "pagemap-17.img" -> 17; 0 for anything else ("pagemap-shmem-17.img" are shared memory's own). */
static pid_t pagemap_pid(const char *name)
{
	static const char prefix[] = "pagemap-";
	const char *p = name + sizeof(prefix) - 1;
	int64_t pid = 0;

	if (strncmp(name, prefix, sizeof(prefix) - 1) || *p < '1' || *p > '9')
		return 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		pid = pid * 10 + (*p - '0');
		/* PID_MAX_LIMIT of a 64-bit kernel. */
		if (pid > 4194304)
			return 0;
	}
	return strcmp(p, ".img") ? 0 : (pid_t)pid;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static DIR *open_list(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

int criu_pagemap_pids(int image_dir_fd, pid_t *pids, int max, struct error *err)
{
	cleanup_closedir DIR *d = open_list(image_dir_fd);
	struct dirent *e;
	int n = 0;

	if (!d)
		return error_errno(err, "list the image folder");
	while ((e = readdir(d))) {
		pid_t pid = pagemap_pid(e->d_name);

		if (!pid)
			continue;
		if (n == max)
			return error_set(err, -E2BIG, "more than %d processes in the image folder", max);
		pids[n++] = pid;
	}
	qsort(pids, (size_t)n, sizeof(*pids), compare_pids);
	return n;
}

int criu_images_give(int image_dir_fd, const struct id_range *ids, struct error *err)
{
	cleanup_closedir DIR *d = open_list(image_dir_fd);
	bool has = false;
	struct dirent *e;

	if (!d)
		return error_errno(err, "list the image folder");
	while ((e = readdir(d))) {
		has |= !strncmp(e->d_name, "userns-", 7);
		if (id_range_is(ids) && strcmp(e->d_name, "..") && fchownat(image_dir_fd, e->d_name, ids->uid, ids->gid, AT_SYMLINK_NOFOLLOW) < 0)
			return error_errno(err, "give %s to the user namespace", e->d_name);
	}
	if (has != id_range_is(ids))
		return error_reason(err, -ENOTSUP, REASON_KernelIncompatible, "the source pod has %s user namespace of its own, the destination pod has %s", has ? "a" : "no", has ? "none" : "one");
	return 0;
}

static bool is_ipc_image(const char *name)
{
	static const char *const prefixes[] = { "ipcns-shm-", "ipcns-msg-", "ipcns-sem-" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* Calls fn for each IPC object image, open for writing; stops at a value other than 0 and returns it. */
static int for_ipc_images(int image_dir_fd, int (*fn)(int fd, off_t size), struct error *err)
{
	cleanup_closedir DIR *d = open_list(image_dir_fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return error_errno(err, "list the image folder");
	while (r == 0 && (e = readdir(d))) {
		cleanup_close int fd = -1;
		struct stat st;

		if (!is_ipc_image(e->d_name))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return error_errno(err, "open %s", e->d_name);
		if (!S_ISREG(st.st_mode) || st.st_size < HEADER_SIZE)
			return error_set(err, -EBADMSG, "%s is no CRIU image", e->d_name);
		r = fn(fd, st.st_size);
		if (r < 0) {
			errno = -r;
			return error_errno(err, "empty %s", e->d_name);
		}
	}
	return r;
}

static int empty_image(int fd, off_t size)
{
	return size > HEADER_SIZE && ftruncate(fd, HEADER_SIZE) < 0 ? -errno : 0;
}

static int holds_objects(int fd, off_t size)
{
	(void)fd;
	return size > HEADER_SIZE;
}

int criu_ipc_clear(int image_dir_fd, struct error *err)
{
	return for_ipc_images(image_dir_fd, empty_image, err);
}

int criu_ipc_has_objects(int image_dir_fd, struct error *err)
{
	return for_ipc_images(image_dir_fd, holds_objects, err);
}

int criu_image_name_ok(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = name ? strlen(name) : 0;

	if (len < 5 || len > NAME_MAX_LEN || name[0] == '.' || strspn(name, allowed) != len)
		return 0;
	return !strcmp(name + len - 4, ".img") || !strcmp(name, "descriptors.json");
}
