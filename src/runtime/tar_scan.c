/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tar.h"

#define FOR_REAL_TAR 1

/* Octal digits, blanks before and a NUL or blank behind them. */
static bool get_octal(const char *field, size_t size, uint64_t *ret)
{
	size_t i = 0, digits = 0;
	uint64_t v = 0;

	while (i < size && field[i] == ' ')
		i++;
	for (; i < size && field[i] >= '0' && field[i] <= '7'; i++, digits++)
		v = v << 3 | (uint64_t)(field[i] - '0');
	*ret = v;
	return digits && (i == size || field[i] == '\0' || field[i] == ' ');
}

/* The field as a string. */
static void get_text(const char *field, size_t size, char *out)
{
	size_t len = strnlen(field, size);

	memcpy(out, field, len);
	out[len] = '\0';
}

/* Appends the components of path to out, but for empty ones and "."; false when one is "..". */
static bool clean_path(const char *path, char *out)
{
	size_t used = 0;

	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");

		if (len == 2 && !memcmp(p, "..", 2))
			return false;
		if (len && !(len == 1 && *p == '.')) {
			if (used)
				out[used++] = '/';
			memcpy(out + used, p, len);
			used += len;
		}
		p += len + (p[len] == '/');
	}
	out[used] = '\0';
	return true;
}

static int get_path(const struct tar_header *h, bool posix, struct tar_entry *e, struct error *err)
{
	char path[TAR_PATH_SIZE] = "", *name = path;

	if (posix && h->prefix[0]) {
		get_text(h->prefix, sizeof(h->prefix), path);
		name += strlen(path);
		*name++ = '/';
	}
	get_text(h->name, sizeof(h->name), name);
	if (path[0] == '/' || !clean_path(path, e->path))
		return error_set(err, -EBADMSG, "the archive names a file outside: %s", path);
	/* GNU tar takes a file whose name ends in '/' for a folder, as old BSD archives have it. */
	if (e->type == TAR_FILE && *name && name[strlen(name) - 1] == '/')
		return FOR_REAL_TAR;
	if (!path[0] || (!e->path[0] && e->type != TAR_DIR))
		return error_set(err, -EBADMSG, "the archive has an entry without a name");
	return 0;
}

/* Numbers of GNU tar that are too large for digits have the first bit set. */
static bool has_binary_number(const struct tar_header *h)
{
	return (h->mode[0] | h->uid[0] | h->gid[0] | h->size[0] | h->mtime[0] | h->major[0] | h->minor[0]) & 0x80;
}

static int get_numbers(const struct tar_header *h, struct tar_entry *e, struct error *err)
{
	uint64_t mode, uid, gid, size, mtime, major = 0, minor = 0;
	bool device = e->type == TAR_CHAR || e->type == TAR_BLOCK_DEVICE;

	if (!get_octal(h->mode, sizeof(h->mode), &mode) || !get_octal(h->uid, sizeof(h->uid), &uid) || !get_octal(h->gid, sizeof(h->gid), &gid) ||
	    !get_octal(h->size, sizeof(h->size), &size) || !get_octal(h->mtime, sizeof(h->mtime), &mtime) ||
	    (device && (!get_octal(h->major, sizeof(h->major), &major) || !get_octal(h->minor, sizeof(h->minor), &minor))))
		return error_set(err, -EBADMSG, "the archive has a header that is no header");
	/* Eight digits at most: they fit. */
	e->mode = (unsigned)mode & 07777;
	e->uid = (unsigned)uid;
	e->gid = (unsigned)gid;
	e->major = (unsigned)major;
	e->minor = (unsigned)minor;
	e->mtime = (int64_t)mtime;
	e->size = (size_t)size;
	return size && e->type != TAR_FILE ? FOR_REAL_TAR : 0;
}

static int get_entry(const struct tar_header *h, struct tar_entry *e, struct error *err)
{
	bool posix = !memcmp(h->magic, TAR_MAGIC_POSIX, sizeof(h->magic)), gnu = !memcmp(h->magic, TAR_MAGIC_GNU, sizeof(h->magic));
	uint64_t sum;
	int r;

	if (!get_octal(h->checksum, sizeof(h->checksum), &sum) || sum != tar_checksum(h))
		return error_set(err, -EBADMSG, "the archive is damaged: wrong checksum of a header");
	e->type = h->type;
	/* Names of owners are looked up; the fields of GNU's own in the place of the prefix are of kinds that are not for us. */
	if (!e->type || !strchr("023456", e->type) || (!posix && !gnu) || (gnu && h->prefix[0]) || h->uname[0] || h->gname[0] || has_binary_number(h))
		return FOR_REAL_TAR;
	r = get_path(h, posix, e, err);
	if (r == 0)
		r = get_numbers(h, e, err);
	if (r)
		return r;
	get_text(h->link, sizeof(h->link), e->link);
	if (e->type == TAR_SYMLINK && !e->link[0])
		return error_set(err, -EBADMSG, "the archive has a link to nowhere");
	return 0;
}

static bool is_zero(const char *block)
{
	return block[0] == '\0' && !memcmp(block, block + 1, TAR_BLOCK - 1);
}

/* One entry at *at, which moves behind it.  FOR_REAL_TAR, -EBADMSG. */
static int next_entry(const char *data, size_t len, size_t *at, struct tar_entry *e, struct error *err)
{
	struct tar_header h;
	size_t left;
	int r;

	memcpy(&h, data + *at, sizeof(h));
	r = get_entry(&h, e, err);
	if (r)
		return r;
	*at += TAR_BLOCK;
	left = len - *at;
	if (e->size > left || (e->size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK > left)
		return error_set(err, -EBADMSG, "the archive is cut short in %s", e->path);
	e->data = data + *at;
	*at += (e->size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	return 0;
}

int tar_scan(const char *data, size_t len, struct tar_entry **ret, size_t *ret_n, struct error *err)
{
	size_t max = len / TAR_BLOCK < TAR_ENTRIES_MAX ? len / TAR_BLOCK : TAR_ENTRIES_MAX, n = 0, at = 0;
	cleanup_free struct tar_entry *entries = calloc(max + 1, sizeof(*entries));
	int r;

	if (!entries)
		return error_set(err, -ENOMEM, "out of memory");
	while (at + 2 * TAR_BLOCK <= len) {
		if (is_zero(data + at) && is_zero(data + at + TAR_BLOCK)) {
			*ret = take_ptr(entries);
			*ret_n = n;
			return 0;
		}
		if (n == TAR_ENTRIES_MAX)
			return FOR_REAL_TAR;
		r = next_entry(data, len, &at, &entries[n++], err);
		if (r)
			return r;
	}
	return error_set(err, -EBADMSG, "the archive is cut short: it has no end");
}
