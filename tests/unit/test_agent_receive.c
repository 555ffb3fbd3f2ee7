/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "stream_pair.h"

#include "agent/destination_connections.c"
#include "agent/destination_receive.c"
#include "agent/contents.c"
#include "agent/handshake_ids.c"
#include "agent/volumes.c"

/*
 * What a destination takes from a source it does not trust, over a real stream into real folders: each case is a list of frames and the word on it.  Only the
 * monitors are not there.
 */
static char root[] = "/tmp/pm-receive-XXXXXX";
static struct agent_options options = { .host_root = root, .node = "here" };

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", o->host_root, path);
}

int destination_start(struct destination *d, struct error *err)
{
	(void)err;
	for (int i = 0; i < d->n; i++)
		d->containers[i].started = true;
	return 0;
}

int destination_later_begin(struct destination *d, struct error *err)
{
	(void)d;
	(void)err;
	return 0;
}

int destination_note_write(const struct agent_options *o, const char *sandbox, const struct destination_note *n, struct error *err)
{
	(void)o;
	(void)sandbox;
	(void)n;
	(void)err;
	return 0;
}

/* Nobody decides here. */
void record_progress(struct record *r, enum source_state state)
{
	(void)r;
	(void)state;
	fail();
}

void record_warm(struct record *r)
{
	(void)r;
}

void record_live(struct record *r, int64_t bytes, cJSON *containers)
{
	(void)r;
	(void)bytes;
	cJSON_Delete(containers);
}

int destination_restore_one(struct destination_container *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

static const char *in(const char *name)
{
	static char paths[4][256];
	static unsigned turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", root, name);
	return p;
}

static void make_pod(struct destination *d, uint64_t max_bytes)
{
	static const char config[] = "{\"mounts\":[{\"destination\":\"/dev/shm\",\"source\":\"/shm\",\"options\":[\"rbind\"]}]}";
	struct obstacles found = { 0 };
	struct error err = { 0 };

	memset(d, 0, sizeof(*d));
	options.max_bytes = max_bytes;
	d->o = &options;
	d->n = 1;
	d->protocol = WIRE_PROTOCOL;
	d->hello = cJSON_CreateObject();
	snprintf(d->run_dir, sizeof(d->run_dir), "/run");
	d->containers[0] = (struct destination_container){ .d = d, .images_fd = -1, .rootfs_fd = -1, .image_fd = -1 };
	snprintf(d->containers[0].info.bundle, sizeof(d->containers[0].info.bundle), "/c0");
	assert_int_equal(dir_make(AT_FDCWD, in("c0/rootfs"), 0755, NULL), 0);
	assert_int_equal(dir_make(AT_FDCWD, in("shm"), 0777, NULL), 0);
	assert_int_equal(file_write(AT_FDCWD, in("c0/config.json"), config, strlen(config), 0600, false, NULL), 0);
	if (destination_open_parts(d, &found, &err) < 0 || obstacles_error(&found, &err) < 0)
		fail_msg("%s", err.message);
}

static void remove_pod(struct destination *d)
{
	destination_close_parts(d);
	cJSON_Delete(d->hello);
	cJSON_Delete(d->containers[0].sent);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tree_remove(AT_FDCWD, in((const char *[]){ "c0", "run", "shm" }[i]), NULL), 0);
}

/* --- frames as text: one letter, then what it takes --- */

#define FILE_OF(path, size) \
	"F{\"tree\":\"rootfs\",\"path\":\"" path "\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":" size "}"
#define PATCH_OF(path, size) \
	"F{\"tree\":\"rootfs\",\"path\":\"" path "\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":" size \
	",\"patch\":true}"
#define SHARED(tree) \
	"V{\"tree\":\"" tree "\",\"path\":\"f\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\",\"size\":1}"
#define IMAGE(name, size) "I{\"name\":\"" name "\",\"size\":" size "}"
#define STORED(name, size) "I{\"name\":\"" name "\",\"size\":" size ",\"stored\":true}"
#define STARTED "S{\"processes\":[1]}"
#define END "E{\"name\":\"c\"}"
#define FROZEN "Z{\"frozenMicros\":1}"

