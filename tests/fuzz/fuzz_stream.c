/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer sends after the handshake: frames, their JSON, pages into the store.  The input takes the place of the TLS stream below wire_receive.
 * The first byte chooses: raw bytes as they are, or bodies for which right headers are made, so that the fuzzer gets beyond the sequence check.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "transfer/pages.h"
#include "transfer/wire.h"
#include "transfer/wire_rules.h"

struct tls_stream {
	const uint8_t *data;
	size_t left;
	bool headers;
	uint32_t sequence;
	uint8_t header[WIRE_HEADER];
	size_t header_left;
};

/* {type, container, body length (2)} of the input become a header. */
static void make_header(struct tls_stream *s)
{
	struct wire_header h = { .sequence = s->sequence++ };

	h.type = s->data[0];
	h.container = s->data[1] == 0xff ? WIRE_NO_CONTAINER : s->data[1];
	h.len = (uint32_t)s->data[2] | (uint32_t)s->data[3] << 8;
	s->data += 4;
	s->left -= 4;
	wire_header_pack(&h, s->header);
}

int tls_read(struct tls_stream *s, void *data, size_t len, int64_t deadline_us, struct error *err)
{
	(void)deadline_us;
	(void)err;
	if (s->headers && len == WIRE_HEADER && s->left >= 4) {
		make_header(s);
		memcpy(data, s->header, len);
		return 0;
	}
	if (len > s->left)
		return -EPIPE;
	memcpy(data, s->data, len);
	s->data += len;
	s->left -= len;
	return 0;
}

int tls_write(struct tls_stream *s, const void *data, size_t len, int64_t deadline_us, struct error *err)
{
	(void)s;
	(void)data;
	(void)len;
	(void)deadline_us;
	(void)err;
	return 0;
}

void tls_shutdown(struct tls_stream *s)
{
	(void)s;
}

void tls_free(struct tls_stream *s)
{
	(void)s;
}

static void put_pages(struct page_store **store, const struct wire_frame *f)
{
	struct page_store_view view = { .container = f->container };
	struct wire_pages p;
	struct error err;

	if (!*store) {
		int dir = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (dir < 0 || page_store_new(dir, 4u << 20, store, &err) < 0)
			abort();
		close(dir);
	}
	if (page_store_put(*store, f, &err) < 0 || wire_pages_unpack(f, &p, &err) < 0)
		return;
	view.store = *store;
	view.ns_pid = p.ns_pid;
	for (uint32_t i = 0; i < p.pages && i < 1024; i++)
		if (!page_store_lookup(&view, p.address + i * 4096ull))
			abort();
}

static void look_at(struct wire *w, struct page_store **store, const struct wire_frame *f)
{
	struct error err;
	cJSON *json = NULL;

	if (f->type == WIRE_ALL_SENT) {
		wire_check_end(w, f, &err);
	} else if (f->type == WIRE_PAGES || f->type == WIRE_ZEROS) {
		put_pages(store, f);
	} else if (f->type != WIRE_DATA && wire_json(f, &json, &err) == 0) {
		cJSON_Delete(json);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_stream s = { 0 };
	struct page_store *store = NULL;
	struct wire_frame f;
	struct error err;
	struct wire *w;

	if (size < 1 || wire_new(&s, 0, &w, &err) < 0)
		return 0;
	s.headers = data[0] & 1;
	s.data = data + 1;
	s.left = size - 1;
	while (wire_receive(w, 0, &f, &err) == 0)
		look_at(w, &store, &f);
	page_store_free(store);
	wire_free(w);
	return 0;
}
