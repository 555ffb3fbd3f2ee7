/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "migration/reason.h"

#define criu_cpuinfo_check played_check
#include "agent/handshake.c"
#include "agent/handshake_ids.c"
#undef criu_cpuinfo_check

/* An image is one byte of features here. */
static unsigned char features;

int played_check(pid_t host_pid, const void *image, size_t len, struct error *err)
{
	(void)host_pid;
	assert_int_equal(len, 1);
	return *(const unsigned char *)image & ~features ? error_reason(err, -ENOTSUP, REASON_CPUIncompatible, "lacks features") : 0;
}

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	(void)o;
	(void)fmt;
	out[0] = '\0';
	return size ? 0 : -1;
}

#define HERE "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.12.3-cloud\",\"criu\":40201,\"cgroup\":2,\"lsm\":\"apparmor\"}"

static const struct {
	const char *hello;
	int reason;                     /* 0: accepted */
	const char *word;               /* in the message */
} row[] = {
	{ HERE, 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40000,\"cgroup\":2}", 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"5.10\",\"criu\":40201,\"cgroup\":2}", 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"aarch64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "aarch64" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.13.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "6.13.0" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"10.0\",\"criu\":40201,\"cgroup\":2}", REASON_KernelIncompatible, "10.0" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40300,\"cgroup\":2}", REASON_CRIUIncompatible, "40300" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":31700,\"cgroup\":2}", REASON_CRIUIncompatible, "31700" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":\"x\",\"cgroup\":2}", REASON_CRIUIncompatible, "CRIU" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":1}", REASON_CgroupIncompatible, "v1" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201}", REASON_CgroupIncompatible, "cgroup" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2,\"cpuinfo\":\"%%\"}", REASON_ProtocolError, "cpuinfo" },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2,\"confined\":\"apparmor\"}", 0, NULL },
	{ "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.1.0\",\"criu\":40201,\"cgroup\":2,\"confined\":\"selinux\"}", REASON_KernelIncompatible, "selinux" },
};

static void nodes_that_differ_are_refused_by_name(void **state)
{
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *here = cJSON_Parse(HERE);

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		cleanup_json cJSON *hello = cJSON_Parse(row[i].hello);
		struct obstacles found = { 0 };
		struct error err = { 0 };
		int r;

		assert_non_null(hello);
		node_check(&o, hello, here, &found);
		r = obstacles_error(&found, &err);
		assert_int_equal(err.reason, row[i].reason);
		assert_int_equal(r < 0, row[i].reason != 0);
		if (row[i].word)
			assert_non_null(strstr(err.message, row[i].word));
	}
}

/* Each row of the table of checks finds something, and all of it is told; the first one's reason, as it was when only the first was told. */
static void all_that_differs_is_told_at_once(void **state)
{
	static const char hello_text[] = "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.13.0\",\"criu\":40300,\"cgroup\":1,\"confined\":\"selinux\",\"instructions\":[\"fma\",\"sm4\"],\"cpuinfo\":\"Aw==\"}";
	static const char *const words[] = { "kernel 6.13.0", "; CRIUIncompatible: the source node has CRIU 40300", "; CgroupIncompatible: the source node uses cgroup v1",
					     "; KernelIncompatible: the pod's processes are confined by selinux", "; CPUIncompatible: the destination node's CPU lacks instructions", ": fma sm4",
					     "; CPUIncompatible: lacks features" };
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *here = cJSON_Parse(HERE), *hello = cJSON_Parse(hello_text), *other = cJSON_Parse(hello_text);
	struct obstacles found = { 0 };
	struct error err = { 0 };

	(void)state;
	features = 1;
	node_check(&o, hello, here, &found);
	assert_int_equal(found.n, 6);
	assert_int_equal(obstacles_error(&found, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_KernelIncompatible);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strstr(err.message, words[i]))
			fail_msg("%s is not in: %s", words[i], err.message);
	/* Another architecture has another CPU: that says enough. */
	cJSON_ReplaceItemInObjectCaseSensitive(other, "arch", cJSON_CreateString("aarch64"));
	found = (struct obstacles){ 0 };
	node_check(&o, other, here, &found);
	assert_int_equal(found.n, 5);
	assert_int_equal(obstacles_error(&found, &err), -ENOTSUP);
	assert_null(strstr(err.message, "CPU"));
	assert_int_equal(strncmp(err.message, "the source node is aarch64", strlen("the source node is aarch64")), 0);
}

