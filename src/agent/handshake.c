/* SPDX-License-Identifier: Apache-2.0 */
#include "handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "container/runc.h"
#include "migration/reason.h"
#include "transfer/wire.h"

#define CRIU_OLDEST 40000
#define CPUINFO_MAX 65536
#define CGROUP2_MAGIC 0x63677270        /* linux/magic.h */

static int cgroup_version(const struct agent_options *o)
{
	struct statfs st;
	char path[4096];

	if (agent_host_path(o, path, sizeof(path), "/sys/fs/cgroup") < 0 || statfs(path, &st) < 0)
		return 1;
	return st.f_type == CGROUP2_MAGIC ? 2 : 1;
}

/* The one that confines containers here, as CRIU knows them (criu/lsm.c, host_lsm_type). */
static const char *lsm_here(const struct agent_options *o)
{
	char path[4096], enabled = 'N';
	cleanup_close int fd = open("/sys/module/apparmor/parameters/enabled", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, &enabled, 1) == 1 && enabled == 'Y')
		return "apparmor";
	return agent_host_path(o, path, sizeof(path), "/sys/fs/selinux/enforce") == 0 && access(path, F_OK) == 0 ? "selinux" : "none";
}

const char *lsm_of_label(const char *label)
{
	size_t len = strcspn(label, "\n");

	/* AppArmor: "profile (mode)", or "unconfined"; SELinux: "user:role:type:level". */
	if (!len || (len >= 10 && !strncmp(label, "unconfined", 10) && (len == 10 || label[10] == ' ')))
		return NULL;
	return label[len - 1] == ')' ? "apparmor" : memchr(label, ':', len) ? "selinux" : NULL;
}

/*
 * Instructions that programs look for by themselves, and that `criu cpuinfo check` does not compare: it has a list of its own, which ends with the first AVX-512 (criu/arch/x86/cpu.c, x86_ins_capability_mask;
 * the registers it does compare).  A program that has chosen one would be ended by it where it is missing.  Names as in /proc/cpuinfo of x86 (asm/cpufeatures.h); hints, which do nothing there, are left out.
 */
static const char *const instructions[] = {
	"fma", "lahf_lm", "mwaitx", "clzero", "rdpru", "clwb", "rdpid", "movdiri", "movdir64b", "waitpkg", "serialize", "tsxldtrk", "enqcmd", "cmpccxadd", "sha512", "sm3", "sm4",
	"gfni", "vaes", "vpclmulqdq", "avx_vnni", "avx_ifma", "avx_vnni_int8", "avx_vnni_int16", "avx_ne_convert", "avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx512_vnni",
	"avx512_bitalg", "avx512_vpopcntdq", "avx512_4vnniw", "avx512_4fmaps", "avx512_vp2intersect", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "amx_complex",
};
#define INSTRUCTIONS (sizeof(instructions) / sizeof(instructions[0]))

/* "flags		: fpu vme .." */
static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = line; (p = strstr(p, word)); p += len)
		if (p > line && (p[-1] == ' ' || p[-1] == '\t') && (p[len] == ' ' || p[len] == '\n' || !p[len]))
			return true;
	return false;
}

static void list_instructions(FILE *cpuinfo, cJSON *out)
{
	cleanup_free char *line = NULL;
	size_t size = 0;

	/* The first processor's, which are all processors' (arch/x86/kernel/cpu/common.c, identify_cpu). */
	while (getline(&line, &size, cpuinfo) > 0) {
		if (strncmp(line, "flags", strlen("flags")))
			continue;
		for (size_t i = 0; i < INSTRUCTIONS; i++)
			if (has_word(line, instructions[i]))
				cJSON_AddItemToArray(out, cJSON_CreateString(instructions[i]));
		return;
	}
}

static void add_instructions(cJSON *out)
{
	cJSON *list = cJSON_AddArrayToObject(out, "instructions");
	cleanup_fclose FILE *f = fopen("/proc/cpuinfo", "re");

	if (f)
		list_instructions(f, list);
}

static bool lists(const cJSON *list, const char *name)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, list) {
		if (cJSON_IsString(e) && !strcmp(e->valuestring, name))
			return true;
	}
	return false;
}

