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
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/quantity.h"
#include "base/process.h"
#include "base/text.h"

static void errors_keep_reason_and_nest(void **state)
{
	struct error e = { 0 };

	(void)state;
	assert_int_equal(error_reason(&e, -EINVAL, 7, "field %s: bad\nvalue", "x"), -EINVAL);
	assert_int_equal(error_wrap(&e, -EINVAL, "pod %s", "web"), -EINVAL);
	assert_string_equal(e.message, "pod web: field x: bad value");
	assert_int_equal(e.reason, 7);
	assert_int_equal(error_set(NULL, -EIO, "nobody listens"), -EIO);
}

/* File names of a pod, of which several processes have one each: what does not fit must not end within a character, which is no text any more. */
static void errors_that_are_put_together_stay_text(void **state)
{
	struct error all = { 0 }, one = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		char name[1000];

		for (size_t k = 0; k + 2 < sizeof(name); k += 2)
			memcpy(name + k, "\xc3\xbc", 3);
		error_set(&one, -EINVAL, "%s%s", i == 1 ? "xy" : "", name);
		error_also(&all, &one);
	}
	assert_int_equal(strlen(all.message), sizeof(all.message) - 1);
	for (const char *p = all.message; *p; p++)
		if ((unsigned char)*p == 0xc3)
			assert_int_equal((unsigned char)*++p, 0xbc);
		else
			assert_true((unsigned char)*p < 0x80);
}

static void buffers_never_pass_their_maximum(void **state)
{
	struct buf b = BUF_INIT(10);

	(void)state;
	assert_int_equal(buf_puts(&b, "0123456789"), 0);
	assert_int_equal(buf_puts(&b, "x"), -ENOSPC);
	assert_string_equal(b.data, "0123456789");
	buf_consume(&b, 4);
	assert_string_equal(b.data, "456789");
	assert_int_equal(buf_printf(&b, "%d", 1234), 0);
	assert_int_equal(buf_printf(&b, "%d", 1), -ENOSPC);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOSPC);
	buf_free(&b);
}

static void durations_parse_as_kubernetes_writes_them(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t us;
	} t[] = {
		{ "10m", 0, 600000000 }, { "300ms", 0, 300000 }, { "1h30m", 0, 5400000000 }, { "1.5s", 0, 1500000 },
		{ "0s", 0, 0 }, { "24h0m0s", 0, 86400000000 }, { "", -EINVAL, 0 }, { "10", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 }, { "1x", -EINVAL, 0 }, { "s", -EINVAL, 0 }, { "999999999999h", -EINVAL, 0 },
		{ "1000h", -EINVAL, 0 }, { "99999999999999999999s", -EINVAL, 0 }, { "500us", 0, 500 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int64_t us = 0;

		assert_int_equal(duration_parse(t[i].text, 100ll * 3600 * 1000000, &us), t[i].r);
		assert_int_equal(us, t[i].us);
	}
}

static void times_are_rfc3339(void **state)
{
	char s[CLOCK_RFC3339_SIZE];

	(void)state;
	clock_rfc3339(1764000000123456, 0, s);
	assert_string_equal(s, "2025-11-24T16:00:00.123456Z");
	clock_rfc3339(1764000000123456, 1, s);
	assert_string_equal(s, "2025-11-24T16:00:00Z");
}

/* Open brackets are counted, but not those in strings, behind an escaped quote, too. */
static void json_nesting_is_bounded(void **state)
{
	cJSON *o = NULL;
	struct error e;

	(void)state;
	for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		char nested[2 * (JSON_DEPTH_MAX + 1)], in_text[2 * JSON_DEPTH_MAX + 4] = "\"\\\"";

		memset(nested, '[', depth);
		memset(nested + depth, ']', depth);
		assert_int_equal(json_parse(nested, 2 * depth, 1000, &o, &e), depth <= JSON_DEPTH_MAX ? 0 : -EINVAL);
		if (depth <= JSON_DEPTH_MAX)
			cJSON_Delete(o);
		memset(in_text + 3, '[', 2 * JSON_DEPTH_MAX);
		in_text[sizeof(in_text) - 1] = '"';
		assert_int_equal(json_parse(in_text, sizeof(in_text), 1000, &o, &e), 0);
		cJSON_Delete(o);
	}
}

