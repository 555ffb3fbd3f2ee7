/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "tar.h"

#define FOR_REAL_TAR 1
#define HEADER 10                       /* RFC 1952, without a file name */
#define TRAILER 8                       /* CRC-32 and size of what is inside */
#define STORED_HEADER 5                 /* RFC 1951, 3.2.4 */
#define STORED_MAX 65535u

static const unsigned char gzip_header[HEADER] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };

/* RFC 1952, 8. */
static uint32_t crc32(const char *data, size_t len)
{
	uint32_t table[256], crc = 0xffffffff;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++)
			table[i] = table[i] & 1 ? 0xedb88320 ^ table[i] >> 1 : table[i] >> 1;
	}
	for (size_t i = 0; i < len; i++)
		crc = table[(crc ^ (unsigned char)data[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}

static void put_le(unsigned char *out, uint32_t v, int bytes)
{
	for (int i = 0; i < bytes; i++, v >>= 8)
		out[i] = v & 0xff;
}

static uint32_t get_le(const char *in, int bytes)
{
	uint32_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | (unsigned char)in[bytes];
	return v;
}

static int put_stored(const char *data, size_t len, bool last, struct buf *out)
{
	unsigned char h[STORED_HEADER] = { last };

	put_le(h + 1, (uint32_t)len, 2);
	put_le(h + 3, ~(uint32_t)len, 2);
	return buf_append(out, h, sizeof(h)) < 0 ? -ENOSPC : buf_append(out, data, len);
}

int tar_gzip(const char *data, size_t len, struct buf *out)
{
	size_t blocks = len / STORED_MAX + 1, at = 0;
	unsigned char trailer[TRAILER];
	int r = buf_reserve(out, HEADER + blocks * STORED_HEADER + len + TRAILER);

	if (r == 0)
		r = buf_append(out, gzip_header, sizeof(gzip_header));
	while (r == 0 && blocks--) {
		size_t n = len - at < STORED_MAX ? len - at : STORED_MAX;

		r = put_stored(data + at, n, blocks == 0, out);
		at += n;
	}
	put_le(trailer, crc32(data, len), 4);
	put_le(trailer + 4, (uint32_t)len, 4);
	return r < 0 ? r : buf_append(out, trailer, sizeof(trailer));
}

static int cut_short(struct error *err)
{
	return error_set(err, -EBADMSG, "the archive is damaged: its gzip envelope is cut short or broken");
}

/*
 * Walks over the blocks; with move set, what is in them is moved to the front.  *ret_at: behind the last one.  gzip itself stores what it cannot
 * compress, so a block of another kind may follow.
 */
static int each_block(char *data, size_t len, bool move, size_t *ret_at, size_t *ret_got, struct error *err)
{
	size_t at = HEADER, got = 0, n;
	bool last;

	do {
		if (len - at < STORED_HEADER + TRAILER)
			return cut_short(err);
		last = data[at] & 1;
		if ((unsigned char)data[at] >> 1)
			return FOR_REAL_TAR;
		n = get_le(data + at + 1, 2);
		if (get_le(data + at + 3, 2) != (~n & 0xffff) || n > len - at - STORED_HEADER - TRAILER)
			return cut_short(err);
		at += STORED_HEADER;
		if (move)
			memmove(data + got, data + at, n);
		got += n;
		at += n;
	} while (!last);
	*ret_at = at;
	*ret_got = got;
	return 0;
}

int tar_gunzip(char *data, size_t *len, struct error *err)
{
	size_t at, got;
	uint32_t crc, size;
	int r;

	if (*len < HEADER + STORED_HEADER + TRAILER || memcmp(data, gzip_header, 4))
		return FOR_REAL_TAR;
	r = each_block(data, *len, false, &at, &got, err);
	if (r)
		return r;
	crc = get_le(data + at, 4);
	size = get_le(data + at + 4, 4);
	r = at + TRAILER == *len ? each_block(data, *len, true, &at, &got, err) : cut_short(err);
	if (r == 0 && (crc != crc32(data, got) || size != (uint32_t)got))
		r = error_set(err, -EBADMSG, "the archive is damaged: wrong checksum");
	if (r == 0)
		*len = got;
	return r;
}
