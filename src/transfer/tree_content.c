/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
/* The library's own choice by the processor at hand (AVX2, AVX512): three times as fast as without, where its header is there. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

#include "base/clock.h"
#include "tree_walk.h"

_Static_assert(WIRE_DATA_MAX % TREE_BLOCK == 0 && WIRE_DATA_MAX % TREE_PAGE == 0 && TREE_BLOCK % 4096 == 0, "whole blocks to a chunk");

static int send_data(struct tree_walk *w, uint64_t at, const char *data, size_t len, struct error *err)
{
	uint64_t offset = htole64(at);
	int r = tree_walk_late(w, err);

	if (r == 0)
		r = wire_send(w->from->wire, WIRE_DATA, w->from->container, &offset, sizeof(offset), data, len, err);
	if (r == 0) {
		w->stats->bytes += len;
		if (w->from->running)
			w->from->record->ahead->bytes += len;
		w->sent_us = clock_mono_us();
	}
	return r;
}

/*
 * From `at` on, which is in no data that is known of yet: where the next begins and ends.  Only once for all of it, since SEEK_HOLE looks at each page of it (mapping_seek_hole_data in
 * mm/filemap.c: on tmpfs, and on others of what was allocated ahead): chunk by chunk that is the square of the file's size, 20 s for 1 GiB.  What is punched meanwhile is read as zeros.
 */
static int seek_data(struct tree_walk *w, int fd, uint64_t at, struct error *err)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

	w->data_start = w->data_end = UINT64_MAX;
	if (data < 0 && errno == ENXIO)         /* a hole up to the end */
		return 0;
	if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return error_errno(err, "seek in %.300s", w->path);
	/* File systems without holes: all of it is data. */
	w->data_start = data < 0 ? at : (uint64_t)data;
	hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
	/* It may have been punched between the two. */
	if (hole > data)
		w->data_end = (uint64_t)hole;
	return data >= 0 && hole < 0 && errno != ENXIO ? error_errno(err, "seek in %.300s", w->path) : 0;
}

static uint64_t at_most(uint64_t at, uint64_t end)
{
	return at < end ? at : end;
}

/* *ret_start to *ret_end: the first data from `at` on, which does not go back, at most up to end; start == end: there is none. */
static int find_data(struct tree_walk *w, int fd, uint64_t at, uint64_t end, uint64_t *ret_start, uint64_t *ret_end, struct error *err)
{
	int r = at < w->data_end ? 0 : seek_data(w, fd, at, err);

	*ret_start = at_most(w->data_start > at ? w->data_start : at, end);
	*ret_end = at_most(w->data_end, end);
	return r;
}

/* Reads all of start to end into data; *ret_short: there was less, and zeros are the rest. */
static int read_data(struct tree_walk *w, int fd, char *data, uint64_t start, uint64_t end, bool *ret_short, struct error *err)
{
	while (start < end) {
		ssize_t n = pread(fd, data, (size_t)(end - start), (off_t)start);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "read %.300s", w->path);
		if (n == 0 && !w->from->running)
			return error_set(err, -EIO, "%.300s became shorter while it was read", w->path);
		if (n == 0) {
			*ret_short = true;
			memset(data, 0, (size_t)(end - start));
			return 0;
		}
		data += n;
		start += (uint64_t)n;
	}
	return 0;
}

/*
 * One chunk, whole blocks but for the file's last: data is what the other side has afterwards, zeros where nothing was read.  send: what was read goes at once; a
 * file that is new there is all zeros.
 */
static int read_chunk(struct tree_walk *w, int fd, uint64_t at, size_t len, bool send, bool *ret_short, struct error *err)
{
	uint64_t pos = at, end = at + len;
	int r = 0;

	while (r == 0 && pos < end && !*ret_short) {
		uint64_t start, hole = pos;

		r = find_data(w, fd, pos, end, &start, &pos, err);
		memset(w->chunk + (hole - at), 0, (size_t)(start - hole));
		if (r == 0 && start < pos)
			r = read_data(w, fd, w->chunk + (start - at), start, pos, ret_short, err);
		if (r == 0 && start < pos && send)
			r = send_data(w, start, w->chunk + (start - at), (size_t)(pos - start), err);
	}
	memset(w->chunk + (pos - at), 0, (size_t)(end - pos));
	return r;
}