static void json_is_case_sensitive_and_whole(void **state)
{
	struct error e = { 0 };
	cJSON *o = NULL;
	int64_t n = 0;
	const char *text = "{\"a\":{\"b/c\":[1,{\"d\":\"x\"}]},\"A\":2.5,\"t\":true}";

	(void)state;
	assert_int_equal(json_parse(text, strlen(text), 1000, &o, &e), 0);
	assert_string_equal(json_str(o, "a/b~1c/1/d"), "x");
	assert_int_equal(json_int(o, "a/b~1c/0", 0, 10, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(json_int(o, "a/b~1c/0", 5, 10, &n), -EINVAL);
	assert_int_equal(json_int(o, "A", 0, 10, &n), -EINVAL);
	assert_int_equal(json_int(o, "B", 0, 10, &n), -ENOENT);
	assert_true(json_bool(o, "t"));
	assert_null(json_at(o, "T"));
	cJSON_Delete(o);
	assert_int_equal(json_parse("{} x", 4, 100, &o, &e), -EINVAL);
	assert_int_equal(json_parse("{\"a\":", 5, 100, &o, &e), -EINVAL);
	assert_int_equal(json_parse("{}", 2, 1, &o, &e), -EINVAL);
	assert_int_equal(json_parse("{\"a\":\"b\0c\"}", 11, 100, &o, &e), -EINVAL);
}

static void base64_round_trips_and_refuses_junk(void **state)
{
	static const char *const bad[] = { "A", "AA=A", "A===", "AB==", "AAB=", "AA*A", "====" };
	struct buf text = BUF_INIT(1000), back = BUF_INIT(1000);
	unsigned char data[64];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 37);
	for (size_t len = 0; len <= sizeof(data); len++) {
		buf_reset(&text);
		buf_reset(&back);
		assert_int_equal(base64_encode(data, len, &text), 0);
		assert_int_equal(base64_decode(text.data ? text.data : "", text.len, &back), 0);
		assert_int_equal(back.len, len);
		assert_memory_equal(back.data ? back.data : "", data, len);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &back), -EINVAL);
	buf_free(&text);
	buf_free(&back);
}

static void files_are_replaced_whole_and_paths_stay_beneath(void **state)
{
	char dir[] = "/tmp/pm-base-XXXXXX";
	struct buf b = BUF_INIT(100);
	struct error e = { 0 };
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(dir_make(fd, "a/b/c", 0700, &e), 0);
	assert_int_equal(file_write(fd, "a/b/f", "hello", 5, 0600, true, &e), 0);
	assert_int_equal(file_write(fd, "a/b/f", "world", 5, 0600, false, &e), 0);
	assert_int_equal(file_read(fd, "a/b/f", &b, &e), 0);
	assert_string_equal(b.data, "world");
	b.max = 3;
	buf_reset(&b);
	b.cap = 0, free(b.data), b.data = NULL;
	assert_int_equal(file_read(fd, "a/b/f", &b, &e), -EFBIG);
	assert_int_equal(symlinkat("/etc", fd, "a/out"), 0);
	assert_true(open_beneath(fd, "a/out/passwd", O_RDONLY, 0, false) < 0);
	assert_true(open_beneath(fd, "../etc/passwd", O_RDONLY, 0, false) < 0);
	assert_int_equal(symlinkat("b", fd, "a/in"), 0);
	assert_int_equal(open_beneath(fd, "a/in/f", O_RDONLY, 0, true), -ELOOP);
	assert_int_equal(tree_remove(fd, "a", &e), 0);
	assert_int_equal(faccessat(fd, "a", F_OK, 0), -1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
	assert_int_equal(tree_remove(fd, "a", &e), 0);
	buf_free(&b);
	close(fd);
	rmdir(dir);
}

/* Something may be mounted among secrets still. */
static void what_is_mounted_keeps_nothing_else_from_being_removed(void **state)
{
	char dir[] = "/tmp/pm-base-XXXXXX", mounted[64], in_it[128];
	struct error e = { 0 };
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(mounted, sizeof(mounted), "%s/a/work/yard", dir);
	snprintf(in_it, sizeof(in_it), "%s/theirs", mounted);
	assert_int_equal(dir_make(fd, "a/images", 0700, &e), 0);
	assert_int_equal(dir_make(fd, "a/work/yard", 0700, &e), 0);
	/* Folders are read in no order that is promised: some before it, some after. */
	for (int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), i % 2 ? "a/images/%d" : "a/work/%d", i);
		assert_int_equal(file_write(fd, name, "secret", 6, 0600, false, &e), 0);
	}
	assert_int_equal(mount("tmpfs", mounted, "tmpfs", 0, NULL), 0);
	assert_int_equal(file_write(AT_FDCWD, in_it, "x", 1, 0600, false, &e), 0);
	assert_int_equal(tree_remove(fd, "a", &e), -EXDEV);
	assert_int_equal(faccessat(fd, "a/images", F_OK, 0), -1);
	assert_int_equal(unlinkat(fd, "a/work", AT_REMOVEDIR), -1);
	assert_int_equal(access(in_it, F_OK), 0);
	for (int i = 0; i < 20; i += 2) {
		char name[32];

		snprintf(name, sizeof(name), "a/work/%d", i);
		assert_int_equal(faccessat(fd, name, F_OK, 0), -1);
	}
	assert_int_equal(umount(mounted), 0);
	assert_int_equal(tree_remove(fd, "a", &e), 0);
	close(fd);
	assert_int_equal(rmdir(dir), 0);
}

