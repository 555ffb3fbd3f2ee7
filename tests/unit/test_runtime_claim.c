/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "fsyncs.h"
#include "migration/names.h"

/* The node is a folder of this test's, which it works in. */
#undef PM_STATE_DIR
#define PM_STATE_DIR "state"

#include "runtime/claim.c"

static char root[] = "/tmp/pm-claim-XXXXXX";
static const struct claim_key web = { "pod", "web", "/" };

static enum claim look(bool *committed)
{
	struct error err = { 0 };
	enum claim c;

	assert_int_equal(claim_look(&web, &c, committed, &err), 0);
	return c;
}

/* Before a restore begins: a node that loses power must not take the container for one that was never restored. */
static void used_is_on_disk(void **state)
{
	struct error err = { 0 };
	bool committed;
	char path[512];

	(void)state;
	assert_int_equal(look(&committed), CLAIM_NONE);
	fsyncs_begin(0);
	assert_int_equal(claim_take(&web, &err), 0);
	assert_int_equal(fsyncs_n, 2);
	snprintf(path, sizeof(path), "%s/state/claims/pod_web", root);
	assert_string_equal(fsyncs[0], path);
	snprintf(path, sizeof(path), "%s/state/claims", root);
	assert_string_equal(fsyncs[1], path);
	assert_int_equal(look(&committed), CLAIM_USED);
	assert_false(committed);
	assert_int_equal(claim_take(&web, &err), -EEXIST);
}

static void a_disk_that_does_not_sync_is_an_error(void **state)
{
	(void)state;
	for (int n = 1; n <= 2; n++) {
		struct error err = { 0 };
		bool committed;

		fsyncs_begin(n);
		assert_int_equal(claim_take(&web, &err), -EIO);
		assert_int_equal(look(&committed), CLAIM_USED);
		assert_int_equal(unlink("state/claims/pod_web"), 0);
	}
	fsyncs_begin(0);
}

/* The application must not wait for the disk: nothing is synced before it runs, and what it has written down is, behind it. */
static void opened_is_on_disk_when_asked(void **state)
{
	struct error err = { 0 };
	bool committed;

	(void)state;
	assert_int_equal(claim_take(&web, &err), 0);
	fsyncs_begin(0);
	assert_int_equal(claim_opening(&web, &err), 0);
	assert_int_equal(look(&committed), CLAIM_OPENING);
	assert_int_equal(claim_opened(&web, false, &err), 0);
	assert_int_equal(look(&committed), CLAIM_OPENED);
	assert_true(committed);
	assert_int_equal(fsyncs_n, 0);
	assert_int_equal(claim_opened(&web, true, &err), 0);
	assert_int_equal(fsyncs_n, 2);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_claim(void **state)
{
	(void)state;
	unlink("state/claims/pod_web");
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	return chdir("/") < 0 ? -1 : tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(used_is_on_disk, remove_claim),
		cmocka_unit_test_teardown(a_disk_that_does_not_sync_is_an_error, remove_claim),
		cmocka_unit_test_teardown(opened_is_on_disk_when_asked, remove_claim),
	};

	return cmocka_run_group_tests_name("runtime claim", tests, make_root, remove_root);
}