static int send_data(struct wire *w, uint16_t container, const char *text, struct error *err)
{
	uint64_t offset = strtoull(text, NULL, 10);
	const char *bytes = strchr(text, ' ') + 1;

	return wire_send(w, WIRE_DATA, container, &offset, sizeof(offset), bytes, strlen(bytes), err);
}

/* n bytes for the file that is open. */
static int send_long(struct wire *w, size_t n, struct error *err)
{
	static uint8_t data[WIRE_DATA_MAX];
	const uint64_t offset = 0;

	return wire_send(w, WIRE_DATA, 0, &offset, sizeof(offset), data, n, err);
}

/* n pages of a process (or shared memory) from an address on, not zero. */
static int send_pages(struct wire *w, pid_t number, const char *text, struct error *err)
{
	static uint8_t data[WIRE_PAGES_MAX * 4096];
	struct wire_pages p = { .ns_pid = number, .address = strtoull(text, NULL, 0), .pages = (uint32_t)strtoul(strchr(text, ' '), NULL, 10) };
	uint8_t head[WIRE_PAGES_HEAD];

	memset(data, 1, sizeof(data));
	wire_pages_pack(&p, head);
	return wire_send(w, WIRE_PAGES, 0, head, sizeof(head), data, p.pages * 4096u, err);
}

/* "number address pages;..": the number as it counts from WIRE_SHARED_FIRST, "-" for zeros. */
static int send_stored(struct wire *w, const char *text, struct error *err)
{
	static uint8_t body[WIRE_STORED_MAX * WIRE_STORED_RUN];
	size_t n = 0;

	for (; text && *text; text = strchr(text, ';'), text = text ? text + 1 : NULL) {
		bool zeros = *text == '-';
		char *end = (char *)text + 1;
		long number = zeros ? 0 : WIRE_SHARED_FIRST + strtol(text, &end, 0);
		struct wire_pages p = { .ns_pid = (pid_t)number };

		p.address = strtoull(end, &end, 0);
		p.pages = (uint32_t)strtoul(end, &end, 0);
		wire_stored_pack(&p, body + n++ * WIRE_STORED_RUN);
	}
	return wire_send(w, WIRE_STORED, 0, NULL, 0, body, n * WIRE_STORED_RUN, err);
}

static int send_frame(struct wire *w, const char *text, struct error *err)
{
	static const struct {
		char letter;
		enum wire_type type;
		uint16_t container;
	} takes[] = { { 'F', WIRE_FILE, 0 }, { 'V', WIRE_FILE, WIRE_NO_CONTAINER }, { 'I', WIRE_IMAGE, 0 }, { 'S', WIRE_STARTED, WIRE_NO_CONTAINER },
		      { 'E', WIRE_CONTAINER_END, 0 }, { 'Z', WIRE_FROZEN, WIRE_NO_CONTAINER }, { 'C', WIRE_COMMIT, WIRE_NO_CONTAINER },
		      { 'H', WIRE_HELLO, WIRE_NO_CONTAINER }, { 'O', WIRE_FILE, 7 }, { 'A', WIRE_ABORT, WIRE_NO_CONTAINER },
		      { 'U', WIRE_CATCH_UP, WIRE_NO_CONTAINER } };

	if (*text == 'D' || *text == 'X')
		return send_data(w, *text == 'D' ? 0 : WIRE_NO_CONTAINER, text + 1, err);
	if (*text == 'L')
		return send_long(w, strtoul(text + 1, NULL, 10), err);
	if (*text == 'P' || *text == 'Q')
		return send_pages(w, *text == 'P' ? 1 : WIRE_SHARED_FIRST + 1, text + 1, err);
	if (*text == 'T')
		return send_stored(w, text + 1, err);
	for (size_t i = 0; i < sizeof(takes) / sizeof(takes[0]); i++)
		if (takes[i].letter == *text)
			return wire_send(w, takes[i].type, takes[i].container, NULL, 0, text + 1, strlen(text + 1), err);
	fail_msg("no frame %c", *text);
	return -1;
}

struct source_end {
	struct wire *w;
	const char *const *frames;
};

static void *send_all(void *arg)
{
	const struct source_end *s = arg;
	struct error err = { 0 };
	int r = 0;

	for (int i = 0; r == 0 && s->frames[i]; i++)
		r = send_frame(s->w, s->frames[i], &err);
	if (r == 0)
		wire_send_end(s->w, &err);
	return NULL;
}