/* A source that has found something, its own CRIU perhaps, tells what it knows: what it does not is no difference. */
static void what_is_not_told_is_not_compared_of_one_that_has_found_something(void **state)
{
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *here = cJSON_Parse(HERE), *little = cJSON_Parse("{\"protocol\":2,\"found\":{}}"), *some = cJSON_Parse("{\"found\":{},\"arch\":\"x86_64\",\"kernel\":\"6.13.0\",\"confined\":\"selinux\"}");
	cleanup_json cJSON *nothing = cJSON_Parse("{\"protocol\":2}");
	struct obstacles found = { 0 };

	(void)state;
	node_check(&o, little, here, &found);
	assert_int_equal(found.n, 0);
	node_check(&o, some, here, &found);
	assert_int_equal(found.n, 2);
	found = (struct obstacles){ 0 };
	node_check(&o, nothing, here, &found);
	assert_int_equal(found.n, 3);
}

/* Two nodes, and whether a pod can go from one to the other, and back; an image is base64 of one byte. */
#define NODE(cpu, list) "{\"arch\":\"x86_64\",\"kernel\":\"6.1\",\"criu\":40201,\"cgroup\":2" cpu list "}"
#define CPU(text) ",\"cpuinfo\":\"" text "\""
#define HAS(list) ",\"instructions\":[" list "]"

static const struct {
	const char *a, *b;
	unsigned char has_a, has_b;
	bool there, back;
	const char *missing;            /* of the way that is refused; NULL: CRIU says it */
} ways[] = {
	{ NODE(CPU("Aw=="), HAS("\"fma\"")), NODE(CPU("Aw=="), HAS("\"fma\"")), 3, 3, true, true, NULL },
	/* b has more: who has been there may use it */
	{ NODE(CPU("Aw=="), HAS("")), NODE(CPU("Bw=="), HAS("")), 3, 7, true, false, NULL },
	{ NODE(CPU("Aw=="), HAS("\"fma\"")), NODE(CPU("Aw=="), HAS("\"fma\",\"gfni\",\"vaes\"")), 3, 3, true, false, ": gfni vaes" },
	/* each has what the other lacks */
	{ NODE(CPU("Aw=="), HAS("\"sm3\"")), NODE(CPU("Aw=="), HAS("\"clwb\"")), 3, 3, false, false, ": " },
	/* an agent of before; a later one, which tells of what we do not know; not what it should be */
	{ NODE(CPU("Aw=="), ""), NODE(CPU("Aw=="), HAS("\"gfni\"")), 3, 3, true, false, ": gfni" },
	{ NODE(CPU("Aw=="), HAS("\"fma\",\"later\"")), NODE(CPU("Aw=="), HAS("\"fma\"")), 3, 3, true, true, NULL },
	{ NODE(CPU("Aw=="), ",\"instructions\":{\"a\":[1]}"), NODE(CPU("Aw=="), HAS("1,null,[\"sm3\"]")), 3, 3, true, true, NULL },
};

static void go(const char *from, const char *to, unsigned char has, bool may, const char *missing)
{
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *hello = cJSON_Parse(from), *here = cJSON_Parse(to);
	struct obstacles found = { 0 };
	struct error err = { 0 };
	int r;

	assert_non_null(hello);
	assert_non_null(here);
	features = has;
	node_check(&o, hello, here, &found);
	r = obstacles_error(&found, &err);
	assert_int_equal(r, may ? 0 : -ENOTSUP);
	assert_int_equal(err.reason, may ? REASON_NONE : REASON_CPUIncompatible);
	if (!may)
		assert_non_null(strstr(err.message, missing ? missing : "lacks features"));
}

static void a_cpu_may_have_more_but_not_less_each_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		go(ways[i].a, ways[i].b, ways[i].has_b, ways[i].there, ways[i].missing);
		go(ways[i].b, ways[i].a, ways[i].has_a, ways[i].back, ways[i].missing);
	}
}

static void instructions_are_read_as_words(void **state)
{
	char text[] = "processor\t: 0\nflags\t\t: fma vaesx avx512_vnni_not xgfni clwb sm3\nbugs\t: gfni\nflags\t\t: vaes\n", cut[] = "flags\t: sm4";
	cleanup_json cJSON *list = cJSON_CreateArray();
	cleanup_fclose FILE *f = fmemopen(text, strlen(text), "r"), *g = fmemopen(cut, strlen(cut), "r");

	(void)state;
	list_instructions(f, list);
	assert_int_equal(cJSON_GetArraySize(list), 3);
	assert_true(lists(list, "fma") && lists(list, "clwb") && lists(list, "sm3"));
	list_instructions(g, list);
	assert_true(lists(list, "sm4"));
}

