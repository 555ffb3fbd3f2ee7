/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/record.c"

/* A remote source names the PodMigration (namespace and name, in HELLO); the pod that waits knows only its UID.  The two go together in every write. */
static void a_write_is_for_one_object(void **state)
{
	const struct record r = { .uid = "0b0c1d2e-0000-4000-8000-000000000001" };
	cleanup_json cJSON *patch = NULL;
	cJSON *status = NULL;

	(void)state;
	patch = new_patch(&r, &status);
	assert_string_equal(json_str(patch, "metadata/uid"), r.uid);
	assert_ptr_equal(json_at(patch, "status"), status);
}

static void names_make_no_other_path(void **state)
{
	static const struct agent_options o = { .node = "here", .kubeconfig = "/nonexistent" };
	static const char *const names[] = { "", ".", "..", "a/b", "../secrets/x", "a?b", "a%2fb", "A", "a b" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct record *r = NULL;
		struct error err = { 0 };

		assert_int_equal(record_open(&o, "shop", names[i], "uid", &r, &err), -EINVAL);
		assert_non_null(strstr(err.message, "not the name of a PodMigration"));
		if (names[i][0])
			assert_int_equal(record_open(&o, names[i], "web", "uid", &r, &err), -EINVAL);
		assert_null(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_write_is_for_one_object), cmocka_unit_test(names_make_no_other_path) };

	return cmocka_run_group_tests_name("agent record", tests, NULL, NULL);
}
