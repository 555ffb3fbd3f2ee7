/* SPDX-License-Identifier: Apache-2.0 */
#include "container/criu_images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "criu_fields.h"

/*
 * files.img: one file_entry each (CRIU's images/fdinfo.proto), whose field 12 is a timerfd_entry (images/timerfd.proto).  What is
 * changed is one byte, in its place.
 */
#define IMAGE_MAX (256u << 20)
#define FIELD_TIMERFD 12

enum { VALUE_SEC = 7, VALUE_NSEC = 8, INTERVAL_SEC = 9, INTERVAL_NSEC = 10 };

/* The byte to set, NULL when the timer is as it should be. */
static int look_at_timer(struct cursor c, const uint8_t **ret)
{
	uint64_t number, value, v[INTERVAL_NSEC + 1] = { 0 };
	const uint8_t *nsec = NULL;
	struct cursor content;
	int r;

	*ret = NULL;
	while ((r = fields_next(&c, &number, &value, &content)) > 0) {
		if (number < VALUE_SEC || number > INTERVAL_NSEC)
			continue;
		v[number] = value;
		if (number == VALUE_NSEC)
			nsec = content.end - content.p == 1 && *content.p == value ? content.p : NULL;
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

	while ((r = fields_next(&c, &number, &value, &content)) > 0) {
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
	struct cursor image, entry;
	int r, changed = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "open files.img");
	r = file_read(image_dir_fd, "files.img", &b, err);
	if (r < 0)
		return r;
	if (b.len < CRIU_HEADER_SIZE)
		return error_set(err, -EBADMSG, "files.img is cut off");
	image = (struct cursor){ (const uint8_t *)b.data + CRIU_HEADER_SIZE, (const uint8_t *)b.data + b.len };
	while ((r = entries_next(&image, &entry)) > 0) {
		r = look_at_file(fd, b.data, entry);
		if (r < 0)
			break;
		changed += r;
	}
	return r < 0 ? error_set(err, r, "files.img is cut off or damaged") : changed;
}