static void texts_are_copied_whole_or_not_at_all(void **state)
{
	char out[4] = "old";

	(void)state;
	assert_int_equal(text_copy(out, sizeof(out), "abc"), 0);
	assert_string_equal(out, "abc");
	assert_int_equal(text_copy(out, sizeof(out), "abcd"), -EINVAL);
	assert_int_equal(text_copy(out, sizeof(out), NULL), -EINVAL);
	assert_string_equal(out, "abc");
	/* Names of pods are made of it: it must stay what it is (FNV-1a, 64 bits, draft-eastlake-fnv). */
	assert_true(text_hash(TEXT_HASH, "") == 0xcbf29ce484222325u);
	assert_true(text_hash(TEXT_HASH, "foobar") == 0x85944171f73967e8u);
	assert_true(text_hash(text_hash(TEXT_HASH, "foo"), "bar") == text_hash(TEXT_HASH, "foobar"));
}

static void children_run_are_bounded_and_report(void **state)
{
	const char *const echo[] = { "echo", "one two", NULL }, *const fail[] = { "ls", "/does/not/exist", NULL };
	const char *const slow[] = { "sleep", "30", NULL }, *const none[] = { "/no/such/program", NULL };
	struct process_spec s = { .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	struct buf out = BUF_INIT(1000);
	struct error e = { 0 };
	int64_t start;

	(void)state;
	s.argv = echo;
	assert_int_equal(process_run(&s, 5000000, &out, &e), 0);
	assert_string_equal(out.data, "one two\n");
	s.argv = fail;
	assert_int_equal(process_run(&s, 5000000, NULL, &e), -EIO);
	assert_non_null(strstr(e.message, "No such file"));
	s.argv = none;
	assert_int_equal(process_run(&s, 5000000, NULL, &e), -ENOENT);
	s.argv = slow;
	start = clock_mono_us();
	assert_int_equal(process_run(&s, 100000, NULL, &e), -ETIMEDOUT);
	assert_true(clock_mono_us() - start < 3000000);
	buf_free(&out);
}

static void a_child_joins_its_groups_before_it_runs(void **state)
{
	const char *const argv[] = { "true", NULL };
	char path[] = "/tmp/pm-procs-XXXXXX", text[8] = "";
	int groups[] = { mkstemp(path), -1 }, bad[] = { open("/dev/full", O_WRONLY), -1 };
	struct process_spec s = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .cgroup_fds = groups };
	struct error e = { 0 };

	(void)state;
	assert_int_equal(process_run(&s, 5000000, NULL, &e), 0);
	assert_int_equal(pread(groups[0], text, sizeof(text) - 1, 0), 1);
	assert_string_equal(text, "0");
	s.cgroup_fds = bad;
	assert_int_equal(process_run(&s, 5000000, NULL, &e), -ENOSPC);
	close(groups[0]);
	close(bad[0]);
	unlink(path);
}

static void quantities(void **state)
{
	static const struct {
		const char *text;
		double value;
	} good[] = { { "0", 0 }, { "100m", 0.1 }, { "2", 2 }, { "1.5", 1.5 }, { "128Mi", 134217728 }, { "1G", 1e9 }, { "2e3", 2000 }, { "1E", 1e18 }, { "1Ei", 0x1p60 } };
	static const char *const bad[] = { "", "x", "1 Gi", "1GiB", "Gi", "inf", "nan", "0x10", "-", "100mbit", NULL };
	double v = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(quantity_parse(good[i].text, &v), 0);
		assert_true(v > good[i].value * 0.999999 - 1e-12 && v < good[i].value * 1.000001 + 1e-12);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(quantity_parse(bad[i], &v), -EINVAL);
}

static void quantities_in_bytes(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = { { "0", 0 }, { "100", 100 }, { "64Ki", 65536 }, { "12.5M", 12500000 }, { "1.5Gi", 1610612736 }, { "0.001k", 1 }, { "1900m", 1 } };
	int64_t v = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(quantity_bytes(good[i].text, &v), 0);
		assert_int_equal(v, good[i].value);
	}
	assert_int_equal(quantity_bytes(NULL, &v), -EINVAL);
	assert_int_equal(quantity_bytes("-1", &v), -ERANGE);
	assert_int_equal(quantity_bytes("999999999999Ti", &v), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_keep_reason_and_nest),
		cmocka_unit_test(errors_that_are_put_together_stay_text),
		cmocka_unit_test(buffers_never_pass_their_maximum),
		cmocka_unit_test(durations_parse_as_kubernetes_writes_them),
		cmocka_unit_test(times_are_rfc3339),
		cmocka_unit_test(quantities),
		cmocka_unit_test(quantities_in_bytes),
		cmocka_unit_test(json_nesting_is_bounded),
		cmocka_unit_test(json_is_case_sensitive_and_whole),
		cmocka_unit_test(base64_round_trips_and_refuses_junk),
		cmocka_unit_test(files_are_replaced_whole_and_paths_stay_beneath),
		cmocka_unit_test(what_is_mounted_keeps_nothing_else_from_being_removed),
		cmocka_unit_test(texts_are_copied_whole_or_not_at_all),
		cmocka_unit_test(children_run_are_bounded_and_report),
		cmocka_unit_test(a_child_joins_its_groups_before_it_runs),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
