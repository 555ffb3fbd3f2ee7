/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#include "agent/contents.c"
#include "agent/host_path.c"
#include "agent/volumes.c"

#define POD "/var/lib/kubelet/pods/1234"

static char root[] = "/tmp/pm-contents-XXXXXX";
static struct agent_options options = { .host_root = root };
static struct bundle bundle = { .mounts = { { .destination = "/etc/hosts", .source = POD "/etc-hosts", .bind = true } }, .n_mounts = 1 };

static const char *at(const char *path)
{
	static char out[600];

	snprintf(out, sizeof(out), "%s%s", root, path);
	return out;
}

static void folder(const char *path)
{
	char part[512];

	for (const char *p = path + 1; (p = strchr(p, '/')); p++) {
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		mkdir(at(part), 0755);
	}
	mkdir(at(path), 0755);
}

static void put(const char *path, const char *text)
{
	assert_int_equal(file_write(AT_FDCWD, at(path), text, strlen(text), 0600, false, NULL), 0);
}

/* As the kubelet writes a volume: a folder for the version, and links to it. */
static void volume(const char *kind, const char *name, const char *key, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), POD "/volumes/kubernetes.io~%s/%s/..1", kind, name);
	folder(path);
	snprintf(path, sizeof(path), POD "/volumes/kubernetes.io~%s/%s/..1/%s", kind, name, key);
	put(path, value);
	snprintf(path, sizeof(path), POD "/volumes/kubernetes.io~%s/%s/..data", kind, name);
	unlink(at(path));
	assert_int_equal(symlink("..1", at(path)), 0);
}

static cJSON *contents(void)
{
	cJSON *j = cJSON_CreateObject();
	struct error err = { 0 };

	assert_int_equal(contents_add(&options, &bundle, j, &err), 0);
	return j;
}

static int compare(const cJSON *there, const cJSON *here, struct error *err)
{
	struct obstacles found = { 0 };

	contents_compare(there, here, &found);
	return obstacles_error(&found, err);
}

static void what_differs_is_refused(void **state)
{
	cJSON *before, *after;
	struct error err = { 0 };

	(void)state;
	volume("configmap", "config", "key", "value");
	volume("secret", "secret", "key", "hidden");
	before = contents();
	assert_int_equal(cJSON_GetArraySize(before), 2);
	assert_int_equal(strlen(cJSON_GetObjectItem(before, "secret:secret")->valuestring), 64);
	assert_int_equal(compare(before, before, &err), 0);
	/* More at the destination is nobody's business. */
	volume("configmap", "another", "key", "value");
	after = contents();
	assert_int_equal(compare(before, after, &err), 0);
	cJSON_Delete(after);

	volume("secret", "secret", "key", "hidden!");
	after = contents();
	assert_int_equal(compare(before, after, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedVolume);
	assert_non_null(strstr(err.message, "secret:secret"));
	assert_null(strstr(err.message, "hidden"));
	cJSON_Delete(after);
	cJSON_Delete(before);
}

static void names_and_bounds_of_files_count(void **state)
{
	cJSON *one, *two;
	struct error err = { 0 };

	(void)state;
	volume("configmap", "config", "ab", "c");
	one = contents();
	assert_int_equal(unlink(at(POD "/volumes/kubernetes.io~configmap/config/..1/ab")), 0);
	volume("configmap", "config", "a", "bc");
	two = contents();
	assert_int_equal(compare(one, two, &err), -ENOTSUP);
	cJSON_Delete(one);
	cJSON_Delete(two);
}

static void what_is_missing_is_refused(void **state)
{
	cJSON *here = cJSON_CreateObject(), *there = cJSON_CreateObject();
	struct error err = { 0 };

	(void)state;
	cJSON_AddStringToObject(there, "configmap:x", "00");
	assert_int_equal(compare(there, here, &err), -ENOTSUP);
	assert_int_equal(compare(NULL, here, &err), 0);
	cJSON_AddNumberToObject(there, "configmap:y", 1);
	cJSON_AddStringToObject(there, "secret:z", "01");
	cJSON_AddStringToObject(here, "configmap:x", "00");
	cJSON_AddStringToObject(here, "secret:z", "02");
	/* All of it. */
	assert_int_equal(compare(there, here, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_ProtocolError);
	assert_non_null(strstr(err.message, "is no string; UnsupportedVolume: volume secret:z holds something else"));
	cJSON_Delete(here);
	cJSON_Delete(there);
}

/* A source that does not keep to the form: the elements of a list have no names to compare. */
static void another_form_is_refused(void **state)
{
	static const char *const forms[] = { "[\"00\"]", "[1,{}]", "\"x\"", "7", "true" };
	cJSON *here = cJSON_CreateObject();

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		cJSON *there = cJSON_Parse(forms[i]);
		struct error err = { 0 };

		assert_int_equal(compare(there, here, &err), -ENOTSUP);
		assert_int_equal(err.reason, REASON_ProtocolError);
		cJSON_Delete(there);
	}
	cJSON_Delete(here);
}

static void own_volumes_and_tokens_do_not_count(void **state)
{
	cJSON *j;

	(void)state;
	volume("secret", "podmigration-key", "key", "x");
	volume("secret", "kube-api-access-abcde", "token", "x");
	j = contents();
	assert_null(cJSON_GetObjectItem(j, "secret:podmigration-key"));
	assert_null(cJSON_GetObjectItem(j, "secret:kube-api-access-abcde"));
	cJSON_Delete(j);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_differs_is_refused),
		cmocka_unit_test(names_and_bounds_of_files_count),
		cmocka_unit_test(what_is_missing_is_refused),
		cmocka_unit_test(another_form_is_refused),
		cmocka_unit_test(own_volumes_and_tokens_do_not_count),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
