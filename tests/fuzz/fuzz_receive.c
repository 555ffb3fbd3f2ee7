/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that a source sends after the greeting, as the destination takes it: files, images and pages land in real folders and a real page store, and each
 * container's images are read at its end.  The input takes the place of the TLS stream: {type, container, body length (2)} and the body, for which right
 * headers are made.  After each input: nothing has appeared beside the folders, and no limit was passed.
 */
#include "agent/destination_receive.c"
#include "agent/contents.c"
#include "agent/handshake_ids.c"

#include "fuzz.h"

#include "agent_root.h"
#include "fake_stream.h"

#define CONTAINERS 2
#define BYTES_MAX (1u << 20)

static struct agent_options options = { .node = "here", .max_bytes = BYTES_MAX };

/* --- the restore, up to where the monitors would be told --- */

int destination_start(struct destination *d, struct error *err)
{
	(void)err;
	for (int i = 0; i < d->n; i++)
		d->containers[i].started = true;
	return 0;
}

int destination_later_begin(struct destination *d, struct error *err)
{
	(void)err;
	for (int i = 0; i < d->n; i++)
		d->containers[i].later = d->containers[i].lazy;
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

int destination_restore_one(struct destination_container *c, struct error *err)
{
	pid_t pids[64];
	struct fill_list *list = NULL;
	int n = criu_pagemap_pids(c->images_fd, pids, 64, err), r = n < 0 ? n : fill_list_new(c->d->store, c->index, c->later, &list, err);

	for (int i = 0; r == 0 && i < n; i++)
		r = criu_lazy_pages(c->images_fd, pids[i], fill_list_add, list, err);
	if (r == 0 && (r = fill_list_finish(list, err)) >= 0)
		close(r);
	fill_list_free(list);
	return r < 0 ? r : 0;
}

/* --- the pod --- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	umask(0);
	must(mkdir(fuzz_path("outside"), 0755) == 0);
	fuzz_file("outside/file", "", 0);
	return 0;
}

static void make_bundle(struct destination *d, int i)
{
	char name[64], text[512];

	snprintf(name, sizeof(name), "c%d/rootfs/etc", i);
	must(dir_make(AT_FDCWD, fuzz_path(name), 0755, NULL) == 0);
	snprintf(name, sizeof(name), "c%d/rootfs/etc/out", i);
	must(symlink("../../../outside", fuzz_path(name)) == 0);
	snprintf(text, sizeof(text), "{\"mounts\":[{\"destination\":\"/dev/shm\",\"source\":\"/shm\",\"options\":[\"rbind\"]},"
		 "{\"destination\":\"/etc/hosts\",\"source\":\"/pods/u-1/etc-hosts\",\"type\":\"bind\"}]}");
	snprintf(name, sizeof(name), "c%d/config.json", i);
	fuzz_file(name, text, strlen(text));
	d->containers[i] = (struct destination_container){ .d = d, .index = (uint16_t)i, .images_fd = -1, .rootfs_fd = -1, .image_fd = -1 };
	snprintf(d->containers[i].info.name, sizeof(d->containers[i].info.name), "c%d", i);
	snprintf(d->containers[i].info.bundle, sizeof(d->containers[i].info.bundle), "/c%d", i);
}

static void make_pod(struct destination *d)
{
	struct obstacles found = { 0 };
	struct error err;

	memset(d, 0, sizeof(*d));
	d->o = &options;
	d->n = CONTAINERS;
	d->protocol = WIRE_PROTOCOL;
	d->hello = cJSON_CreateObject();
	snprintf(d->run_dir, sizeof(d->run_dir), "/run");
	must(dir_make(AT_FDCWD, fuzz_path("shm"), 0777, NULL) == 0);
	must(dir_make(AT_FDCWD, fuzz_path("pods/u-1/volumes/kubernetes.io~empty-dir/data"), 0777, NULL) == 0);
	for (int i = 0; i < CONTAINERS; i++)
		make_bundle(d, i);
	must(destination_open_parts(d, &found, &err) == 0 && !found.n);
}

static void remove_pod(struct destination *d)
{
	static const char *const dirs[] = { "c0", "c1", "run", "shm", "pods" };

	destination_close_parts(d);
	cJSON_Delete(d->hello);
	for (int i = 0; i < CONTAINERS; i++)
		cJSON_Delete(d->containers[i].sent);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		must(tree_remove(AT_FDCWD, fuzz_path(dirs[i]), NULL) == 0);
}

static void check_outside(void)
{
	struct stat st;

	must(stat(fuzz_path("outside/file"), &st) == 0 && st.st_size == 0 && st.st_nlink == 1 && st.st_mode == (S_IFREG | 0600));
	must(stat(fuzz_path("outside"), &st) == 0 && st.st_nlink == 2 && (st.st_mode & 07777) == 0755);
	/* All folders of the pod are gone again, and there were no others. */
	must(stat(fuzz_dir, &st) == 0 && st.st_nlink == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct destination d;
	struct tls_stream s = { .data = data, .left = size, .headers = true };
	struct error err;
	struct wire *w;

	must(wire_new(&s, 0, &w, &err) == 0);
	make_pod(&d);
	d.wire = w;
	destination_receive(&d, &err);
	remove_pod(&d);
	wire_free(w);
	check_outside();
	return 0;
}