static void labels_tell_who_confines(void **state)
{
	(void)state;
	assert_null(lsm_of_label(""));
	assert_null(lsm_of_label("unconfined\n"));
	assert_null(lsm_of_label("unconfined (enforce)"));
	assert_string_equal(lsm_of_label("cri-containerd.apparmor.d (enforce)\n"), "apparmor");
	assert_string_equal(lsm_of_label("unconfined-not (complain)"), "apparmor");
	assert_string_equal(lsm_of_label("system_u:system_r:container_t:s0:c1,c2"), "selinux");
	assert_string_equal(lsm_of_label("unconfined_u:unconfined_r:unconfined_t:s0\n"), "selinux");
}

/* What the source's HELLO says, how many ids the destination pod has, and what comes of it. */
static const struct {
	const char *hello;
	uint32_t count;
	int reason;
	const char *word;
} id_row[] = {
	{ "{\"userIds\":65536}", 65536, 0, NULL },
	{ "{\"userIds\":0}", 0, 0, NULL },
	/* an older agent has refused what has one */
	{ "{}", 0, 0, NULL },
	{ "{}", 65536, REASON_UnsupportedContainer, "the source's agent" },
	{ "{\"userIds\":\"x\"}", 65536, REASON_UnsupportedContainer, "the source's agent" },
	{ "{\"userIds\":65536}", 0, REASON_KernelIncompatible, "the source pod has a user namespace of its own, the destination pod has none" },
	{ "{\"userIds\":0}", 65536, REASON_KernelIncompatible, "the source pod has no user namespace of its own, the destination pod has one" },
	{ "{\"userIds\":131072}", 65536, REASON_KernelIncompatible, "has 131072 ids, the destination pod's 65536" },
};

static void user_namespaces_must_be_of_one_size(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(id_row) / sizeof(id_row[0]); i++) {
		cleanup_json cJSON *hello = cJSON_Parse(id_row[i].hello);
		struct obstacles found = { 0 };
		struct error err = { 0 };

		ids_check(hello, id_row[i].count, &found);
		obstacles_error(&found, &err);
		assert_int_equal(err.reason, id_row[i].reason);
		if (id_row[i].word)
			assert_non_null(strstr(err.message, id_row[i].word));
	}
}

static void a_pod_of_a_user_namespace_goes_to_no_agent_that_knows_none(void **state)
{
	cleanup_json cJSON *older = cJSON_Parse("{\"protocol\":4}"), *knows = cJSON_Parse("{\"protocol\":4}");
	struct error err = { 0 };

	(void)state;
	ids_put(knows, 65536);
	assert_int_equal(ids_known(knows, 65536, &err), 0);
	assert_int_equal(ids_known(older, 0, &err), 0);
	assert_int_equal(ids_known(older, 65536, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedContainer);
	assert_non_null(strstr(err.message, "the destination's agent"));
}

/* Two agents, each with the versions it speaks; 0: they cannot talk. */
static const struct {
	struct wire_versions source, destination;
	int agreed;
	const char *upgrade;            /* whose cluster the message sends a person to */
} pair[] = {
	{ { 2, 2 }, { 2, 2 }, 2, NULL },
	{ { 2, 3 }, { 2, 3 }, 3, NULL },
	/* One side is a version ahead, either of them. */
	{ { 2, 3 }, { 1, 2 }, 2, NULL },
	{ { 1, 2 }, { 2, 3 }, 2, NULL },
	{ { 2, 2 }, { 2, 3 }, 2, NULL },
	/* Two ahead, or one that has no way back. */
	{ { 3, 4 }, { 1, 2 }, 0, "destination's" },
	{ { 1, 2 }, { 3, 4 }, 0, "source's" },
	{ { 3, 3 }, { 2, 2 }, 0, "destination's" },
	{ { 1, 1 }, { 2, 2 }, 0, "source's" },
	{ { 3, 2 }, { 2, 2 }, 0, NULL },
};

static void versions_that_follow_each_other_agree(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		struct error err = { 0 };
		char number[16];
		int agreed = 0, r = wire_agree(&pair[i].source, &pair[i].destination, &agreed, &err);

		assert_int_equal(r, pair[i].agreed ? 0 : -EPROTO);
		assert_int_equal(agreed, pair[i].agreed);
		assert_int_equal(err.reason, pair[i].agreed ? 0 : REASON_ProtocolError);
		if (pair[i].upgrade)
			assert_non_null(strstr(err.message, pair[i].upgrade));
		for (int k = 0; r < 0 && k < 2; k++) {
			snprintf(number, sizeof(number), "%d", k ? pair[i].source.newest : pair[i].destination.newest);
			assert_non_null(strstr(err.message, number));
		}
	}
}

