/* SPDX-License-Identifier: Apache-2.0 */
/* What is rewritten in files.img and the inventory at the destination.  Parts: inventory, files.img; the last byte: is anything kept. */
#include "fuzz.h"

#include "container/criu_images.h"

static int dir_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	dir_fd = open(fuzz_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir_fd >= 0);
	/* Of the sockets that a small number names, those of the odd ones are there. */
	for (unsigned i = 1; i < 32; i += 2) {
		char name[64];

		path_format(name, sizeof(name), CRIU_TCP_STREAM, i);
		fuzz_file(name, "magicmag.", 9);
	}
	return 0;
}

static off_t size_of(const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, 0) < 0 ? -1 : st.st_size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parts in = { data, size };
	struct error err;
	const uint8_t *part;
	size_t len = parts_next(&in, &part);
	int keep, r, timers, waits;

	fuzz_file("inventory.go", part, len);
	len = parts_next(&in, &part);
	fuzz_file("files.img", part, len);
	fuzz_file("core-7.img", part, len);
	keep = in.left && (in.p[0] & 1);
	waits = criu_waits_restart(dir_fd, &err);
	if (waits >= 0) {
		must(waits <= 1 && size_of("core-7.img") == (off_t)len);
		must(criu_waits_restart(dir_fd, &err) == 0);
	}
	/* In its place, and once. */
	timers = criu_timers_rearm(dir_fd, &err);
	if (timers >= 0) {
		must(size_of("files.img") == (off_t)len);
		must(criu_timers_rearm(dir_fd, &err) == 0);
	}
	r = criu_connections_settle(dir_fd, "inventory.go", keep, &err);
	must(r <= 0 || keep);
	if (r < 0)
		return 0;
	/* What was written is a whole image, in which no connection is left but those that stay; those stay once more. */
	must(timers < 0 || criu_timers_rearm(dir_fd, &err) == 0);
	len = (size_t)size_of("files.img");
	must(criu_connections_settle(dir_fd, "inventory.go", keep, &err) == r);
	must(criu_connections_settle(dir_fd, "inventory.go", 0, &err) == 0);
	must(r > 0 || size_of("files.img") == (off_t)len);
	return 0;
}