#define FRAMES_MAX 14

struct row {
	const char *frames[FRAMES_MAX];
	int result, reason;
	const char *word;
};

static void check_row_noted(const struct row *c, uint64_t max_bytes, int64_t *ret_files_ahead)
{
	struct source_end source = { .frames = c->frames };
	static struct destination d;
	struct error err = { 0 };
	struct wire *w[2];
	pthread_t t;
	int r;

	make_pod(&d, max_bytes);
	wire_pair(w, 5000000);
	source.w = w[0];
	assert_int_equal(pthread_create(&t, NULL, send_all, &source), 0);
	d.wire = w[1];
	r = destination_receive(&d, &err);
	if (r != c->result || err.reason != c->reason || (c->word && !strstr(err.message, c->word)))
		fail_msg("%s ..: %d, reason %d: %s", c->frames[0], r, err.reason, err.message);
	if (ret_files_ahead)
		memcpy(ret_files_ahead, d.files_ahead, sizeof(d.files_ahead));
	wire_interrupt(w[1]);
	pthread_join(t, NULL);
	wire_free(w[0]);
	wire_free(w[1]);
	remove_pod(&d);
}

static void check_row(const struct row *c, uint64_t max_bytes)
{
	check_row_noted(c, max_bytes, NULL);
}

#define BAD -EPROTO, REASON_ProtocolError
#define FIRST IMAGE("descriptors.json", "2"), "D0 []", STARTED