static bool is_zero(const char *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static struct tree_digest digest_of(const char *data, size_t len)
{
	XXH128_hash_t h;

	if (is_zero(data, len))
		return (struct tree_digest){ 0 };
	h = XXH3_128bits(data, len);
	return (struct tree_digest){ h.low64, h.high64 };
}

/* The blocks of the chunk at hand: their digests, and with differs those that differ from what is there go. */
static int note_chunk(struct tree_walk *w, struct tree_digest *d, uint64_t at, size_t len, bool differs, struct error *err)
{
	size_t first = 0, behind = 0;           /* what differs and was not sent yet: from first up to behind */
	size_t block = w->from->record->block;
	int r = 0;

	d += at / block;
	for (size_t pos = 0; r == 0 && pos < len; pos += block, d++) {
		size_t n = len - pos < block ? len - pos : block;
		struct tree_digest now = digest_of(w->chunk + pos, n);
		bool same = now.low == d->low && now.high == d->high;

		if (differs && !same && first == behind)
			first = pos;
		if (differs && !same)
			behind = pos + n;
		if (same && first < behind) {
			r = send_data(w, at + first, w->chunk + first, behind - first, err);
			first = behind = 0;
		}
		*d = now;
	}
	if (r == 0 && first < behind)
		r = send_data(w, at + first, w->chunk + first, behind - first, err);
	return r == 0 && differs ? tree_walk_alive(w, err) : r;
}

static int send_zeros(struct tree_walk *w, uint64_t at, uint64_t to, struct error *err)
{
	memset(w->chunk, 0, (size_t)(to - at));
	return send_data(w, at, w->chunk, (size_t)(to - at), err);
}

/* From `at` on, both block by block, there is a hole up to `to`. */
static int note_hole(struct tree_walk *w, struct tree_digest *d, uint64_t at, uint64_t to, struct error *err)
{
	uint64_t first = at;                    /* from here up to `at` the other side has something else, as far as it was not told yet */
	size_t block = w->from->record->block;
	int r = 0;

	for (; r == 0 && at < to; at += block) {
		struct tree_digest *b = &d[at / block];
		bool same = b->low == 0 && b->high == 0;

		if ((same || at - first == WIRE_DATA_MAX) && first < at)
			r = send_zeros(w, first, at, err);
		if (same || at - first == WIRE_DATA_MAX)
			first = same ? at + block : at;
		*b = (struct tree_digest){ 0 };
	}
	return r == 0 && first < to ? send_zeros(w, first, to, err) : r;
}

/* Data only, no holes. */
static int send_plain(struct tree_walk *w, int fd, uint64_t size, struct error *err)
{
	uint64_t at = 0, start;
	bool ended = false;
	int r = 0;

	while (r == 0 && at < size && !ended) {
		r = find_data(w, fd, at, size, &start, &at, err);
		while (r == 0 && start < at && !ended) {
			size_t len = at - start < WIRE_DATA_MAX ? (size_t)(at - start) : WIRE_DATA_MAX;

			r = read_data(w, fd, w->chunk, start, start + len, &ended, err);
			if (r == 0)
				r = send_data(w, start, w->chunk, len, err);
			start += len;
		}
	}
	return r;
}

int tree_content_send(struct tree_walk *w, int fd, uint64_t size, struct known *k, bool patch, struct error *err)
{
	uint64_t at = 0, start, end;
	bool ended = false, differs;
	int r = 0;

	w->data_start = w->data_end = 0;
	if (!k || !k->digests)
		return send_plain(w, fd, size, err);
	/* A new file is zeros.  Page by page only what is not goes: what was punched between the look for holes and the read, too, stays a hole. */
	differs = patch || w->from->record->compares;
	while (r == 0 && at < size) {
		r = find_data(w, fd, at, size, &start, &end, err);
		start = ended || start >= size ? size : start - start % w->from->record->block;
		if (r == 0 && start > at) {
			r = note_hole(w, k->digests, at, start, err);
			at = start;
		}
		if (r == 0 && at < size) {
			size_t len = size - at < WIRE_DATA_MAX ? (size_t)(size - at) : WIRE_DATA_MAX;

			r = read_chunk(w, fd, at, len, !differs, &ended, err);
			if (r == 0)
				r = note_chunk(w, k->digests, at, len, differs, err);
			at += len;
		}
	}
	if (r == 0)
		known_count_room(w->from->record, k);
	return r;
}
