/* SPDX-License-Identifier: Apache-2.0 */
#include "container/criu_images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/*
 * files.img: one file_entry each (CRIU's images/fdinfo.proto), whose field 12 is a timerfd_entry (images/timerfd.proto).  Read by hand, and not by generated code:
 * what is changed is one byte, in its place.
 */
#define HEADER_SIZE 8
#define IMAGE_MAX (256u << 20)
#define FIELD_TIMERFD 12

enum { VALUE_SEC = 7, VALUE_NSEC = 8, INTERVAL_SEC = 9, INTERVAL_NSEC = 10 };

struct cursor {
	const uint8_t *p, *end;
};

static int take_varint(struct cursor *c, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && c->p < c->end; shift += 7) {
		*ret |= (uint64_t)(*c->p & 0x7f) << shift;
		if (!(*c->p++ & 0x80))
			return 0;
	}
	return -EBADMSG;
}

/* The next field: its number, and its content (of a number: its bytes).  1, 0 at the end, or -EBADMSG. */
static int take_field(struct cursor *c, uint64_t *number, uint64_t *value, struct cursor *content)
{
	uint64_t tag, size;

	if (c->p == c->end)
		return 0;
	if (take_varint(c, &tag) < 0)
		return -EBADMSG;
	*number = tag >> 3;
	*value = 0;
	content->p = c->p;
	if ((tag & 7) == 0) {
		if (take_varint(c, value) < 0)
			return -EBADMSG;
		content->end = c->p;
		return 1;
	}
	if ((tag & 7) == 2 && take_varint(c, &size) == 0)
		content->p = c->p;
	else if ((tag & 7) == 1)
		size = 8;
	else if ((tag & 7) == 5)
		size = 4;
	else
		return -EBADMSG;
	if (size > (uint64_t)(c->end - c->p))
		return -EBADMSG;
	c->p += size;
	content->end = c->p;
	return 1;
}

/* The byte to set, NULL when the timer is as it should be. */
static int look_at_timer(struct cursor c, const uint8_t **ret)
{
	uint64_t number, value, v[INTERVAL_NSEC + 1] = { 0 };
	const uint8_t *nsec = NULL;
	struct cursor content;
	int r;

	*ret = NULL;
	while ((r = take_field(&c, &number, &value, &content)) > 0) {
		if (number < VALUE_SEC || number > INTERVAL_NSEC)
			continue;
		v[number] = value;
		if (number == VALUE_NSEC && content.end - content.p == 1)
			nsec = content.p;
	}
	if (r == 0 && !v[VALUE_SEC] && !v[VALUE_NSEC] && (v[INTERVAL_SEC] || v[INTERVAL_NSEC]))
		*ret = nsec;
	return r;
}

static int look_at_file(int fd, const char *base, struct cursor c)
{
	uint64_t number, value;
	struct cursor content;
	const uint8_t *at;
	int r, changed = 0;

	while ((r = take_field(&c, &number, &value, &content)) > 0) {
		if (number != FIELD_TIMERFD)
			continue;
		r = look_at_timer(content, &at);
		if (r < 0)
			return r;
		if (at && pwrite(fd, "\1", 1, (off_t)(at - (const uint8_t *)base)) != 1)
			return -EIO;
		changed += at != NULL;
	}
	return r < 0 ? r : changed;
}

int criu_timers_rearm(int image_dir_fd, struct error *err)
{
	cleanup_close int fd = openat(image_dir_fd, "files.img", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	cleanup_buf struct buf b = BUF_INIT(IMAGE_MAX);
	size_t at = HEADER_SIZE;
	int r, changed = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "open files.img");
	r = file_read(image_dir_fd, "files.img", &b, err);
	if (r < 0)
		return r;
	while (at < b.len) {
		uint32_t size;

		if (b.len - at < sizeof(size))
			return error_set(err, -EBADMSG, "files.img is cut off");
		memcpy(&size, b.data + at, sizeof(size));
		at += sizeof(size);
		if (size > b.len - at)
			return error_set(err, -EBADMSG, "files.img is cut off");
		r = look_at_file(fd, b.data, (struct cursor){ (const uint8_t *)b.data + at, (const uint8_t *)b.data + at + size });
		if (r < 0)
			return error_set(err, r, "files.img is damaged");
		changed += r;
		at += size;
	}
	return changed;
}
