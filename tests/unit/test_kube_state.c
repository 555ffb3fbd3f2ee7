/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "kube/lease_record.h"
#include "kube/watch_state.h"

static void put(void *ctx, char sign, const cJSON *o)
{
	char *out = ctx;

	snprintf(out + strlen(out), 256 - strlen(out), "%c%s/%s ", sign, json_str_or(o, "metadata/name", ""), json_str_or(o, "metadata/uid", ""));
}

static void upsert(void *ctx, const cJSON *o)
{
	put(ctx, '+', o);
}

static void gone(void *ctx, const cJSON *o)
{
	put(ctx, '-', o);
}

static void line(struct watch_state *s, const char *text, int want)
{
	struct error err = { 0 };

	assert_int_equal(watch_state_line(s, text, strlen(text), &err), want);
}

#define EVENT(type, name, uid, rv)                                                                                                      \
	"{\"type\":\"" type "\",\"object\":{\"kind\":\"K\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"" name "\",\"uid\":\"" uid "\"," \
	"\"resourceVersion\":\"" rv "\"}}}"
#define END(rv)                                                                                                                         \
	"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" rv "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}"
#define BOOKMARK(rv) "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" rv "\"}}}"

/* Initial events give no place to go on from; everything after their end does. */
static void versions(void **state)
{
	char out[256] = "";
	struct kube_watch_spec spec = { .name = "t", .on_upsert = upsert, .on_delete = gone, .ctx = out };
	struct watch_state s;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(watch_state_init(&s, &spec, &err), 0);
	watch_state_begin(&s, true);
	line(&s, EVENT("ADDED", "a", "1", "50"), 0);
	line(&s, BOOKMARK("60"), 0);
	assert_string_equal(s.rv, "");
	assert_false(s.just_synced);
	line(&s, END("70"), 0);
	assert_true(s.just_synced);
	assert_string_equal(s.rv, "70");
	line(&s, EVENT("MODIFIED", "a", "1", "71"), 0);
	assert_string_equal(s.rv, "71");
	line(&s, BOOKMARK("80"), 0);
	assert_string_equal(s.rv, "80");
	line(&s, EVENT("DELETED", "a", "1", "81"), 0);
	assert_string_equal(s.rv, "81");
	line(&s, "{\"type\":\"NEW\",\"object\":{\"metadata\":{\"resourceVersion\":\"900\"}}}", 0);
	assert_string_equal(s.rv, "81");
	line(&s, "{\"type\":\"ERROR\",\"object\":{\"code\":429,\"details\":{\"retryAfterSeconds\":7}}}", -EBUSY);
	assert_int_equal(s.retry_after, 7);
	assert_string_equal(s.rv, "81");
	line(&s, "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\"}}", -ESTALE);
	assert_string_equal(s.rv, "");
	assert_string_equal(out, "+a/1 +a/1 -a/1 ");
	watch_state_free(&s);
}

/* What is missing in the next complete set, or has another UID, is reported gone. */
static void relist(void **state)
{
	char out[256] = "", next[64];
	struct kube_watch_spec spec = { .name = "t", .on_upsert = upsert, .on_delete = gone, .ctx = out };
	cJSON *page = cJSON_Parse("{\"kind\":\"KList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"},"
				  "\"items\":[{\"metadata\":{\"name\":\"b\",\"uid\":\"new\"}},{\"metadata\":{\"name\":\"c\",\"uid\":\"3\"}}]}");
	struct watch_state s;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(watch_state_init(&s, &spec, &err), 0);
	watch_state_begin(&s, true);
	line(&s, EVENT("ADDED", "a", "1", "1"), 0);
	line(&s, EVENT("ADDED", "b", "2", "2"), 0);
	line(&s, END("3"), 0);
	out[0] = '\0';
	watch_state_begin(&s, false);
	assert_int_equal(watch_state_page(&s, page, next, sizeof(next), &err), 0);
	assert_string_equal(out, "-b/2 +b/new +c/3 -a/1 ");
	assert_string_equal(s.rv, "9");
	assert_int_equal(known_count(s.known), 2);
	watch_state_free(&s);
	cJSON_Delete(page);
}

