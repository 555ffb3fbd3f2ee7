/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#include "agent/orders.c"

#define ROUTE "\"migration\":\"0b0c1d2e-0000-4000-8000-000000000001\",\"podIP\":\"10.1.2.3\",\"port\":7117,\"epoch\":3,\"namespace\":\"shop\",\"name\":\"back\""

static char root[] = "/tmp/pm-orders-XXXXXX";
static const struct agent_options options = { .host_root = root };
static const struct monitor_info pod = { .migration = "bringing", .pod_uid = "p-1", .pod_name = "web", .order_dir = "/" };
static const uint8_t pod_key[PM_KEY_SIZE] = { 7 };

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", o->host_root, path);
}

int monitor_key(const struct agent_options *o, const struct monitor_info *m, uint8_t key[PM_KEY_SIZE], struct error *err)
{
	(void)o;
	(void)m;
	(void)err;
	memcpy(key, pod_key, sizeof(pod_key));
	return 0;
}

/* Only this pod is on the node. */
int monitors_list(const struct agent_options *o, struct monitor_info *out, int max, struct error *err)
{
	(void)o;
	(void)err;
	out[0] = pod;
	return max > 0;
}

/* What an agent makes of this order, sealed with this key for this pod. */
static int read_order(const uint8_t *key, const char *bringing, const char *json, cJSON **ret)
{
	cleanup_buf struct buf sealed = BUF_INIT(65536);
	struct error err = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "%s/order", root);
	assert_int_equal(order_seal(key, bringing, json, &sealed, &err), 0);
	assert_int_equal(file_write(AT_FDCWD, path, sealed.data, sealed.len, 0600, false, &err), 0);
	*ret = NULL;
	return order_read(&options, &pod, ret, &err);
}

/* Whoever may read Secrets in its namespace can seal an order for its own pod; it must not reach another one. */
static void an_order_cannot_choose_the_pod(void **state)
{
	cleanup_json cJSON *order = NULL, *line = NULL;

	(void)state;
	assert_int_equal(read_order(pod_key, "bringing",
				    "{\"action\":\"migrate\"," ROUTE ",\"podUID\":\"another\",\"podName\":\"another\",\"remote\":false,"
				    "\"resume\":true,\"timeoutSeconds\":99999}", &order), 0);
	line = order_line(order, &pod);
	assert_string_equal(json_str(line, "podUID"), "p-1");
	assert_string_equal(json_str(line, "podName"), "web");
	assert_true(json_bool(line, "remote"));
	assert_false(json_bool(line, "resume"));
	assert_null(json_at(line, "timeoutSeconds"));
	assert_string_equal(json_str(line, "podIP"), "10.1.2.3");
	/* Nothing stands there twice: the first would count. */
	for (const cJSON *a = line->child; a; a = a->next)
		for (const cJSON *b = a->next; b; b = b->next)
			assert_string_not_equal(a->string, b->string);
}