static int add_cpuinfo(const struct agent_options *o, cJSON *out, struct error *err)
{
	cleanup_buf struct buf image = BUF_INIT(CPUINFO_MAX), text = BUF_INIT(CPUINFO_MAX * 2);
	int r = criu_cpuinfo_dump(o->host_pid, &image, err);

	if (r < 0)
		return r;
	if (base64_encode(image.data, image.len, &text) < 0)
		return error_set(err, -ENOMEM, "CPU description too large");
	cJSON_AddStringToObject(out, "cpuinfo", text.data);
	return 0;
}

void node_words(const struct agent_options *o, cJSON *out)
{
	cJSON_AddNumberToObject(out, "protocol", WIRE_PROTOCOL);
	cJSON_AddNumberToObject(out, "protocolOldest", WIRE_PROTOCOL_OLDEST);
	cJSON_AddStringToObject(out, "agent", PM_VERSION_STRING);
	cJSON_AddStringToObject(out, "node", o->node);
}

int node_facts(const struct agent_options *o, bool with_cpu, cJSON *out, struct error *err)
{
	struct utsname u;
	char text[64];
	int version, r;

	r = criu_version(o->host_pid, &version, text, sizeof(text), err);
	if (r < 0)
		return error_reason(err, r, REASON_CRIUIncompatible, "node %s has no usable criu: %s", o->node, err->message);
	if (uname(&u) < 0)
		return error_errno(err, "uname");
	node_words(o, out);
	cJSON_AddNumberToObject(out, "criu", version);
	cJSON_AddStringToObject(out, "kernel", u.release);
	cJSON_AddStringToObject(out, "arch", u.machine);
	cJSON_AddNumberToObject(out, "cgroup", cgroup_version(o));
	cJSON_AddStringToObject(out, "lsm", lsm_here(o));
	add_instructions(out);
	return with_cpu ? add_cpuinfo(o, out, err) : 0;
}

/* --- the comparison --- */

struct comparison {
	const struct agent_options *o;
	const cJSON *hello, *here;
	struct obstacles *out;
};

static int kernel_number(const char *release)
{
	unsigned major = 0, minor = 0;

	return sscanf(release, "%u.%u", &major, &minor) == 2 ? (int)(major * 1000 + minor) : 0;
}

static bool same_arch(const struct comparison *c)
{
	return !strcmp(json_str_or(c->hello, "arch", "?"), json_str_or(c->here, "arch", ""));
}

static void check_arch(const struct comparison *c)
{
	if (!same_arch(c))
		obstacles_add(c->out, REASON_KernelIncompatible, "the source node is %.64s, the destination %.64s", json_str_or(c->hello, "arch", "?"), json_str_or(c->here, "arch", "?"));
}

static void check_kernel(const struct comparison *c)
{
	const char *kernel = json_str_or(c->hello, "kernel", "?"), *my_kernel = json_str_or(c->here, "kernel", "?");

	if (kernel_number(kernel) > kernel_number(my_kernel))
		obstacles_add(c->out, REASON_KernelIncompatible, "the source node runs kernel %.128s, the destination the older %.128s", kernel, my_kernel);
}

static void check_criu(const struct comparison *c)
{
	int64_t criu = 0, my_criu = 0;

	if (json_int(c->hello, "criu", 0, 1000000, &criu) < 0 || json_int(c->here, "criu", 0, 1000000, &my_criu) < 0 || criu < CRIU_OLDEST || my_criu < criu)
		obstacles_add(c->out, REASON_CRIUIncompatible, "the source node has CRIU %d, the destination %d (as 40201 for 4.2.1)", (int)criu, (int)my_criu);
}

static void check_cgroup(const struct comparison *c)
{
	int64_t cgroup = 0, my_cgroup = 0;

	if (json_int(c->hello, "cgroup", 1, 2, &cgroup) < 0 || json_int(c->here, "cgroup", 1, 2, &my_cgroup) < 0 || cgroup != my_cgroup)
		obstacles_add(c->out, REASON_CgroupIncompatible, "the source node uses cgroup v%d, the destination v%d", (int)cgroup, (int)my_cgroup);
}

/* CRIU gives a process the profile back that it had; where there are none of its kind, it fails, and the pod has stood still in vain. */
static void check_lsm(const struct comparison *c)
{
	const char *confined = json_str(c->hello, "confined"), *lsm = json_str_or(c->here, "lsm", "?");

	if (confined && strcmp(confined, lsm))
		obstacles_add(c->out, REASON_KernelIncompatible, "the pod's processes are confined by %.20s, and the destination node has %s", confined,
			      strcmp(lsm, "none") ? lsm : "no such security module");
}

