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
#include "fake_stream.h"

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

/* What passes is within the limits. */
static void look_at_stored(const struct wire_frame *f)
{
	struct wire_pages p;
	struct error err;

	for (uint32_t i = 0; i <= f->len / WIRE_STORED_RUN; i++)
		if (wire_stored_unpack(f, i, &p, &err) == 0 &&
		    (p.pages == 0 || p.pages > WIRE_STORED_PAGES_MAX || p.address + p.pages * 4096ull > WIRE_ADDRESS_MAX || (p.ns_pid && p.ns_pid < WIRE_SHARED_FIRST)))
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
	} else if (f->type == WIRE_STORED) {
		look_at_stored(f);
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
