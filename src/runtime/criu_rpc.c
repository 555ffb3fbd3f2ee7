/* SPDX-License-Identifier: Apache-2.0 */
#include "criu_rpc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "record.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* Field numbers of CRIU's messages. */
enum { RESP_TYPE = 1, RESP_NOTIFY = 5, NOTIFY_SCRIPT = 1, NOTIFY_PID = 2, REQ_OPTS = 2, OPTS_IMAGES_DIR_FD = 1, OPTS_LOG_LEVEL = 9, OPTS_NOTIFY_SCRIPTS = 12, OPTS_EXT_MNT = 23, EXT_MNT_KEY = 1, EXT_MNT_VAL = 2, OPTS_WORK_DIR_FD = 17 };

#define VARINT_MAX 10
#define LOG_WARNINGS 2          /* criu/include/log.h; what is quoted to people are errors and warnings */

struct cursor {
	const uint8_t *p, *end;
};

struct field {
	uint64_t number, value;         /* value: of a varint */
	const uint8_t *bytes;           /* of WIRE_BYTES; else NULL */
	size_t len;
};

static bool get_varint(struct cursor *c, uint64_t *ret)
{
	*ret = 0;
	for (unsigned i = 0; i < VARINT_MAX && c->p < c->end; i++) {
		uint8_t b = *c->p++;

		*ret |= (uint64_t)(b & 0x7f) << (7 * i);
		if (!(b & 0x80))
			return true;
	}
	return false;
}

static bool get_past(struct cursor *c, uint64_t n)
{
	if (n > (uint64_t)(c->end - c->p))
		return false;
	c->p += n;
	return true;
}

/* 1: a field; 0: the end; -EBADMSG. */
static int next_field(struct cursor *c, struct field *f)
{
	uint64_t tag, n;
	bool ok;

	*f = (struct field){ 0 };
	if (c->p == c->end)
		return 0;
	if (!get_varint(c, &tag))
		return -EBADMSG;
	f->number = tag >> 3;
	switch (tag & 7) {
	case WIRE_VARINT:
		ok = get_varint(c, &f->value);
		break;
	case WIRE_64:
		ok = get_past(c, 8);
		break;
	case WIRE_32:
		ok = get_past(c, 4);
		break;
	case WIRE_BYTES:
		ok = get_varint(c, &n);
		f->bytes = c->p;
		f->len = (size_t)n;
		ok = ok && get_past(c, n);
		break;
	default:
		ok = false;
	}
	return ok ? 1 : -EBADMSG;
}

static int read_notify(const struct field *notify, struct criu_rpc *ret)
{
	struct cursor c = { notify->bytes, notify->bytes + notify->len };
	struct field f;
	int r;

	while ((r = next_field(&c, &f)) > 0) {
		if (f.number == NOTIFY_SCRIPT && f.bytes && f.len < sizeof(ret->script)) {
			memcpy(ret->script, f.bytes, f.len);
			ret->script[f.len] = '\0';
		} else if (f.number == NOTIFY_PID && f.value > 1 && f.value <= RECORD_PID_MAX) {
			ret->pid = (pid_t)f.value;
		}
	}
	return r;
}

int criu_rpc_read(const void *data, size_t len, struct criu_rpc *ret)
{
	struct cursor c = { data, (const uint8_t *)data + len };
	struct field f;
	int r;

	*ret = (struct criu_rpc){ .type = -1 };
	while ((r = next_field(&c, &f)) > 0) {
		if (f.number == RESP_TYPE && !f.bytes)
			ret->type = f.value <= INT32_MAX ? (int64_t)f.value : -1;
		else if (f.number == RESP_NOTIFY && f.bytes && read_notify(&f, ret) < 0)
			return -EBADMSG;
	}
	return r < 0 || ret->type < 0 ? -EBADMSG : 0;
}