/* A dry run is an action of its own: one who does not know it passes it over, and no field of another order makes one of it, or a migration of it. */
static void a_dry_run_has_an_action_of_its_own(void **state)
{
	static const struct {
		const char *json;
		bool begins, dry;
	} orders[] = {
		{ "{\"action\":\"ask\"," ROUTE ",\"dryRun\":false}", true, true },
		{ "{\"action\":\"migrate\"," ROUTE ",\"dryRun\":true}", true, false },
		{ "{\"action\":\"abort\"," ROUTE "}", false, false },
		{ "{" ROUTE "}", false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		cleanup_json cJSON *order = NULL, *line = NULL;

		assert_int_equal(read_order(pod_key, "bringing", orders[i].json, &order), 0);
		line = order_line(order, &pod);
		assert_int_equal(order_begins(order), orders[i].begins);
		assert_int_equal(json_bool(line, "dryRun"), orders[i].dry);
	}
}

/* Settings of the migration, which are the same as at home; and how long it may take. */
static void an_order_brings_its_settings(void **state)
{
	cleanup_json cJSON *order = NULL, *line = NULL;
	char json[512];
	int64_t n = 0;

	(void)state;
	snprintf(json, sizeof(json), "{\"action\":\"migrate\"," ROUTE ",\"maxRounds\":16,\"autoConverge\":true,\"deadline\":%lld}",
		 (long long)(clock_real_us() / 1000000 + 100));
	assert_int_equal(read_order(pod_key, "bringing", json, &order), 0);
	line = order_line(order, &pod);
	assert_true(json_bool(line, "autoConverge"));
	assert_int_equal(json_int(line, "maxRounds", 1, 16, &n), 0);
	assert_int_equal(json_int(line, "timeoutSeconds", 1, 100000, &n), 0);
	assert_in_range(n, 150, 160);
}

static void forged_orders_are_refused(void **state)
{
	static const uint8_t other[PM_KEY_SIZE] = { 8 };
	cJSON *order = NULL;

	(void)state;
	assert_int_equal(read_order(other, "bringing", "{\"action\":\"migrate\"," ROUTE "}", &order), -EBADMSG);
	assert_null(order);
	/* Sealed for the pod of another migration. */
	assert_int_equal(read_order(pod_key, "another", "{\"action\":\"migrate\"," ROUTE "}", &order), -EBADMSG);
	assert_null(order);
	/* Replayed after its time. */
	assert_int_equal(read_order(pod_key, "bringing", "{\"action\":\"migrate\"," ROUTE ",\"deadline\":1700000000}", &order), -ETIME);
	assert_null(order);
}

/* The migration's UID becomes a file name and the key of a worker. */
static void the_migration_is_named_by_a_plain_name(void **state)
{
	static const char *const bad[] = { "{\"action\":\"migrate\"}", "{\"migration\":\"../../etc\"}", "{\"migration\":\"\"}", "{\"migration\":7}", "[]",
					   "{\"migration\":\"0123456789012345678901234567890123456789012345678901234567890123\"}" };
	cJSON *order = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(read_order(pod_key, "bringing", bad[i], &order), -EBADMSG);
		assert_null(order);
	}
}

static bool is_commit(const char *bringing, const char *json)
{
	cJSON *order = NULL;
	bool r;

	read_order(pod_key, bringing, json, &order);
	cJSON_Delete(order);
	r = order_is_commit(&options, &pod);
	return r;
}

/* Of the migration that brings this pod, and no other; and no other action is taken for it. */
static void only_the_bringing_migration_is_committed_by_an_order(void **state)
{
	(void)state;
	assert_true(is_commit("bringing", "{\"action\":\"commit\",\"migration\":\"bringing\",\"epoch\":3}"));
	assert_false(is_commit("bringing", "{\"action\":\"commit\",\"migration\":\"another\",\"epoch\":3}"));
	assert_false(is_commit("bringing", "{\"action\":\"abort\",\"migration\":\"bringing\",\"epoch\":3}"));
	assert_false(is_commit("bringing", "{\"action\":\"migrate\",\"migration\":\"bringing\",\"epoch\":3}"));
	assert_false(is_commit("bringing", "{\"migration\":\"bringing\"}"));
	assert_false(is_commit("another", "{\"action\":\"commit\",\"migration\":\"bringing\",\"epoch\":3}"));
}

static void without_an_order_nothing_is_committed(void **state)
{
	static const char *const junk[] = { "", "x", "commit", "{\"action\":\"commit\",\"migration\":\"bringing\"}" };
	struct error err = { 0 };
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/order", root);
	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		assert_int_equal(file_write(AT_FDCWD, path, junk[i], strlen(junk[i]), 0600, false, &err), 0);
		assert_false(order_is_commit(&options, &pod));
	}
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_order_cannot_choose_the_pod),
		cmocka_unit_test(an_order_brings_its_settings), cmocka_unit_test(a_dry_run_has_an_action_of_its_own),
		cmocka_unit_test(forged_orders_are_refused),
		cmocka_unit_test(the_migration_is_named_by_a_plain_name),
		cmocka_unit_test(only_the_bringing_migration_is_committed_by_an_order),
		cmocka_unit_test(without_an_order_nothing_is_committed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
