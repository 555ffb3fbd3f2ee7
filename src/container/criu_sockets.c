/* SPDX-License-Identifier: Apache-2.0 */
#include "container/criu_images.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "criu_fields.h"

/*
 * A TCP socket in files.img: field 4 of a file_entry (CRIU's images/fdinfo.proto) is an inet_sk_entry (images/sk-inet.proto).  Of a field that comes twice the last one counts
 * (protobuf's encoding rules), so what is to be different is put behind the rest.
 */
#define IMAGE_MAX (256u << 20)
#define FIELD_INETSK 4
#define TAG_INETSK (FIELD_INETSK << 3 | 2)
#define FIELD_TCP_CLOSE 10      /* images/inventory.proto */
#define INVENTORY_HEADER_SIZE 4 /* the one image without the common magic (CRIU's image.c, img_write_magic) */

enum { SK_INO = 2, SK_PROTO = 5, SK_STATE = 6, SK_SRC_PORT = 7, SK_DST_PORT = 8, SK_SHUTDOWN = 19 };
enum { STATE_ESTABLISHED = 1, STATE_CLOSE = 7 };        /* include/net/tcp_states.h */
#define SHUTDOWN_BOTH 3                                 /* images/sk-opts.proto */

struct override {
	unsigned field, value;
};

/*
 * What --tcp-close makes of one: a socket that was never bound or connected and is shut down both ways.  Without ports CRIU looks for no stream of it (sk-inet.c,
 * tcp_connection).
 */
static const struct override closed[] = { { SK_STATE, STATE_CLOSE }, { SK_SRC_PORT, 0 }, { SK_DST_PORT, 0 }, { SK_SHUTDOWN, SHUTDOWN_BOTH } };
/* Whatever it was (tcp_stream.h): how it was shut down CRIU does again by shutdown(2), and the kernel then sends the FIN, if one is due. */
static const struct override kept[] = { { SK_STATE, STATE_ESTABLISHED } };

struct job {
	int dir;
	bool keep;
	int n_kept, n_closed;
	struct buf *out;
};

static bool has_stream(int dir, uint64_t ino)
{
	char name[64];
	struct stat st;

	return ino <= UINT32_MAX && path_format(name, sizeof(name), CRIU_TCP_STREAM, (unsigned)ino) == 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size > CRIU_HEADER_SIZE;
}

/* 1: connected TCP, *ret_ino names its stream. */
static int is_connection(struct cursor sk, uint64_t *ret_ino)
{
	uint64_t number, value, v[SK_DST_PORT + 1] = { 0 };
	struct cursor content;
	int r;

	while ((r = fields_next(&sk, &number, &value, &content)) > 0)
		if (number <= SK_DST_PORT)
			v[number] = value;
	*ret_ino = v[SK_INO];
	return r < 0 ? r : v[SK_PROTO] == IPPROTO_TCP && v[SK_DST_PORT];
}

static int put_socket(struct job *j, struct cursor sk, const struct override *o, size_t n)
{
	cleanup_buf struct buf more = BUF_INIT(64);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = fields_put_number(&more, o[i].field, o[i].value);
	if (r == 0)
		r = fields_put_varint(j->out, TAG_INETSK);
	if (r == 0)
		r = fields_put_varint(j->out, (uint64_t)(sk.end - sk.p) + more.len);
	if (r == 0)
		r = buf_append(j->out, sk.p, (size_t)(sk.end - sk.p));
	return r < 0 ? r : buf_append(j->out, more.data, more.len);
}

static int settle_socket(struct job *j, struct cursor field, struct cursor sk)
{
	uint64_t ino;
	int r = is_connection(sk, &ino);

	if (r < 0)
		return r;
	if (r == 0)
		return buf_append(j->out, field.p, (size_t)(field.end - field.p));
	if (j->keep && has_stream(j->dir, ino)) {
		j->n_kept++;
		return put_socket(j, sk, kept, sizeof(kept) / sizeof(kept[0]));
	}
	j->n_closed++;
	return put_socket(j, sk, closed, sizeof(closed) / sizeof(closed[0]));
}

/* One file_entry, with its size before it. */
static int settle_file(struct job *j, struct cursor file)
{
	size_t start = j->out->len;
	uint64_t number, value;
	struct cursor content;
	uint32_t size = 0;
	int r = buf_append(j->out, &size, sizeof(size));

	if (r < 0)
		return r;
	for (const uint8_t *at = file.p; r == 0 && (r = fields_next(&file, &number, &value, &content)) > 0; at = file.p) {
		struct cursor whole = { at, file.p };

		r = number == FIELD_INETSK ? settle_socket(j, whole, content) : buf_append(j->out, whole.p, (size_t)(whole.end - whole.p));
	}
	size = (uint32_t)(j->out->len - start - sizeof(size));
	memcpy(j->out->data + start, &size, sizeof(size));
	return r;
}

static int settle_files(struct job *j, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(IMAGE_MAX), out = BUF_INIT(IMAGE_MAX);
	struct cursor image, entry;
	int r;

	if (faccessat(j->dir, "files.img", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	r = file_read(j->dir, "files.img", &b, err);
	if (r < 0)
		return r;
	if (b.len < CRIU_HEADER_SIZE)
		return error_set(err, -EBADMSG, "files.img is cut off");
	j->out = &out;
	image = (struct cursor){ (const uint8_t *)b.data + CRIU_HEADER_SIZE, (const uint8_t *)b.data + b.len };
	r = buf_append(&out, b.data, CRIU_HEADER_SIZE);
	while (r == 0 && (r = entries_next(&image, &entry)) > 0)
		r = settle_file(j, entry);
	if (r < 0)
		return error_set(err, r, "files.img is cut off or damaged");
	return j->n_kept || j->n_closed ? file_write(j->dir, "files.img", out.data, out.len, 0600, false, err) : 0;
}

/* A dump that was made with --tcp-close wants a restore with it (CRIU's image.c): one byte, in its place. */
static int drop_tcp_close(int dir, const char *inventory, struct error *err)
{
	cleanup_close int fd = openat(dir, inventory, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	cleanup_buf struct buf b = BUF_INIT(65536);
	struct cursor image, entry, content;
	uint64_t number, value;
	int r;

	if (fd < 0)
		return error_errno(err, "open %s", inventory);
	r = file_read(dir, inventory, &b, err);
	if (r < 0)
		return r;
	if (b.len < INVENTORY_HEADER_SIZE)
		return error_set(err, -EBADMSG, "%s is cut off", inventory);
	image = (struct cursor){ (const uint8_t *)b.data + INVENTORY_HEADER_SIZE, (const uint8_t *)b.data + b.len };
	r = entries_next(&image, &entry);
	while (r > 0 && (r = fields_next(&entry, &number, &value, &content)) > 0)
		if (number == FIELD_TCP_CLOSE && content.end - content.p == 1 && pwrite(fd, "", 1, (off_t)(content.p - (const uint8_t *)b.data)) != 1)
			return error_errno(err, "write %s", inventory);
	return r < 0 ? error_set(err, r, "%s is damaged", inventory) : 0;
}

int criu_connections_settle(int image_dir_fd, const char *inventory, bool keep, struct error *err)
{
	struct job j = { .dir = image_dir_fd, .keep = keep };
	int r = settle_files(&j, err);

	if (r == 0)
		r = drop_tcp_close(image_dir_fd, inventory, err);
	return r < 0 ? r : j.n_kept;
}