static size_t put_varint(uint8_t *to, uint64_t v)
{
	size_t n = 0;

	do {
		to[n] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (to[n++] & 0x80);
	return n;
}

static size_t put_number(uint8_t *to, unsigned number, int value)
{
	size_t n = put_varint(to, (uint64_t)number << 3 | WIRE_VARINT);

	return n + put_varint(to + n, (uint64_t)value);
}

int criu_rpc_add(struct buf *request, int images_fd, int work_fd)
{
	uint8_t opts[4 * 2 * VARINT_MAX], head[2 * VARINT_MAX];
	size_t n = 0, h;
	int r;

	if (images_fd < 0 || work_fd < 0)
		return -EBADF;
	n += put_number(opts + n, OPTS_IMAGES_DIR_FD, images_fd);
	n += put_number(opts + n, OPTS_LOG_LEVEL, LOG_WARNINGS);
	n += put_number(opts + n, OPTS_NOTIFY_SCRIPTS, 1);
	n += put_number(opts + n, OPTS_WORK_DIR_FD, work_fd);
	h = put_varint(head, REQ_OPTS << 3 | WIRE_BYTES);
	h += put_varint(head + h, n);
	r = buf_append(request, head, h);
	return r < 0 ? r : buf_append(request, opts, n);
}

/* --- external mounts --- */

#define MOUNT_TEXT_MAX 4096

struct replacing {
	criu_rpc_ask ask;
	void *ctx;
	struct buf *out;                /* fields of opts */
};

static size_t put_head(uint8_t *to, unsigned number, size_t len)
{
	size_t n = put_varint(to, (uint64_t)number << 3 | WIRE_BYTES);

	return n + put_varint(to + n, len);
}

static int put_bytes(struct buf *b, unsigned number, const void *data, size_t len)
{
	uint8_t head[2 * VARINT_MAX];
	int r = buf_append(b, head, put_head(head, number, len));

	return r < 0 ? r : buf_append(b, data, len);
}

static int replace_mount(const struct replacing *p, const struct field *mount)
{
	cleanup_buf struct buf one = BUF_INIT(2 * MOUNT_TEXT_MAX);
	struct cursor c = { mount->bytes, mount->bytes + mount->len };
	struct field f, key = { 0 };
	char source[MOUNT_TEXT_MAX] = "", path[MOUNT_TEXT_MAX];
	const char *other;
	int r;

	while ((r = next_field(&c, &f)) > 0) {
		if (f.number == EXT_MNT_KEY && f.bytes) {
			key = f;
		} else if (f.number == EXT_MNT_VAL && f.bytes && f.len < sizeof(source)) {
			memcpy(source, f.bytes, f.len);
			source[f.len] = '\0';
		}
	}
	if (r < 0)
		return r;
	other = p->ask(p->ctx, source, path, sizeof(path));
	if (!other)
		return 0;
	r = put_bytes(&one, EXT_MNT_KEY, key.bytes, key.len);
	if (r == 0)
		r = put_bytes(&one, EXT_MNT_VAL, other, strlen(other));
	return r < 0 ? r : put_bytes(p->out, OPTS_EXT_MNT, one.data, one.len);
}

static int replace_in_opts(const struct replacing *p, const struct field *opts)
{
	struct cursor c = { opts->bytes, opts->bytes + opts->len };
	struct field f;
	int r;

	while ((r = next_field(&c, &f)) > 0) {
		r = f.number == OPTS_EXT_MNT && f.bytes ? replace_mount(p, &f) : 0;
		if (r < 0)
			return r;
	}
	return r;
}

int criu_rpc_replace_mounts(struct buf *request, criu_rpc_ask ask, void *ctx)
{
	cleanup_buf struct buf out = BUF_INIT(request->max);
	struct replacing p = { ask, ctx, &out };
	struct cursor c = { (const uint8_t *)request->data, (const uint8_t *)request->data + request->len };
	struct field f;
	int r;

	while ((r = next_field(&c, &f)) > 0) {
		r = f.number == REQ_OPTS && f.bytes ? replace_in_opts(&p, &f) : 0;
		if (r < 0)
			return r;
	}
	return r < 0 || !out.len ? r : put_bytes(request, REQ_OPTS, out.data, out.len);
}
