/* SPDX-License-Identifier: Apache-2.0 */
#include "container/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "vma_flags.h"

#define WORDS "VmFlags:"
#define WORDS_MAX 256                   /* 64 words of two letters, and their spaces */
#define MEANINGS_MAX 512
#define FEATURE_WP_ASYNC (1ull << 15)   /* linux/userfaultfd.h of kernel 6.7 */
#define GATE "[vsyscall]"               /* x86: at the end of every process's maps, and no mapping of it */

struct meaning {
	uint64_t flags;
	char words[WORDS_MAX];          /* a line of smaps, with its end */
};

struct smaps {
	int program;
	struct meaning *meanings;
	size_t n;
	char gate[WORDS_MAX];           /* "": not seen */
	bool contradicted;              /* one number had two meanings: nothing of this is trusted */
};

/* All mappings of a process, in order, as the kernel tells them. */
struct told {
	struct vma_flags *v;
	size_t n, at;
};

static void told_free(struct told *t)
{
	free(t->v);
}
#define cleanup_told cleanup_with(told_free)

/* Of this very mapping; ranges are asked for in ascending order. */
static const struct vma_flags *find_told(struct told *t, uint64_t start, uint64_t end)
{
	while (t->at < t->n && t->v[t->at].start < start)
		t->at++;
	return t->at < t->n && t->v[t->at].start == start && t->v[t->at].end == end ? &t->v[t->at] : NULL;
}

static const struct meaning *find_meaning(const struct smaps *s, uint64_t flags)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->meanings[i].flags == flags)
			return &s->meanings[i];
	return NULL;
}

/* "7f1c-7f1d rw-p 0000 08:01 123   /path": proc(5).  Lines that tell more of a mapping begin with a capital. */
static bool parse_range(const char *line, uint64_t *start, uint64_t *end)
{
	return (line[0] < 'A' || line[0] > 'Z') && sscanf(line, "%" SCNx64 "-%" SCNx64 " ", start, end) == 2;
}

static bool is_gate(const char *line)
{
	return strstr(line, " " GATE "\n") != NULL;
}

static int open_lines(pid_t pid, const char *name, FILE **ret, struct error *err)
{
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	*ret = fopen(path, "re");
	return *ret ? 0 : error_errno(err, "open %s", path);
}

/* --- learning --- */

static void note(struct smaps *s, uint64_t flags, const char *words)
{
	const struct meaning *known = find_meaning(s, flags);

	if (known)
		s->contradicted |= strcmp(known->words, words) != 0;
	else if (s->n < MEANINGS_MAX && strlen(words) < WORDS_MAX) {
		s->meanings[s->n].flags = flags;
		memcpy(s->meanings[s->n++].words, words, strlen(words) + 1);
	}
}

/* One who runs may change its mappings between any two looks: what was the same before and after counts. */
struct lesson {
	struct told before, after;
	struct buf smaps;
};

static void lesson_free(struct lesson *l)
{
	free(l->before.v);
	free(l->after.v);
	buf_free(&l->smaps);
}

static int take_lesson(const struct smaps *s, pid_t pid, struct lesson *l, struct error *err)
{
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	r = file_read(AT_FDCWD, path, &l->smaps, err);
	return r < 0 ? r : vma_flags_read(s->program, pid, &l->after.v, &l->after.n, err);
}

static void learn_mapping(struct smaps *s, struct lesson *l, uint64_t start, uint64_t end, bool gate, const char *words)
{
	const struct vma_flags *before = find_told(&l->before, start, end), *after = find_told(&l->after, start, end);

	if (before && after && before->flags == after->flags)
		note(s, before->flags, words);
	else if (!before && !after && gate && strlen(words) < sizeof(s->gate))
		memcpy(s->gate, words, strlen(words) + 1);
}

static int learn_all(struct smaps *s, struct lesson *l, struct error *err)
{
	cleanup_fclose FILE *f = l->smaps.len ? fmemopen(l->smaps.data, l->smaps.len, "r") : NULL;
	cleanup_free char *line = NULL;
	uint64_t start = 0, end = 0;
	bool gate = false;
	size_t size = 0;

	if (!f)
		return error_set(err, -EIO, "smaps is empty");
	while (getline(&line, &size, f) > 0)
		if (parse_range(line, &start, &end))
			gate = is_gate(line);
		else if (strncmp(line, WORDS, strlen(WORDS)) == 0)
			learn_mapping(s, l, start, end, gate, line);
	return 0;
}

#define SMAPS_MAX (256u << 20)

int smaps_learn(struct smaps *s, pid_t pid, struct error *err)
{
	cleanup_with(lesson_free) struct lesson l = { .smaps = BUF_INIT(SMAPS_MAX) };
	bool known = true;
	int r = vma_flags_read(s->program, pid, &l.before.v, &l.before.n, err);

	for (size_t i = 0; r == 0 && i < l.before.n; i++)
		known = known && find_meaning(s, l.before.v[i].flags);
	if (r < 0 || known)
		return r;
	r = take_lesson(s, pid, &l, err);
	return r < 0 ? r : learn_all(s, &l, err);
}

/* --- what programs usually have, shown to ourselves --- */

