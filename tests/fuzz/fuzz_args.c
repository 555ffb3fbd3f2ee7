/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of podmigration-runtime: words that end with a NUL. */
#include "fuzz.h"

#include "runtime/runtime.h"

#define WORDS_MAX 64

/* One of our words, or nothing. */
static void must_be_given(int argc, char **argv, const char *s)
{
	bool found = !s;

	for (int i = 1; i < argc; i++)
		found |= s && s >= argv[i] && s <= argv[i] + strlen(argv[i]);
	must(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *argv[WORDS_MAX + 1] = { (char[]){ "runtime" } };
	struct oci_args a;
	int argc = 1;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *p = text; p < text + size && argc < WORDS_MAX; p += strlen(p) + 1)
		argv[argc++] = p;
	args_parse(argc, argv, &a);
	const char *const all[] = { a.root, a.log, a.log_format, a.command, a.bundle, a.pid_file, a.process, a.console_socket, a.id, a.operand };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		must_be_given(argc, argv, all[i]);
	must(a.command || !a.id);
	must(a.id || !a.operand);
	free(text);
	return 0;
}