static void bad_lines(void **state)
{
	static const char *const bad[] = { "", "x", "[]", "{}", "{\"type\":\"ADDED\"}", "{\"type\":\"ADDED\",\"object\":5}", "{\"type\":5,\"object\":{}}",
					   "{\"type\":\"ADDED\",\"object\":{}}", "{\"type\":\"ADDED\",\"object\":{\"metadata\":null}}" };
	char out[256] = "";
	struct kube_watch_spec spec = { .name = "t", .on_upsert = upsert, .on_delete = gone, .ctx = out };
	struct watch_state s;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(watch_state_init(&s, &spec, &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		line(&s, bad[i], -EBADMSG);
	assert_string_equal(out, "");
	watch_state_free(&s);
}

static char read_of[512];

static void note_read(void *ctx, const cJSON *o)
{
	char *text = cJSON_PrintUnformatted(o);

	(void)ctx;
	assert_non_null(text);
	snprintf(read_of, sizeof(read_of), "%s", text);
	cJSON_free(text);
}

#define HEAD "\"kind\":\"K\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"3\""

/* What nobody asked for is not even parsed; whatever is no event about an object is read in whole, and so is one that is written in another way. */
static void only_what_is_wanted_is_read(void **state)
{
	static const struct json_want metadata[] = { WANT("name"), WANT("uid"), WANT("resourceVersion"), WANT_END };
	static const struct json_want want[] = { WANT("kind"), WANT("apiVersion"), WANT_OF("metadata", metadata), WANT("spec"), WANT_END };
	static const struct {
		const struct json_want *want;
		const char *text, *read;
	} rows[] = {
		{ want, "{\"type\":\"ADDED\",\"object\":{" HEAD ",\"labels\":{}},\"spec\":{\"a\":[1]},\"status\":{}}}", "{" HEAD "},\"spec\":{\"a\":[1]}}" },
		{ want, "{\"type\":\"DELETED\",\"object\":{" HEAD "},\"status\":{}}}", "{" HEAD "}}" },
		{ want, "{\"object\":{" HEAD "},\"status\":{}},\"type\":\"MODIFIED\"}", "{" HEAD "},\"status\":{}}" },
		{ NULL, "{\"type\":\"MODIFIED\",\"object\":{" HEAD ",\"managedFields\":[{\"f\":{}}],\"labels\":{}},\"status\":{\"managedFields\":[1]}}}",
		  "{" HEAD ",\"labels\":{}},\"status\":{\"managedFields\":[1]}}" },
	};
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_watch_spec spec = { .name = "t", .want = rows[i].want, .on_upsert = note_read, .on_delete = note_read };
		struct watch_state s;

		assert_int_equal(watch_state_init(&s, &spec, &err), 0);
		line(&s, rows[i].text, 0);
		assert_string_equal(read_of, rows[i].read);
		assert_string_equal(s.rv, "3");
		watch_state_begin(&s, true);
		line(&s, END("70"), 0);
		assert_string_equal(s.rv, "70");
		line(&s, "{\"type\":\"ERROR\",\"object\":{\"code\":429,\"details\":{\"retryAfterSeconds\":7}}}", -EBUSY);
		assert_int_equal(s.retry_after, 7);
		watch_state_free(&s);
	}
}

static void only_what_is_wanted_of_a_list(void **state)
{
	static const struct json_want metadata[] = { WANT("name"), WANT("uid"), WANT("resourceVersion"), WANT_END };
	static const struct json_want want[] = { WANT_OF("metadata", metadata), WANT_END };
	static const char text[] = "{\"kind\":\"KList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"n\",\"uid\":\"u\","
				   "\"labels\":{}},\"spec\":{}}]}";
	struct kube_watch_spec spec = { .name = "t", .want = want, .on_upsert = note_read, .on_delete = note_read };
	struct error err = { 0 };
	struct watch_state s;
	cJSON *page = NULL;
	char token[8];

	(void)state;
	assert_int_equal(watch_state_init(&s, &spec, &err), 0);
	assert_int_equal(watch_state_parse_page(&s, text, sizeof(text) - 2, 4096, &page, &err), -EBADMSG);
	assert_int_equal(watch_state_parse_page(&s, text, sizeof(text) - 1, 4096, &page, &err), 0);
	assert_int_equal(watch_state_page(&s, page, token, sizeof(token), &err), 0);
	assert_string_equal(read_of, "{\"metadata\":{\"name\":\"n\",\"uid\":\"u\"},\"kind\":\"K\",\"apiVersion\":\"v1\"}");
	assert_string_equal(s.rv, "9");
	cJSON_Delete(page);
	watch_state_free(&s);
}

/* More names than the table starts with: all are found, and all are swept. */
static void many_names(void **state)
{
	struct known *k = known_new();
	char name[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(known_put(k, "ns", name, "u"), 0);
		assert_int_equal(known_put(k, "ns", name, "u"), 0);
	}
	assert_int_equal(known_count(k), 1000);
	assert_string_equal(known_uid(k, "ns", "n999"), "u");
	assert_null(known_uid(k, "other", "n999"));
	known_free(k);
}

static void lease_rules(void **state)
{
	cJSON *held = cJSON_Parse("{\"metadata\":{\"name\":\"l\",\"resourceVersion\":\"5\"},\"spec\":{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":15,"
				  "\"acquireTime\":\"t0\",\"renewTime\":\"1999-01-01T00:00:00.000000Z\",\"leaseTransitions\":3}}");
	struct lease_view v = { 0 };
	cJSON *o;
	int64_t n = 0;

	(void)state;
	/* First of all: nothing there. */
	o = lease_object(&v, NULL, LEASE_TAKE, "ns", "l", "me", 15, 0);
	json_int(o, "spec/leaseTransitions", 0, 100, &n);
	assert_int_equal(n, 0);
	assert_null(json_at(o, "metadata/resourceVersion"));
	cJSON_Delete(o);
	/* The record's old time does not matter, only how long we have seen it unchanged. */
	lease_see(&v, held, 1000000);
	assert_false(lease_is_free(&v, 1000000));
	lease_see(&v, held, 15900000);
	assert_false(lease_is_free(&v, 16000000));
	assert_true(lease_is_free(&v, 16000001));
	o = lease_object(&v, held, LEASE_TAKE, "ns", "l", "me", 15, 0);
	json_int(o, "spec/leaseTransitions", 0, 100, &n);
	assert_int_equal(n, 4);
	assert_string_equal(json_str(o, "metadata/resourceVersion"), "5");
	assert_string_not_equal(json_str(o, "spec/acquireTime"), "t0");
	cJSON_Delete(o);
	o = lease_object(&v, held, LEASE_RENEW, "ns", "l", "a", 15, 0);
	json_int(o, "spec/leaseTransitions", 0, 100, &n);
	assert_int_equal(n, 3);
	assert_string_equal(json_str(o, "spec/acquireTime"), "t0");
	cJSON_Delete(o);
	/* Deleted meanwhile: the count does not go back. */
	o = lease_object(&v, NULL, LEASE_TAKE, "ns", "l", "me", 15, 0);
	json_int(o, "spec/leaseTransitions", 0, 100, &n);
	assert_int_equal(n, 4);
	cJSON_Delete(o);
	o = lease_object(&v, held, LEASE_RELEASE, "ns", "l", "a", 15, 0);
	assert_string_equal(json_str(o, "spec/holderIdentity"), "");
	cJSON_Delete(o);
	cJSON_Delete(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions),   cmocka_unit_test(relist),      cmocka_unit_test(bad_lines),
		cmocka_unit_test(only_what_is_wanted_is_read), cmocka_unit_test(only_what_is_wanted_of_a_list), cmocka_unit_test(many_names), cmocka_unit_test(lease_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
