/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#include "vma_flags.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

/* As many mappings as vm.max_map_count allows where somebody has raised it very far. */
#define VMAS_MAX (1u << 20)
#define READ_AT_ONCE (32u << 10)
#define NESTED_MAX 8

/* Byte offsets in struct vm_area_struct. */
struct places {
	int start, end, flags;
};

/* Members of structures and unions without a name are the outer one's. */
static int find_member(const struct btf *btf, __u32 id, const char *name, int depth)
{
	const struct btf_type *t = btf__type_by_id(btf, id);
	const struct btf_member *m = t && btf_is_composite(t) && depth < NESTED_MAX ? btf_members(t) : NULL;

	for (__u32 i = 0; m && i < btf_vlen(t); i++) {
		const char *its = btf__name_by_offset(btf, m[i].name_off);
		int at = (int)btf_member_bit_offset(t, i), inner = -1;

		if (its && !strcmp(its, name))
			return at % 8 ? -1 : at / 8;
		if (its && !*its)
			inner = find_member(btf, m[i].type, name, depth + 1);
		if (inner >= 0)
			return at / 8 + inner;
	}
	return -1;
}

/* Where this kernel has what is read, and which of its functions the program stands for. */
static int ask_kernel(struct places *ret, int *ret_function, struct error *err)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int vma, r = 0;

	if (!btf)
		return error_errno(err, "read the kernel's description of itself (BTF)");
	vma = btf__find_by_name_kind(btf, "vm_area_struct", BTF_KIND_STRUCT);
	*ret_function = btf__find_by_name_kind(btf, "bpf_iter_task_vma", BTF_KIND_FUNC);
	if (vma > 0)
		*ret = (struct places){ find_member(btf, (__u32)vma, "vm_start", 0), find_member(btf, (__u32)vma, "vm_end", 0), find_member(btf, (__u32)vma, "vm_flags", 0) };
	if (vma <= 0 || *ret_function <= 0 || ret->start < 0 || ret->end < 0 || ret->flags < 0)
		r = error_set(err, -EOPNOTSUPP, "this kernel has no iterator of mappings (5.12)");
	btf__free(btf);
	return r;
}

#define INSN(code_, dst, src, off_, imm_) { .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (__s16)(off_), .imm = (imm_) }
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define STORE(dst, src, off) INSN(BPF_STX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define SET(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define RESULT (-(int)sizeof(struct vma_flags))        /* on the stack, below r10 */

/*
 * For each mapping: struct vma_flags is written into the file that the iterator is read by.  r1 is the context, struct bpf_iter__task_vma { meta, task, vma }, and meta's first member the
 * file (include/linux/bpf.h).  bpf_seq_write is for programs under the GPL only
 * (kernel/trace/bpf_trace.c), so this file is under either licence.
 */
static int load(const struct places *p, int function)
{
	const struct bpf_insn program[] = {
		LOAD(BPF_REG_7, BPF_REG_1, 16),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_7, 0, 12, 0),  /* none: the end */
		LOAD(BPF_REG_1, BPF_REG_1, 0),
		LOAD(BPF_REG_1, BPF_REG_1, 0),
		LOAD(BPF_REG_3, BPF_REG_7, p->start),
		STORE(BPF_REG_10, BPF_REG_3, RESULT),
		LOAD(BPF_REG_3, BPF_REG_7, p->end),
		STORE(BPF_REG_10, BPF_REG_3, RESULT + 8),
		LOAD(BPF_REG_3, BPF_REG_7, p->flags),
		STORE(BPF_REG_10, BPF_REG_3, RESULT + 16),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, RESULT),
		SET(BPF_REG_3, (int)sizeof(struct vma_flags)),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_seq_write),
		SET(BPF_REG_0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_ITER, .attach_btf_id = (__u32)function);

	return bpf_prog_load(BPF_PROG_TYPE_TRACING, "vma_flags", "GPL", program, sizeof(program) / sizeof(program[0]), &options);
}

int vma_flags_open(struct error *err)
{
	struct places p = { -1, -1, -1 };
	int function = -1, fd, r;

	libbpf_set_print(NULL);
	r = ask_kernel(&p, &function, err);
	if (r < 0)
		return r;
	fd = load(&p, function);
	return fd < 0 ? error_errno(err, "load a BPF program") : fd;
}

static int open_iterator(int program, pid_t pid, struct error *err)
{
	union bpf_iter_link_info one = { .task = { .tid = (__u32)pid } };
	LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &one, .iter_info_len = sizeof(one));
	cleanup_close int link = bpf_link_create(program, 0, BPF_TRACE_ITER, &options);
	int fd = link < 0 ? -1 : bpf_iter_create(link);

	return fd < 0 ? error_errno(err, "ask for the mappings of process %d", (int)pid) : fd;
}

/* Ascending, and apart from each other: one process's, once. */
static int check(const struct vma_flags *v, size_t n, pid_t pid, struct error *err)
{
	uint64_t from = 0;

	if (n == 0)
		return error_set(err, -ESRCH, "process %d has no mappings", (int)pid);
	for (size_t i = 0; i < n; from = v[i++].end)
		if (v[i].start < from || v[i].end <= v[i].start)
			return error_set(err, -EIO, "the kernel's mappings of process %d are out of order", (int)pid);
	return 0;
}

int vma_flags_read(int program, pid_t pid, struct vma_flags **ret, size_t *ret_n, struct error *err)
{
	cleanup_close int fd = open_iterator(program, pid, err);
	struct buf all = BUF_INIT(VMAS_MAX * sizeof(struct vma_flags));
	ssize_t n = 1;
	int r = fd < 0 ? fd : 0;

	while (r == 0 && n > 0) {
		r = buf_reserve(&all, READ_AT_ONCE);
		n = r < 0 ? 0 : read(fd, all.data + all.len, READ_AT_ONCE);
		if (n > 0)
			all.len += (size_t)n;
		if (r < 0)
			error_set(err, r, "process %d has too many mappings", (int)pid);
		else if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			r = error_errno(err, "read the mappings of process %d", (int)pid);
	}
	if (r == 0)
		r = check((struct vma_flags *)(void *)all.data, all.len / sizeof(struct vma_flags), pid, err);
	if (r < 0) {
		buf_free(&all);
		return r;
	}
	*ret = (struct vma_flags *)(void *)all.data;
	*ret_n = all.len / sizeof(struct vma_flags);
	return 0;
}