static const struct {
	int prot, flags, advice;
} usual[] = {
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_HUGEPAGE },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_NOHUGEPAGE },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTDUMP },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTFORK },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, MADV_HUGEPAGE },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, MADV_NOHUGEPAGE },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, MADV_DONTDUMP },
	{ PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, 0 },
	{ PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_NORESERVE, 0 },
	{ PROT_NONE, MAP_PRIVATE, 0 },
	{ PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, 0 },
	{ PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, MADV_DONTDUMP },
	{ PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ PROT_READ, MAP_SHARED, 0 },
};

#define USUAL (sizeof(usual) / sizeof(usual[0]))
#define USUAL_SIZE 4096u

static void map_usual(void *at[USUAL])
{
	for (size_t i = 0; i < USUAL; i++) {
		at[i] = mmap(NULL, USUAL_SIZE, usual[i].prot, usual[i].flags | MAP_ANONYMOUS, -1, 0);
		if (at[i] != MAP_FAILED && usual[i].advice)
			madvise(at[i], USUAL_SIZE, usual[i].advice);
	}
}

static void unmap_usual(void *at[USUAL])
{
	for (size_t i = 0; i < USUAL; i++)
		if (at[i] != MAP_FAILED)
			munmap(at[i], USUAL_SIZE);
}

/*
 * While a migrating program's writes are watched (transfer/track.h) its mappings have a flag more.  Ours get it too, as many as can; none of their pages is protected by that, and they
 * lose it with the fd.
 */
static int watch_ourselves(const struct smaps *s)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURE_WP_ASYNC };
	cleanup_close int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	cleanup_told struct told own = { 0 };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || vma_flags_read(s->program, getpid(), &own.v, &own.n, NULL) < 0)
		return -1;
	for (size_t i = 0; i < own.n; i++) {
		struct uffdio_register one = { .range = { own.v[i].start, own.v[i].end - own.v[i].start }, .mode = UFFDIO_REGISTER_MODE_WP };

		ioctl(fd, UFFDIO_REGISTER, &one);
	}
	return take_fd(&fd);
}

static int learn_usual(struct smaps *s, struct error *err)
{
	void *at[USUAL];
	int fd, r;

	map_usual(at);
	r = smaps_learn(s, getpid(), err);
	fd = r < 0 ? -1 : watch_ourselves(s);
	if (fd >= 0) {
		r = smaps_learn(s, getpid(), err);
		close(fd);
	}
	unmap_usual(at);
	return r;
}

int smaps_new(struct smaps **ret, struct error *err)
{
	struct smaps *s = calloc(1, sizeof(*s));
	int r;

	if (s)
		s->meanings = calloc(MEANINGS_MAX, sizeof(*s->meanings));
	if (!s || !s->meanings) {
		free(s);
		return error_set(err, -ENOMEM, "out of memory for the flags of mappings");
	}
	r = s->program = vma_flags_open(err);
	if (r >= 0)
		r = learn_usual(s, err);
	if (r < 0) {
		smaps_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void smaps_free(struct smaps *s)
{
	if (!s)
		return;
	if (s->program >= 0)
		close(s->program);
	free(s->meanings);
	free(s);
}

/* --- telling --- */

static const char *words_of(const struct smaps *s, struct told *t, const char *line)
{
	const struct meaning *m;
	const struct vma_flags *v;
	uint64_t start, end;

	if (!parse_range(line, &start, &end))
		return NULL;
	v = find_told(t, start, end);
	if (!v)
		return is_gate(line) && s->gate[0] ? s->gate : NULL;
	t->at++;
	m = find_meaning(s, v->flags);
	return m ? m->words : NULL;
}

/* Both tell of the same mappings, or nothing is told. */
static int join(const struct smaps *s, FILE *maps, struct told *t, struct buf *out)
{
	cleanup_free char *line = NULL;
	size_t size = 0, mappings = 0;
	int r = 0;

	while (r == 0 && getline(&line, &size, maps) > 0) {
		const char *words = words_of(s, t, line);

		mappings += words && words != s->gate;
		r = words ? buf_puts(out, line) : -ENODATA;
		if (r == 0)
			r = buf_puts(out, words);
	}
	return r == 0 && (ferror(maps) || mappings != t->n) ? -ENODATA : r;
}

static int unknown(pid_t pid, struct error *err)
{
	return error_set(err, -ENODATA, "the flags of a mapping of process %d are not known", (int)pid);
}

int smaps_text(const struct smaps *s, pid_t pid, struct buf *out, struct error *err)
{
	cleanup_told struct told t = { 0 };
	cleanup_fclose FILE *maps = NULL;
	size_t before = out->len;
	int r;

	if (s->contradicted)
		return unknown(pid, err);
	r = open_lines(pid, "maps", &maps, err);
	if (r == 0)
		r = vma_flags_read(s->program, pid, &t.v, &t.n, err);
	if (r < 0)
		return r;
	r = join(s, maps, &t, out);
	if (r == 0)
		return 0;
	out->len = before;
	if (out->data)
		out->data[before] = '\0';
	return r == -ENODATA ? unknown(pid, err) : error_set(err, r, "out of memory for the mappings of process %d", (int)pid);
}
