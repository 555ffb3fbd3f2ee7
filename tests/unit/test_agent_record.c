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

static void count(void *ctx)
{
	++*(int *)ctx;
}

static void see(struct record *r, const char *uid, const char *decision)
{
	cleanup_json cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "metadata"), "uid", uid);
	if (decision)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "status"), "decision", decision);
	on_upsert(r, o);
}

/* A source goes on by this word: it is the record's own, of this very object, and not that of a person who only wishes it. */
static void an_abort_is_heard_once_and_of_this_object(void **state)
{
	int heard = 0;
	struct record r = { .uid = "u", .on_abort = count, .on_abort_ctx = &heard };

	(void)state;
	see(&r, "another", "Abort");
	see(&r, "u", NULL);
	see(&r, "u", "Commit");
	assert_int_equal(heard, 0);
	assert_false(record_is_aborted(&r));
	see(&r, "u", "Abort");
	see(&r, "u", "Abort");
	assert_int_equal(heard, 1);
	assert_true(record_is_aborted(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(an_abort_is_heard_once_and_of_this_object), cmocka_unit_test(a_write_is_for_one_object), cmocka_unit_test(names_make_no_other_path) };

	return cmocka_run_group_tests_name("agent record", tests, NULL, NULL);
}
