/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "migration/reason.h"

#include "agent/handshake.c"

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	(void)o;
	(void)fmt;
	out[0] = '\0';
	return size ? 0 : -1;
}

#define HERE "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.12.3-cloud\",\"criu\":40201,\"cgroup\":2}"

static const struct {
	const char *hello;
	int reason;                     /* 0: accepted */
	const char *word;               /* in the message */
} row[] = {
	{ HERE, 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40000,\"cgroup\":2}", 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"5.10\",\"criu\":40201,\"cgroup\":2}", 0, NULL },
	{ "{\"protocol\":1,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2}", REASON_ProtocolError, "protocol 1" },
	{ "{\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2}", REASON_ProtocolError, "protocol" },
	{ "{\"protocol\":2,\"arch\":\"aarch64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "aarch64" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.13.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "6.13.0" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"10.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "10.0" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40300,\"cgroup\":2}", REASON_CRIUIncompatible, "40300" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":31700,\"cgroup\":2}", REASON_CRIUIncompatible, "31700" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":\"x\",\"cgroup\":2}", REASON_CRIUIncompatible, "CRIU" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":1}", REASON_CgroupIncompatible, "v1" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201}", REASON_CgroupIncompatible, "cgroup" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2,\"cpuinfo\":\"%%\"}", REASON_ProtocolError, "cpuinfo" },
};

static void nodes_that_differ_are_refused_by_name(void **state)
{
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *here = cJSON_Parse(HERE);

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		cleanup_json cJSON *hello = cJSON_Parse(row[i].hello);
		struct error err = { 0 };
		int r = node_check(&o, hello, here, &err);

		assert_non_null(hello);
		assert_int_equal(err.reason, row[i].reason);
		assert_int_equal(r < 0, row[i].reason != 0);
		if (row[i].word)
			assert_non_null(strstr(err.message, row[i].word));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nodes_that_differ_are_refused_by_name) };

	return cmocka_run_group_tests_name("agent handshake", tests, NULL, NULL);
}
