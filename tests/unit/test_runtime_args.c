/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/cgroup_name.h"
#include "runtime/runtime.h"

#define GLOBALS "--root", "/r", "--log", "/l", "--log-format", "json"

struct expected {
	const char *argv[20];
	const char *command, *id, *operand, *bundle, *pid_file, *process, *console;
	bool force, detach, systemd;
};

/* The lines that go-runc writes, and the other spellings that runc takes. */
static const struct expected cases[] = {
	{ { "rt", GLOBALS, "create", "--bundle", "/b", "--pid-file", "/b/p", "ID" }, "create", "ID", NULL, "/b", "/b/p", NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "--systemd-cgroup", "create", "--bundle", "/b", "--pid-file", "/p", "--console-socket", "/s", "--no-pivot", "ID" },
	  "create", "ID", NULL, "/b", "/p", NULL, "/s", false, false, true },
	{ { "rt", "--root=/r", "--log=/l", "-log-format=json", "create", "-b", "/b", "--pid-file=/p", "--preserve-fds", "2", "ID" },
	  "create", "ID", NULL, "/b", "/p", NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "kill", "--all", "ID", "9" }, "kill", "ID", "9", NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "kill", "ID", "-9" }, "kill", "ID", "-9", NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "delete", "--force", "ID" }, "delete", "ID", NULL, NULL, NULL, NULL, NULL, true, false, false },
	{ { "rt", GLOBALS, "delete", "--force=false", "ID" }, "delete", "ID", NULL, NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "exec", "--process", "/p", "--detach", "--pid-file", "/q", "ID" }, "exec", "ID", NULL, NULL, "/q", "/p", NULL, false, true, false },
	{ { "rt", GLOBALS, "exec", "ID", "ls", "--detach", "--pid-file", "/x" }, "exec", "ID", "ls", NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "exec", "-p", "/p", "-d", "--", "-ID" }, "exec", "-ID", NULL, NULL, NULL, "/p", NULL, false, true, false },
	{ { "rt", GLOBALS, "ps", "--format", "json", "ID" }, "ps", "ID", NULL, NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "update", "--resources=-", "ID" }, "update", "ID", NULL, NULL, NULL, NULL, NULL, false, false, false },
	{ { "rt", GLOBALS, "start" }, "start", NULL, NULL, NULL, NULL, NULL, NULL, false, false, false },
};

static void same(const char *a, const char *b)
{
	if (b)
		assert_non_null(a);
	else
		assert_null(a);
	if (b)
		assert_string_equal(a, b);
}

static void what_the_shim_writes_is_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *argv[20];
		struct oci_args a;
		int n = 0;

		for (; cases[i].argv[n]; n++)
			argv[n] = (char *)(uintptr_t)cases[i].argv[n];
		argv[n] = NULL;
		args_parse(n, argv, &a);
		same(a.root, "/r");
		same(a.log, "/l");
		same(a.log_format, "json");
		same(a.command, cases[i].command);
		same(a.id, cases[i].id);
		same(a.operand, cases[i].operand);
		same(a.bundle, cases[i].bundle);
		same(a.pid_file, cases[i].pid_file);
		same(a.process, cases[i].process);
		same(a.console_socket, cases[i].console);
		assert_int_equal(a.force, cases[i].force);
		assert_int_equal(a.detach, cases[i].detach);
		assert_int_equal(a.systemd_cgroup, cases[i].systemd);
		assert_ptr_equal(a.argv, argv);
	}
}

static void odd_lines_do_no_harm(void **state)
{
	static const char *const lines[][6] = {
		{ NULL },
		{ "rt", NULL },
		{ "rt", "--root", NULL },
		{ "rt", "-", "--", "-", NULL },
		{ "rt", "", "", "", NULL },
		{ "rt", "create", "--bundle", NULL },
		{ "rt", "--=x", "-=", "---", "=", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *argv[8];
		struct oci_args a;
		int n = 0;

		for (; lines[i][n]; n++)
			argv[n] = (char *)(uintptr_t)lines[i][n];
		argv[n] = NULL;
		args_parse(n, argv, &a);
		assert_null(a.root);
		assert_null(a.bundle);
	}
}

static void cgroup_paths_of_both_drivers(void **state)
{
	static const struct {
		const char *in, *out;
		int r;
	} paths[] = {
		{ "/kubepods/burstable/podU/ID", "/kubepods/burstable/podU/ID", 0 },
		{ "kubepods-burstable-podU.slice:cri-containerd:ID",
		  "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/cri-containerd-ID.scope", 0 },
		{ "system.slice:p:n", "/system.slice/p-n.scope", 0 },
		{ "", NULL, -EINVAL },
		{ "/", NULL, -EINVAL },
		{ "relative", NULL, -EINVAL },
		{ "/a/../b", NULL, -EINVAL },
		{ "a.slice:p", NULL, -EINVAL },
		{ "a.slice:p:", NULL, -EINVAL },
		{ "a.slice:p:n:x", NULL, -EINVAL },
		{ "a.slice:p/q:n", NULL, -EINVAL },
		{ "a/b.slice:p:n", NULL, -EINVAL },
		{ ".slice:p:n", NULL, -EINVAL },
		{ "a:p:n", NULL, -EINVAL },
		{ "-a.slice:p:n", NULL, -EINVAL },
	};
	char out[256], small[16];

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(cgroup_name_expand(paths[i].in, out, sizeof(out)), paths[i].r);
		if (paths[i].out)
			assert_string_equal(out, paths[i].out);
	}
	assert_int_equal(cgroup_name_expand(paths[0].in, small, sizeof(small)), -ENAMETOOLONG);
	assert_int_equal(cgroup_name_expand(paths[1].in, small, sizeof(small)), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_shim_writes_is_understood),
		cmocka_unit_test(odd_lines_do_no_harm),
		cmocka_unit_test(cgroup_paths_of_both_drivers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
