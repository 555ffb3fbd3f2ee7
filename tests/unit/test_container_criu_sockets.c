/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/criu_images.h"

/* What comes behind the fields that were there, as protobuf puts numbers. */
#define KEPT "\x30\x01"                                                         /* state 1, ESTABLISHED */
#define CLOSED "\x30\x07" "\x38\x00" "\x40\x00" "\x98\x01\x03"                  /* state 7, CLOSE; no ports; shut down both ways */

struct world {
	char dir[64];
	int fd;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/test-sockets-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tree_remove(AT_FDCWD, w->dir, NULL);
	close(w->fd);
	free(w);
	return 0;
}

static void put(struct world *w, const char *name, const void *data, size_t len)
{
	assert_int_equal(file_write(w->fd, name, data, len, 0600, false, NULL), 0);
}

/* A file_entry: type 4, id 9, the socket, and a field that nobody knows. */
static size_t entry(char *out, char ino, char proto, char dst_port, const char *more, size_t n)
{
	const char sk[] = { 0x08, 9, 0x10, ino, 0x18, 2, 0x20, 1, 0x28, proto, 0x30, 8, 0x38, 80, 0x40, dst_port, 0x5a, 1, 127 };
	const char head[] = { 0x08, 4, 0x10, 9, 0x22, (char)(sizeof(sk) + n) }, tail[] = { (char)0xfa, 0x3f, 2, 'h', 'i' };
	uint32_t size = (uint32_t)(sizeof(head) + sizeof(sk) + n + sizeof(tail));
	char *p = out;

	p = mempcpy(p, &size, sizeof(size));
	p = mempcpy(p, head, sizeof(head));
	p = mempcpy(p, sk, sizeof(sk));
	p = mempcpy(p, more, n);
	p = mempcpy(p, tail, sizeof(tail));
	return (size_t)(p - out);
}

/* With these overrides behind each of five: not TCP, connected to nobody, without a stream, with one, with one. */
static size_t image(char *out, const char *without, size_t n_without, const char *with, size_t n_with)
{
	size_t n = 8;

	memcpy(out, "magicmag", 8);
	n += entry(out + n, 1, 17, 53, "", 0);
	n += entry(out + n, 2, 6, 0, "", 0);
	n += entry(out + n, 3, 6, 90, without, n_without);
	n += entry(out + n, 4, 6, 90, with, n_with);
	n += entry(out + n, 0x1f, 6, 90, with, n_with);
	return n;
}

static void expect(struct world *w, const char *name, const void *want, size_t len)
{
	struct buf b = BUF_INIT(4096);

	assert_int_equal(file_read(w->fd, name, &b, NULL), 0);
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data, want, len);
	buf_free(&b);
}

#define INVENTORY "MAGI" "\x04\x00\x00\x00" "\x08\x02\x50\x01"
#define WITHOUT "MAGI" "\x04\x00\x00\x00" "\x08\x02\x50\x00"

static void what_has_a_stream_stays(void **state)
{
	struct world *w = *state;
	char data[512], want[512];
	struct error err = { 0 };
	size_t n = image(data, "", 0, "", 0), m;

	put(w, "inventory.go", INVENTORY, sizeof(INVENTORY) - 1);
	/* No files at all: only the inventory is changed. */
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), 0);
	expect(w, "inventory.go", WITHOUT, sizeof(WITHOUT) - 1);
	put(w, "files.img", data, n);
	put(w, "tcp-stream-2.img", "magicmagx", 9);
	put(w, "tcp-stream-4.img", "magicmagx", 9);
	put(w, "tcp-stream-1f.img", "magicmagx", 9);
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), 2);
	m = image(want, CLOSED, sizeof(CLOSED) - 1, KEPT, sizeof(KEPT) - 1);
	expect(w, "files.img", want, m);
	/* Nobody keeps them: all are closed, whatever lies there. */
	put(w, "files.img", data, n);
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", false, &err), 0);
	m = image(want, CLOSED, sizeof(CLOSED) - 1, CLOSED, sizeof(CLOSED) - 1);
	expect(w, "files.img", want, m);
	/* And what is closed stays closed. */
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), 0);
	expect(w, "files.img", want, m);
}

static void an_empty_stream_or_a_link_is_none(void **state)
{
	struct world *w = *state;
	char data[512], want[512];
	struct error err = { 0 };
	size_t n = image(data, "", 0, "", 0), m = image(want, CLOSED, sizeof(CLOSED) - 1, CLOSED, sizeof(CLOSED) - 1);

	put(w, "inventory.go", INVENTORY, sizeof(INVENTORY) - 1);
	put(w, "files.img", data, n);
	put(w, "tcp-stream-4.img", "magicmag", 8);
	assert_int_equal(symlinkat("files.img", w->fd, "tcp-stream-1f.img"), 0);
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), 0);
	expect(w, "files.img", want, m);
}

static void a_damaged_image_is_refused(void **state)
{
	struct world *w = *state;
	char data[512];
	struct error err = { 0 };
	size_t n = image(data, "", 0, "", 0), one = (n - 8) / 5;

	put(w, "inventory.go", INVENTORY, sizeof(INVENTORY) - 1);
	for (size_t cut = 0; cut < n; cut++) {
		put(w, "files.img", data, cut);
		assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), cut >= 8 && (cut - 8) % one == 0 ? 0 : -EBADMSG);
	}
	data[8 + 4 + 5] = 127;          /* the socket is longer than its entry */
	put(w, "files.img", data, n);
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), -EBADMSG);
	put(w, "files.img", "magicmag", 8);
	for (size_t cut = 0; cut < sizeof(INVENTORY) - 1; cut++) {
		put(w, "inventory.go", INVENTORY, cut);
		assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), cut == 4 ? 0 : -EBADMSG);
	}
	unlinkat(w->fd, "inventory.go", 0);
	assert_int_equal(criu_connections_settle(w->fd, "inventory.go", true, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_has_a_stream_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_stream_or_a_link_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_image_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