static const struct row rows[] = {
	/* Whole. */
	{ { FIRST, FROZEN, SHARED("shm"), "X0 x", FILE_OF("f", "3"), "D0 abc", IMAGE("inventory.img", "4"), "D0 ab", "D2 cd", END }, 0, 0, NULL },
	{ { FIRST, END }, 0, 0, NULL },
	{ { "A{\"reason\":\"Cancelled\",\"message\":\"as asked\"}" }, -ECONNABORTED, REASON_Cancelled, "as asked" },
	/* Out of order. */
	{ { END }, BAD, "before STARTED" },
	{ { FIRST, STARTED }, BAD, "twice" },
	{ { FIRST, FROZEN, FROZEN }, BAD, "FROZEN twice" },
	{ { IMAGE("descriptors.json", "2"), STARTED }, BAD, "within an image" },
	{ { FIRST, END, END }, BAD, "after its CONTAINER_END" },
	{ { FIRST, END, FILE_OF("f", "3") }, BAD, "after its CONTAINER_END" },
	{ { FIRST, END, SHARED("shm") }, BAD, "after a container's end" },
	{ { "D0 x" }, BAD, "DATA beyond" },
	{ { "X0 x" }, BAD, "DATA before FILE" },
	{ { FIRST }, BAD, "never ended" },
	{ { "C{\"epoch\":1}" }, BAD, "not allowed" },
	{ { "H{}" }, BAD, "not allowed" },
	{ { "O{}" }, BAD, "not there" },
	/* Ahead: files, patches of what came, and the question whether all is in its place. */
	{ { FIRST, FILE_OF("f", "3"), "D0 abc", PATCH_OF("f", "3"), "D1 x", SHARED("shm"), "X0 x", "U{}", FROZEN, PATCH_OF("f", "2"), "D0 y", END }, 0, 0, NULL },
	{ { FILE_OF("f", "3") }, BAD, "before STARTED" },
	{ { "V{}" }, BAD, "before STARTED" },
	{ { "U{}" }, BAD, "before STARTED" },
	{ { FIRST, FROZEN, "U{}" }, BAD, "CATCH_UP after FROZEN" },
	{ { FIRST, FILE_OF("f", "3"), "U{}", "D0 abc" }, BAD, "without an open file" },
	{ { FIRST, PATCH_OF("f", "3") }, BAD, "no such file" },
	/* Images: their names, and nothing but whole ones, from front to back. */
	{ { IMAGE("../x.img", "2") }, BAD, "name or size" },
	{ { IMAGE("a/x.img", "2") }, BAD, "name or size" },
	{ { IMAGE("podmigration-criu.conf", "2") }, BAD, "name or size" },
	{ { IMAGE("inventory.go", "2") }, BAD, "name or size" },
	{ { IMAGE("x.img", "268435457") }, BAD, "name or size" },
	{ { IMAGE("x.img", "-1") }, BAD, "name or size" },
	{ { IMAGE("x.img", "2"), "D0 abc" }, BAD, "DATA beyond" },
	{ { IMAGE("x.img", "2"), "D1 b" }, BAD, "not in its order" },
	{ { IMAGE("x.img", "4"), "D0 ab", "D0 ab" }, BAD, "not in its order" },
	{ { IMAGE("x.img", "4"), "D1099511627776 abcd" }, BAD, "not in its order" },
	{ { IMAGE("x.img", "4"), "D0 ab", IMAGE("y.img", "1") }, BAD, "within an image" },
	{ { FIRST, IMAGE("x.img", "4"), "D0 ab", END }, BAD, "within an image" },
	{ { IMAGE("x.img", "1"), "D0 a", IMAGE("x.img", "1") }, -EEXIST, 0, "create image" },
	/* Images of pages that came before: whole, and of shared memory. */
	{ { FIRST, "Q0x10000 8", FROZEN, "Q0x20000 1", STORED("pages-2.img", "36864"), "T1 0x14000 4;- 0 2", "T1 0x20000 1;1 0x10000 2", END }, 0, 0, NULL },
	{ { FIRST, STORED("pages-2.img", "0"), END }, 0, 0, NULL },
	{ { FIRST, STORED("pages-2.img", "8192"), "T1 0x10000 1" }, BAD, "has not come" },
	{ { FIRST, "Q0x10000 1", STORED("pages-2.img", "8192"), "T1 0x10000 2" }, BAD, "has not come" },
	{ { FIRST, "Q0x10000 1", STORED("pages-2.img", "8192"), "T2 0x10000 1" }, BAD, "has not come" },
	{ { FIRST, "P0x10000 1", STORED("pages-2.img", "4096"), "T-1073741823 0x10000 1" }, BAD, "not of shared memory" },
	{ { FIRST, STORED("pages-2.img", "8192"), "T- 0 3" }, BAD, "beyond the image" },
	{ { FIRST, STORED("pages-2.img", "8192"), "T- 0 2", "T- 0 1" }, BAD, "no such image" },
	{ { FIRST, STORED("pages-2.img", "8192"), "T- 0 4097" }, BAD, "number of pages" },
	{ { FIRST, STORED("pages-2.img", "8192"), "T- 0 1", END }, BAD, "within an image" },
	{ { FIRST, STORED("pages-2.img", "8192"), "D0 abc" }, BAD, "DATA beyond" },
	{ { FIRST, STORED("pages-2.img", "8193") }, BAD, "name or size" },
	{ { FIRST, STORED("pages-2.img", "67112960") }, BAD, "name or size" },
	{ { FIRST, STORED("../x.img", "8192") }, BAD, "name or size" },
	{ { FIRST, IMAGE("pages-2.img", "8192"), "T- 0 1" }, BAD, "no such image" },
	{ { FIRST, "T- 0 1" }, BAD, "no such image" },
	{ { FIRST, STORED("pages-2.img", "8192"), FILE_OF("f", "3"), "T- 0 1" }, BAD, "no such image" },
	/* Files. */
	{ { FIRST, FILE_OF("../x", "3") }, BAD, "not a path" },
	{ { FIRST, FILE_OF("f", "3"), "D1 abc" }, BAD, "beyond the file's size" },
	{ { FIRST, "F{\"tree\":\"volume:data\",\"path\":\"f\",\"type\":\"folder\"}" }, BAD, "rootfs" },
	{ { FIRST, SHARED("volume:other") }, -EPROTO, REASON_UnsupportedVolume, "volume:other" },
	{ { FIRST, "F{\"tree\":\"rootfs\",\"path\":\"d\",\"type\":\"device\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime\":\"1.0\"}" }, BAD, "devices are not moved" },
};

static void what_a_source_may_send(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i], 64u << 20);
}

