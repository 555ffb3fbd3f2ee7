/* SPDX-License-Identifier: Apache-2.0 */
#include "claim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "migration/names.h"

#define CLAIM_DIR PM_STATE_DIR "/claims"
#define CLAIM_MAX 4096

static int claim_path(const struct claim_key *k, char *out, size_t size, struct error *err)
{
	/* Neither a UID nor a container's name (DNS label) can hold '_' or '/'. */
	if (!k->pod_uid[0] || !k->name[0] || strpbrk(k->pod_uid, "_/.") || strpbrk(k->name, "_/"))
		return error_set(err, -EINVAL, "pod UID or container name in config.json is not valid");
	if (path_format(out, size, "%s/%s_%s", CLAIM_DIR, k->pod_uid, k->name) < 0)
		return error_set(err, -ENAMETOOLONG, "pod UID or container name in config.json is too long");
	return 0;
}

static bool has_word(const struct buf *b, const char *word)
{
	return !strncmp(b->data, word, strlen(word)) && (b->data[strlen(word)] == '\n' || b->data[strlen(word)] == '\0');
}

/* A claim that is damaged, or cannot be read, counts as used: nothing is started by mistake. */
static enum claim read_claim(int dir_fd, const char *name)
{
	cleanup_buf struct buf b = BUF_INIT(CLAIM_MAX);
	int r = file_read(dir_fd, name, &b, NULL);

	if (r < 0)
		return r == -ENOENT ? CLAIM_NONE : CLAIM_USED;
	if (has_word(&b, "opened") || has_word(&b, "cold"))
		return CLAIM_OPENED;
	return has_word(&b, "opening") ? CLAIM_OPENING : CLAIM_USED;
}

int claim_look(const struct claim_key *k, enum claim *ret, bool *ret_committed, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	size_t len = strlen(k->pod_uid);
	char path[512];
	struct dirent *e;
	int r = claim_path(k, path, sizeof(path), err);

	*ret = CLAIM_NONE;
	*ret_committed = false;
	if (r < 0)
		return r;
	d = opendir(CLAIM_DIR);
	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "open %s", CLAIM_DIR);
	for (errno = 0; (e = readdir(d)); errno = 0) {
		const char *dot = strrchr(e->d_name, '.');
		enum claim one;

		if (strncmp(e->d_name, k->pod_uid, len) || e->d_name[len] != '_' || (dot && !strcmp(dot, ".tmp")))
			continue;
		one = read_claim(dirfd(d), e->d_name);
		*ret_committed |= one == CLAIM_OPENING || one == CLAIM_OPENED;
		if (!strcmp(e->d_name + len + 1, k->name))
			*ret = one;
	}
	/* A claim that was not seen must not count as none. */
	return errno ? error_errno(err, "read %s", CLAIM_DIR) : 0;
}

static bool pod_is_gone(int dir_fd, const char *name)
{
	cleanup_buf struct buf b = BUF_INIT(CLAIM_MAX);
	char *pod, *end;
	struct stat st;

	if (file_read(dir_fd, name, &b, NULL) < 0)
		return false;
	pod = strchr(b.data, '\n');
	end = pod ? strchr(pod + 1, '\n') : NULL;
	if (!end || pod[1] != '/')
		return false;
	*end = '\0';
	return stat(pod + 1, &st) < 0 && errno == ENOENT;
}

/* Pods come and go: their claims with them. */
static void prune(void)
{
	cleanup_closedir DIR *d = opendir(CLAIM_DIR);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && pod_is_gone(dirfd(d), e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
}

static int claim_text(const struct claim_key *k, const char *word, char *out, size_t size, struct error *err)
{
	if (strchr(k->pod_dir, '\n') || path_format(out, size, "%s\n%s\n", word, k->pod_dir) < 0)
		return error_set(err, -ENAMETOOLONG, "the pod's folder has too long a path");
	return 0;
}

static int write_claim(const struct claim_key *k, const char *word, bool durable, struct error *err)
{
	char path[512], text[CLAIM_MAX];
	int r = claim_path(k, path, sizeof(path), err);

	if (r == 0)
		r = claim_text(k, word, text, sizeof(text), err);
	return r < 0 ? r : file_write(AT_FDCWD, path, text, strlen(text), 0600, durable, err);
}

int claim_take(const struct claim_key *k, struct error *err)
{
	cleanup_close int fd = -1;
	char path[512], text[CLAIM_MAX];
	int r = claim_path(k, path, sizeof(path), err);

	if (r == 0)
		r = claim_text(k, "used", text, sizeof(text), err);
	if (r == 0)
		r = dir_make(AT_FDCWD, CLAIM_DIR, 0700, err);
	if (r < 0)
		return r;
	prune();
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? error_set(err, -EEXIST, "a restore of this container was begun before; it is not tried twice") :
					 error_errno(err, "create %s", path);
	r = write_full(fd, text, strlen(text));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0)
		r = file_sync_folder(AT_FDCWD, path);
	return r < 0 ? error_set(err, r, "write %s: %s", path, strerror(-r)) : 0;
}

int claim_opening(const struct claim_key *k, struct error *err)
{
	return write_claim(k, "opening", false, err);
}

int claim_opened(const struct claim_key *k, bool durable, struct error *err)
{
	return write_claim(k, "opened", durable, err);
}

int claim_cold(const struct claim_key *k, struct error *err)
{
	return write_claim(k, "cold", false, err);
}
