/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File entries of an untrusted sender, applied for real below a folder on tmpfs; input: JSON entries, or the word settle, separated by newlines.  After each input: nothing may have
 * appeared beside that folder, and nothing beside it may have changed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "transfer/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char base[] = "/dev/shm/podmigration-fuzz-XXXXXX";
static struct stat before;

static void clean_up(void)
{
	struct error err;

	if (chdir("/") == 0)
		tree_remove(AT_FDCWD, base, &err);
}

static void must(int r)
{
	if (r < 0)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (!mkdtemp(base) || chdir(base) < 0)
		abort();
	atexit(clean_up);
	must(mkdir("outside", 0755));
	must(close(open("outside/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
	must(stat("outside/file", &before));
	return 0;
}

static void check_outside(void)
{
	struct stat st;
	int n = 0;
	DIR *d;

	must(stat("outside/file", &st));
	if (st.st_mode != before.st_mode || st.st_nlink != 1 || st.st_size != 0 || st.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
		abort();
	for (const char *name = "outside"; name; name = strcmp(name, ".") ? "." : NULL, n = 0) {
		d = opendir(name);
		while (d && readdir(d))
			n++;
		closedir(d);
		if (n != (strcmp(name, ".") ? 3 : 4))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size;
	struct tree_budget budget = { .max_bytes = 1u << 20, .max_entries = 64, .max_folders = 4096 };
	struct tree_apply *t = NULL;
	struct error err;
	int dir;

	must(mkdir("root", 0755));
	must(symlink("../outside", "root/out"));
	dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir);
	must(tree_apply_new(dir, &budget, &t, &err));
	while (p < end) {
		const char *line_end = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((line_end ? line_end : end) - p);
		cleanup_json cJSON *json = NULL;

		if (len == 6 && memcmp(p, "settle", 6) == 0)
			tree_apply_settle(t, &err);
		if (json_parse(p, len, 65536, &json, &err) == 0 && tree_apply_file(t, json, &err) == 0)
			tree_apply_data(t, len % 7, p, len < 16 ? len : 16, &err);
		p += len + 1;
	}
	tree_apply_settle(t, &err);
	tree_apply_free(t);
	close(dir);
	check_outside();
	must(tree_remove(AT_FDCWD, "root", &err));
	return 0;
}