/* An agent that cannot be spoken with: what else keeps the pod from this node is told with that. */
static void another_version_is_not_all(void **state)
{
	const struct agent_options o = { .node = "here" };
	cleanup_json cJSON *here = cJSON_Parse(HERE), *hello = cJSON_Parse("{\"protocol\":99,\"protocolOldest\":99,\"arch\":\"x86_64\",\"kernel\":\"6.13.0\",\"criu\":40201,\"cgroup\":1}");
	struct error err = { 0 };
	int v = 0;

	(void)state;
	assert_int_equal(protocol_agree(&o, hello, here, &v, &err), -EPROTO);
	assert_int_equal(err.reason, REASON_ProtocolError);
	assert_non_null(strstr(err.message, "; KernelIncompatible: the source node runs kernel 6.13.0"));
	assert_non_null(strstr(err.message, "; CgroupIncompatible: "));
	cJSON_AddBoolToObject(hello, "resume", 1);
	assert_int_equal(protocol_agree(&o, hello, here, &v, &err), -EPROTO);
	assert_null(strstr(err.message, "Incompatible"));
}

#define PROTOCOL(newest, rest) "{\"protocol\":" newest rest "}"
#define OLDEST(v) ",\"protocolOldest\":" v

/* Peers of the version before ours, of ours and of the next, in the words of HELLO and WELCOME; ours is 4, and 3 is before it. */
static void peers_of_other_versions(void **state)
{
	static const struct {
		const char *hello;
		int chosen;             /* 0: refused */
	} hellos[] = {
		{ PROTOCOL("3", ""), 3 },
		{ PROTOCOL("3", OLDEST("3")), 3 },
		{ PROTOCOL("3", OLDEST("2")), 3 },
		{ PROTOCOL("4", OLDEST("3")), 4 },
		{ PROTOCOL("4", ""), 4 },
		{ PROTOCOL("5", OLDEST("4")), 4 },
		{ PROTOCOL("5", ""), 0 },
		{ PROTOCOL("6", OLDEST("5")), 0 },
		{ PROTOCOL("2", ""), 0 },
		{ PROTOCOL("2", OLDEST("2")), 0 },
		{ PROTOCOL("3", OLDEST("4")), 0 },
		{ PROTOCOL("3", OLDEST("\"3\"")), 0 },
		{ PROTOCOL("0", ""), 0 },
		{ PROTOCOL("2.5", ""), 0 },
		{ PROTOCOL("\"2\"", ""), 0 },
		{ PROTOCOL("99999999999", ""), 0 },
		{ "{}", 0 },
	};
	static const struct {
		const char *welcome;
		int taken;
	} welcomes[] = { { PROTOCOL("3", ""), 3 }, { PROTOCOL("4", ""), 4 }, { PROTOCOL("5", ""), 0 }, { PROTOCOL("2", ""), 0 }, { "{}", 0 }, { PROTOCOL("-2", ""), 0 } };

	(void)state;
	assert_int_equal(WIRE_PROTOCOL, 4);     /* a new version needs new rows */
	for (size_t i = 0; i < sizeof(hellos) / sizeof(hellos[0]); i++) {
		cleanup_json cJSON *j = cJSON_Parse(hellos[i].hello);
		struct error err = { 0 };
		int v = 0, r = protocol_choose(j, &v, &err);

		assert_int_equal(v, hellos[i].chosen);
		assert_int_equal(r, v ? 0 : -EPROTO);
		assert_int_equal(err.reason, v ? 0 : REASON_ProtocolError);
	}
	for (size_t i = 0; i < sizeof(welcomes) / sizeof(welcomes[0]); i++) {
		cleanup_json cJSON *j = cJSON_Parse(welcomes[i].welcome);
		struct error err = { 0 };
		int v = 0, r = protocol_take(j, &v, &err);

		assert_int_equal(v, welcomes[i].taken);
		assert_int_equal(r, v ? 0 : -EPROTO);
		assert_int_equal(err.reason, v ? 0 : REASON_ProtocolError);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_tell_who_confines), cmocka_unit_test(a_cpu_may_have_more_but_not_less_each_way), cmocka_unit_test(instructions_are_read_as_words), cmocka_unit_test(nodes_that_differ_are_refused_by_name),
		cmocka_unit_test(user_namespaces_must_be_of_one_size), cmocka_unit_test(a_pod_of_a_user_namespace_goes_to_no_agent_that_knows_none),
		cmocka_unit_test(all_that_differs_is_told_at_once), cmocka_unit_test(what_is_not_told_is_not_compared_of_one_that_has_found_something),
		cmocka_unit_test(versions_that_follow_each_other_agree),
		cmocka_unit_test(another_version_is_not_all), cmocka_unit_test(peers_of_other_versions),
	};

	return cmocka_run_group_tests_name("agent handshake", tests, NULL, NULL);
}