/* As far as the API takes it (crds/). */
static void files_that_went_ahead_are_reported(void **state)
{
	static const struct {
		const char *frozen;
		int64_t walks, entries;
	} cases[] = {
		{ "Z{\"frozenMicros\":1,\"files\":{\"walks\":3,\"entries\":70,\"bytes\":5000,\"micros\":12345}}", 3, 70 },
		{ FROZEN, 0, 0 },
		{ "Z{\"files\":{\"walks\":3000000000,\"entries\":70}}", 0, 70 },
		{ "Z{\"files\":{\"walks\":2,\"entries\":-1,\"bytes\":\"x\"}}", 2, 0 },
		{ "Z{\"files\":7}", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct row row = { { FIRST, cases[i].frozen, END }, 0, 0, NULL };
		int64_t files[FILES_AHEAD];

		check_row_noted(&row, 64u << 20, files);
		assert_int_equal(files[0], cases[i].walks);
		assert_int_equal(files[1], cases[i].entries);
	}
}

/* Memory, files and images are one sum: no part of it has a limit of its own that another could be put on top of. */
static void everything_together_has_one_limit(void **state)
{
	/* 200 of the 256 pages of the limit; 100,000 bytes more are room, 250,000 are not, wherever they go. */
	static const struct row fits = { { FIRST, FROZEN, "P0x10000 200", FILE_OF("f", "300000"), "L100000", END }, 0, 0, NULL };
	static const struct row cases[] = {
		{ { FIRST, FROZEN, "P0x10000 256", END }, -ENOSPC, REASON_NoSpace, NULL },
		{ { FIRST, FROZEN, "P0x10000 200", FILE_OF("f", "300000"), "L250000", END }, -ENOSPC, REASON_NoSpace, "--max-bytes" },
		{ { FIRST, FROZEN, "P0x10000 200", IMAGE("x.img", "250000"), "L250000", END }, -ENOSPC, REASON_NoSpace, "--max-bytes" },
		{ { FIRST, FROZEN, FILE_OF("f", "300000"), "L250000", "P0x10000 200", END }, -ENOSPC, REASON_NoSpace, "--max-bytes" },
		{ { FIRST, FROZEN, FILE_OF("f", "600000"), "L600000", FILE_OF("g", "600000"), "L600000", END }, -ENOSPC, REASON_NoSpace, NULL },
		/* One page many times is many pages in an image; those of zeros are none. */
		{ { FIRST, "Q0x10000 100", FROZEN, STORED("pages-1.img", "409600"), "T1 0x10000 100", STORED("pages-2.img", "819200"), "T- 0 200", END }, 0, 0, NULL },
		{ { FIRST, "Q0x10000 100", FROZEN, STORED("pages-1.img", "819200"), "T1 0x10000 100;1 0x10000 100", END }, -ENOSPC, REASON_NoSpace, "--max-bytes" },
		/* A sparse file counts by what is in it. */
		{ { FIRST, FROZEN, FILE_OF("f", "209715200"), "D209715100 abc", END }, 0, 0, NULL },
		/* While it runs files may come twice over, and count anew from the freeze on. */
		{ { FIRST, FILE_OF("f", "600000"), "L600000", FILE_OF("f", "600000"), "L600000", FROZEN, FILE_OF("f", "600000"), "L600000", END }, 0, 0, NULL },
		{ { FIRST, FILE_OF("f", "900000"), "L900000", FILE_OF("f", "900000"), "L900000", FILE_OF("f", "900000"), "L900000", END }, -ENOSPC, REASON_NoSpace, NULL },
	};

	(void)state;
	check_row(&fits, 1u << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_row(&cases[i], 1u << 20);
}

/* The trees share one budget, too. */
static void trees_share_their_limits(void **state)
{
	static struct destination d;
	cleanup_json cJSON *file = cJSON_Parse(&FILE_OF("f", "600000")[1]), *folder = NULL;
	static uint8_t data[600000];
	struct error err = { 0 };

	(void)state;
	make_pod(&d, 1u << 20);
	d.files.max_bytes = 1u << 20;
	d.files.max_entries = WIRE_FILES_MAX;
	assert_int_equal(open_shared(&d, "shm", &err), 0);
	assert_int_equal(tree_apply_file(d.containers[0].tree, file, &err), 0);
	assert_int_equal(tree_apply_data(d.containers[0].tree, 0, data, sizeof(data), &err), 0);
	assert_int_equal(tree_apply_file(d.shared[0], file, &err), 0);
	assert_int_equal(tree_apply_data(d.shared[0], 0, data, sizeof(data), &err), -ENOSPC);
	assert_int_equal(err.reason, REASON_NoSpace);
	d.files.entries = WIRE_FILES_MAX;
	assert_int_equal(tree_apply_file(d.shared[0], file, &err), -E2BIG);
	d.files.entries = 0;
	d.files.folders = WIRE_FOLDERS_MAX - 8;
	folder = cJSON_Parse("{\"path\":\"d\",\"type\":\"folder\",\"mode\":493,\"uid\":0,\"gid\":0,\"mtime\":\"1.000000000\"}");
	assert_int_equal(tree_apply_file(d.containers[0].tree, folder, &err), -E2BIG);
	remove_pod(&d);
}

/* An agent of the version before sends none of it: what it sends is taken as it always was. */
static void of_the_version_before(void **state)
{
	static const struct {
		const char *json;
		bool frozen;
		int result;
	} cases[] = { { &FILE_OF("f", "3")[1], false, -EPROTO }, { &FILE_OF("f", "3")[1], true, 0 }, { &PATCH_OF("f", "3")[1], true, -EPROTO } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_frame f = { .type = WIRE_FILE, .len = (uint32_t)strlen(cases[i].json), .body = (const uint8_t *)cases[i].json };
		static struct destination d;
		struct error err = { 0 };

		make_pod(&d, 1u << 20);
		d.protocol = WIRE_PROTOCOL_AHEAD - 1;
		d.containers[0].started = true;
		d.frozen_us = cases[i].frozen;
		assert_int_equal(on_file(&d, &f, &err), cases[i].result);
		remove_pod(&d);
	}
}

/* What is put together is what was named, in that order. */
static void stored_images(void **state)
{
	static const char *const frames[] = { "Q0x10000 3", "Q0x20000 1", STORED("pages-2.img", "24576"), "T1 0x11000 2;- 0 2", "T1 0x20000 1;1 0x10000 1", NULL };
	static uint8_t want[6 * 4096], got[sizeof(want) + 1];
	static const uint8_t marks[] = { 0x11, 0x12, 0, 0, 0x20, 0x10 };
	static struct destination d;
	struct error err = { 0 };
	struct wire_frame f;
	struct wire *w[2];

	(void)state;
	make_pod(&d, 1u << 20);
	wire_pair(w, 5000000);
	for (int i = 0; frames[i]; i++)
		assert_int_equal(send_frame(w[0], frames[i], &err), 0);
	for (int i = 0; frames[i]; i++) {
		assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
		/* All pages of the frames are alike: each gets the number of its place. */
		for (uint32_t k = 0; f.type == WIRE_PAGES && k < (f.len - WIRE_PAGES_HEAD) / 4096; k++)
			memset((uint8_t *)(uintptr_t)f.body + WIRE_PAGES_HEAD + k * 4096, i == 0 ? (int)(0x10 + k) : 0x20, 4096);
		if (dispatch(&d, &f, &err) < 0)
			fail_msg("%s", err.message);
	}
	for (size_t i = 0; i < sizeof(marks); i++)
		memset(want + i * 4096, marks[i], 4096);
	assert_int_equal(pread(d.containers[0].image_fd, got, sizeof(got), 0), sizeof(want));
	assert_memory_equal(got, want, sizeof(want));
	wire_free(w[0]);
	wire_free(w[1]);
	remove_pod(&d);
}

static void images_are_counted(void **state)
{
	static struct destination d;
	const char *json = &IMAGE("x.img", "1")[1];
	const struct wire_frame f = { .type = WIRE_IMAGE, .len = (uint32_t)strlen(json), .body = (const uint8_t *)json };
	struct error err = { 0 };

	(void)state;
	make_pod(&d, 1u << 20);
	d.containers[0].n_images = WIRE_IMAGES_MAX;
	assert_int_equal(dispatch(&d, &f, &err), -EPROTO);
	assert_int_equal(err.reason, REASON_ProtocolError);
	remove_pod(&d);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_source_may_send),
		cmocka_unit_test(files_that_went_ahead_are_reported),
		cmocka_unit_test(everything_together_has_one_limit),
		cmocka_unit_test(trees_share_their_limits),
		cmocka_unit_test(of_the_version_before), cmocka_unit_test(images_are_counted), cmocka_unit_test(stored_images),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
