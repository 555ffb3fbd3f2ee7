/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An order at a moved pod.  Whoever may read Secrets in its namespace can seal one: what it says is outside, too.  First byte: the text is sealed first
 * (so that the fuzzer gets behind the seal), or is the sealed one itself, which must be refused.
 */
#include "agent/source.c"

#include "fuzz.h"

#include "agent/orders.h"
#include "agent_root.h"
#include "migration/keys.h"

static const uint8_t key[PM_KEY_SIZE] = { 1, 2, 3 };
static const struct agent_options options;
static const struct monitor_info pod = { .id = "c1", .migration = "u-1", .pod_uid = "p-1", .pod_name = "web", .key_dir = "/", .order_dir = "/" };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	fuzz_file("key", key, sizeof(key));
	return 0;
}

static void take(const cJSON *order)
{
	static struct source s;
	cleanup_json cJSON *line = order_line(order, &pod);
	struct error err;

	memset(&s, 0, sizeof(s));
	if (take_order(&s, line, &err) == 0)
		/* The pod is the one that the order was found at, whatever the order says. */
		must(!strcmp(s.journal.pod_uid, "p-1") && !strcmp(s.journal.pod_name, "web") && s.journal.remote);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf sealed = BUF_INIT(65536);
	cJSON *order = NULL;
	struct error err;
	char *text;

	if (size == 0)
		return 0;
	if (data[0] & 1) {
		text = strndup((const char *)data + 1, size - 1);
		must(text != NULL);
		if (order_seal(key, pod.migration, text, &sealed, &err) == 0)
			fuzz_file("order", sealed.data, sealed.len);
		else
			fuzz_file("order", "", 0);
		free(text);
	} else {
		fuzz_file("order", data + 1, size - 1);
	}
	if (order_read(&options, &pod, &order, &err) == 0) {
		must(data[0] & 1);      /* nobody guesses a tag */
		take(order);
	}
	cJSON_Delete(order);
	buf_free(&sealed);
	return 0;
}
