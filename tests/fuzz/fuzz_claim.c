/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims, after a crash, whatever the disk made of them: of a pod's containers web and log, a part each; a last byte: are they there at all.  What the runtime starts and what
 * the agent tells of it must fit together: nothing is given back that may be started, and nothing counts as come up that is not an ordinary container from then on.
 */
#include "fuzz.h"
#include "migration/names.h"

/* The node is the fuzzer's own folder, which it works in. */
#undef PM_STATE_DIR
#define PM_STATE_DIR "state"

#include "runtime/claim.c"

#undef CLAIM_MAX
#include "agent/monitors.c"

#define DIR_NAME "state/claims"

static const char *const names[] = { "web", "log" };
static const struct agent_options options;

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	(void)o;
	va_start(ap, fmt);
	n = vsnprintf(out, size, fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	must(chdir(fuzz_dir) == 0 && dir_make(AT_FDCWD, DIR_NAME, 0700, NULL) == 0);
	return 0;
}

static bool is_opened(enum claim c)
{
	return c == CLAIM_OPENING || c == CLAIM_OPENED;
}

static void look(const bool *there)
{
	enum claim claim[2];
	bool committed[2];

	for (int i = 0; i < 2; i++) {
		const struct claim_key k = { "pod", names[i], "" };
		enum monitor_claim told = monitor_claim(&options, "pod", names[i]);

		must(claim_look(&k, &claim[i], &committed[i], NULL) == 0 && (claim[i] == CLAIM_NONE) == !there[i]);
		must(told != MONITOR_USED || claim[i] == CLAIM_USED);
		must(told != MONITOR_RAN || claim[i] == CLAIM_OPENED);
		must(!is_opened(claim[i]) || told >= MONITOR_OPENED);
	}
	must(committed[0] == committed[1] && committed[0] == (is_opened(claim[0]) || is_opened(claim[1])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parts in = { data, size };
	bool there[2];
	int taken;

	for (int i = 0; i < 2; i++) {
		const uint8_t *part;
		size_t len = parts_next(&in, &part);
		char path[64];

		snprintf(path, sizeof(path), DIR_NAME "/pod_%s", names[i]);
		there[i] = size && (data[size - 1] & 1u << i) == 0;
		if (there[i])
			fuzz_file(path, part, len);
		else
			unlink(path);
	}
	look(there);
	/* Not taken twice; but those of pods whose folders are gone are dropped. */
	taken = claim_take(&(struct claim_key){ "pod", "web", "" }, NULL);
	must(taken == 0 || (taken == -EEXIST && there[0]));
	there[0] = true;
	there[1] = access(DIR_NAME "/pod_log", F_OK) == 0;
	look(there);
	must(taken < 0 || monitor_claim(&options, "pod", "web") == MONITOR_USED);
	return 0;
}
