/* SPDX-License-Identifier: Apache-2.0 */
/* The archives that CRIU lets unpack on the destination, unpacked for real below a folder.  After each input: nothing beside that folder has changed. */
#include "fuzz.h"

#include "runtime/tar.h"

static struct stat before;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	must(chdir(fuzz_dir) == 0 && mkdir("outside", 0755) == 0);
	fuzz_file("outside/file", "", 0);
	must(stat("outside/file", &before) == 0);
	umask(0);
	return 0;
}

static void check_outside(void)
{
	struct stat st;

	must(stat("outside/file", &st) == 0 && st.st_mode == before.st_mode && st.st_uid == before.st_uid && st.st_nlink == 1 && st.st_size == 0 &&
	     st.st_mtim.tv_sec == before.st_mtim.tv_sec);
	must(stat("outside", &st) == 0 && st.st_nlink == 2 && (st.st_mode & 07777) == 0755);
	must(stat(".", &st) == 0 && st.st_nlink == 4);
}

static void extract(const struct tar_entry *entries, size_t n)
{
	struct error err;
	int root;

	must(mkdir("root", 0755) == 0 && symlink("../outside", "root/out") == 0 && symlink("../outside/file", "root/file") == 0);
	root = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0);
	tar_extract(root, entries, n, &err);
	close(root);
	check_outside();
	must(tree_remove(AT_FDCWD, "root", &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1);
	struct tar_entry *entries = NULL;
	struct error err;
	size_t len = size, n = 0;

	must(copy != NULL);
	memcpy(copy, data, size);
	/* A checksum is no hurdle for whoever writes archives, but is one for a fuzzer. */
	for (size_t at = 0; at + TAR_BLOCK <= size && copy[0] == 'F'; at += TAR_BLOCK) {
		struct tar_header *h = (struct tar_header *)(void *)(copy + at);
		char sum[sizeof(h->checksum) + 1];

		snprintf(sum, sizeof(sum), "%06o", tar_checksum(h) & 0777777);
		memcpy(h->checksum, sum, 7);
		h->checksum[7] = ' ';
	}
	if ((size < 2 || memcmp(copy, "\x1f\x8b", 2) || tar_gunzip(copy, &len, &err) == 0) && tar_scan(copy, len, &entries, &n, &err) == 0) {
		must(n <= TAR_ENTRIES_MAX);
		for (size_t i = 0; i < n; i++)
			must(entries[i].path[0] != '/' && (entries[i].size == 0 || (entries[i].data >= copy && entries[i].size <= len)));
		if (n <= 64)
			extract(entries, n);
	}
	free(entries);
	free(copy);
	return 0;
}
