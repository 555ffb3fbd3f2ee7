/* SPDX-License-Identifier: Apache-2.0 */
#include "criu_fields.h"

#include <errno.h>
#include <string.h>

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

int fields_next(struct cursor *c, uint64_t *number, uint64_t *value, struct cursor *content)
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

int entries_next(struct cursor *image, struct cursor *entry)
{
	uint32_t size;

	if (image->p == image->end)
		return 0;
	if ((size_t)(image->end - image->p) < sizeof(size))
		return -EBADMSG;
	memcpy(&size, image->p, sizeof(size));
	image->p += sizeof(size);
	if (size > (size_t)(image->end - image->p))
		return -EBADMSG;
	*entry = (struct cursor){ image->p, image->p + size };
	image->p += size;
	return 1;
}

int fields_put_varint(struct buf *b, uint64_t value)
{
	uint8_t bytes[10];
	size_t n = 0;

	do {
		bytes[n++] = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
		value >>= 7;
	} while (value);
	return buf_append(b, bytes, n);
}

int fields_put_number(struct buf *b, unsigned number, uint64_t value)
{
	int r = fields_put_varint(b, (uint64_t)number << 3);

	return r < 0 ? r : fields_put_varint(b, value);
}