/* An agent of before does not tell; of what a later one tells more, we know nothing of our own. */
static void check_instructions(const struct comparison *c)
{
	const cJSON *theirs = json_at(c->hello, "instructions"), *ours_list = json_at(c->here, "instructions");
	cleanup_buf struct buf missing = BUF_INIT(1024);

	for (size_t i = 0; i < INSTRUCTIONS; i++)
		if (lists(theirs, instructions[i]) && !lists(ours_list, instructions[i])) {
			buf_puts(&missing, " ");
			buf_puts(&missing, instructions[i]);
		}
	if (missing.len)
		obstacles_add(c->out, REASON_CPUIncompatible, "the destination node's CPU lacks instructions of the source node's, which the pod's programs may use:%s", missing.data);
}

static void check_cpu(const struct comparison *c)
{
	cleanup_buf struct buf image = BUF_INIT(CPUINFO_MAX);
	const char *text = json_str(c->hello, "cpuinfo");
	struct error found = { 0 };

	if (!text)
		return;
	if (base64_decode(text, strlen(text), &image) < 0)
		obstacles_add(c->out, REASON_ProtocolError, "HELLO: cpuinfo is not base64");
	else
		obstacles_take(c->out, criu_cpuinfo_check(c->o->host_pid, image.data, image.len, &found), &found);
}

/* Order: the first one that finds something names the migration's reason, so what explains the others comes first. */
static const struct {
	const char *of;                 /* in HELLO */
	void (*check)(const struct comparison *c);
	bool of_one_arch;               /* of another architecture there is nothing to compare */
} node_checks[] = {
	{ "arch", check_arch, false }, { "kernel", check_kernel, false }, { "criu", check_criu, false }, { "cgroup", check_cgroup, false }, { "confined", check_lsm, false },
	{ "instructions", check_instructions, true }, { "cpuinfo", check_cpu, true },
};

/* A source that has found something tells of its node what it could read, and why it could not read the rest. */
static bool to_be_compared(const struct comparison *c, size_t i)
{
	if (json_at(c->hello, "found") && !json_at(c->hello, node_checks[i].of))
		return false;
	return !node_checks[i].of_one_arch || same_arch(c);
}

void node_check(const struct agent_options *o, const cJSON *hello, const cJSON *here, struct obstacles *out)
{
	const struct comparison c = { .o = o, .hello = hello, .here = here, .out = out };

	for (size_t i = 0; i < sizeof(node_checks) / sizeof(node_checks[0]); i++)
		if (to_be_compared(&c, i))
			node_checks[i].check(&c);
}

#define PROTOCOL_MAX 1000

static const struct wire_versions ours = { WIRE_PROTOCOL_OLDEST, WIRE_PROTOCOL };

int protocol_choose(const cJSON *hello, int *ret, struct error *err)
{
	int64_t newest = 0, oldest;

	if (json_int(hello, "protocol", 1, PROTOCOL_MAX, &newest) < 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: protocol is missing or no version");
	/* Who does not say that it speaks an older one, too, does not. */
	oldest = newest;
	if (json_int(hello, "protocolOldest", 1, PROTOCOL_MAX, &oldest) == -EINVAL)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: protocolOldest is no version");
	return wire_agree(&(struct wire_versions){ (int)oldest, (int)newest }, &ours, ret, err);
}

int protocol_agree(const struct agent_options *o, const cJSON *hello, const cJSON *here, int *ret, struct error *err)
{
	struct obstacles found = { 0 };
	int r = protocol_choose(hello, ret, err);

	/* What is resumed has no node to be compared. */
	if (r == 0 || json_bool(hello, "resume"))
		return r;
	obstacles_take(&found, r, err);
	node_check(o, hello, here, &found);
	obstacles_error(&found, err);
	return r;
}

int protocol_take(const cJSON *welcome, int *ret, struct error *err)
{
	int64_t chosen = 0;

	if (json_int(welcome, "protocol", 1, PROTOCOL_MAX, &chosen) < 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "WELCOME: protocol is missing or no version");
	return wire_agree(&ours, &(struct wire_versions){ (int)chosen, (int)chosen }, ret, err);
}
