/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload whose continuity is to be proven: `counter [MiB [FILE ..]]`, its name in $NAME.  $CHILDREN: so many forked ones that share its memory at first, write to
 * it and look at it as it does, but say nothing unless it is wrong.
 *
 * $PACKS: half of each page is the same everywhere, so that memory compresses to about half.
 *
 * $SHARED: its memory is shared memory: half of it anonymous (MAP_SHARED), half a memfd.  Not with $CHILDREN.
 *
 * $DIRTY: MB (10^6 bytes) a second to write, in place of one page a count.
 *
 * It counts once a millisecond, in memory.  Every line it prints starts with the name and holds the counter and CLOCK_REALTIME in milliseconds:
 *
 *   NAME start tick=0 ms=<unix ms> mib=<n> pid=<pid> boot=<8 hex digits>
 *   NAME tick <n> ms=<unix ms> gap=<largest gap in ms so far> boot=<..>      about once a second, of counted milliseconds
 *   NAME GAP <ms> start=<unix ms> end=<unix ms> tick=<n>                     two counts were more than 20 ms apart
 *   NAME CORRUPT page=<n> tick=<n>                                           memory is not what was written there
 *   NAME FILE <path> ..                                                      a file of its own is gone or does not go with memory, or cannot be written
 *   NAME ALL pages=<n> tick=<n>                                              on SIGUSR1: every page was looked at (and CORRUPT said of each that is wrong)
 *   NAME end tick=<n> ms=<unix ms> gap=<ms>                                  on SIGTERM; then exit code 7
 *
 * How continuity is proven.  `boot` is random, made once when the program starts: it is the same on both sides of a move only if the memory
 * moved, and a cold start shows another one.  The tick lines come every 1000 counts exactly, so the source's and the destination's logs put together
 * must hold each multiple of 1000 once: none lost, none twice, in order, with the same boot.  ms must not go back from one line to the
 * next, whichever log it is in: if it did, two copies had run at once.
 *
 * The memory (default 8 MiB) is filled with a pattern that does not compress and is never zero, different in each page; one page a count is verified
 * and then given a new generation of the pattern, so that pages are dirty all the time.  Each FILE (in the container's own file system, an emptyDir ..)
 * gets the counter, decimal, each 100 counts, by rename, after what it held was compared with memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define PAGE_WORDS 512u         /* 4096 bytes */
#define GAP_MS 20
#define TICKS_PER_LINE 1000u
#define TICKS_PER_FILE 100u
#define EXIT_ON_TERM 7
#define MIB_MAX 65536u

struct counter {
	const char *name;
	uint32_t boot;
	uint64_t tick;
	uint64_t *memory;
	uint64_t *generation;   /* of each page */
	size_t pages;
	size_t next_page;
	int packs;
	double per_ms, due;     /* pages to write */
	int64_t max_gap;
	int quiet;
	char **files;
	int n_files;
};

static volatile sig_atomic_t ended;

static volatile sig_atomic_t look_at_all;

static void on_term(int sig)
{
	(void)sig;
	ended = 1;
}

static void on_usr1(int sig)
{
	(void)sig;
	look_at_all = 1;
}

static int64_t real_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* splitmix64: each word of each page differs in each generation; never zero. */
static uint64_t pattern(uint64_t page, uint64_t word, uint64_t generation)
{
	uint64_t z = (page * PAGE_WORDS + word + 1) * 0x9e3779b97f4a7c15u + generation * 0xd1342543de82ef95u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) | 1;
}

static uint64_t content(const struct counter *c, size_t page, size_t word)
{
	return c->packs && word % 16 >= 8 ? 1 : pattern(page, word, c->generation[page]);
}

static void fill_page(struct counter *c, size_t page)
{
	for (size_t w = 0; w < PAGE_WORDS; w++)
		c->memory[page * PAGE_WORDS + w] = content(c, page, w);
}

static void verify_page(const struct counter *c, size_t page)
{
	for (size_t w = 0; w < PAGE_WORDS; w++)
		if (c->memory[page * PAGE_WORDS + w] != content(c, page, w)) {
			printf("%s CORRUPT page=%zu tick=%" PRIu64 "\n", c->name, page, c->tick);
			break;
		}
}

static void verify_all(const struct counter *c)
{
	for (size_t i = 0; i < c->pages; i++)
		verify_page(c, i);
	printf("%s ALL pages=%zu tick=%" PRIu64 "\n", c->name, c->pages, c->tick);
}

static void verify_next_page(struct counter *c)
{
	size_t page = c->next_page;

	verify_page(c, page);
	c->generation[page]++;
	fill_page(c, page);
	c->next_page = (page + 1) % c->pages;
}

/* By the time that has passed, since a count may take longer than a millisecond; what a long pause left out is not made up for. */
static void write_pages(struct counter *c, int64_t ms)
{
	if (c->per_ms < 0) {
		verify_next_page(c);
		return;
	}
	for (c->due += c->per_ms * (double)(ms < 20 ? ms : 20); c->due >= 1; c->due--)
		verify_next_page(c);
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("counter: memory");
		exit(1);
	}
	return p;
}

/* Over the private memory that is mapped there. */
static void share(void *at, size_t bytes, int fd)
{
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0) == MAP_FAILED) {
		perror("counter: shared memory");
		exit(1);
	}
}

static void share_all(void *memory, size_t bytes)
{
	int fd = memfd_create("counter", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)(bytes / 2)) < 0) {
		perror("counter: memfd");
		exit(1);
	}
	share(memory, bytes / 2, -1);
	share((char *)memory + bytes / 2, bytes / 2, fd);
	close(fd);
}

static void fill(struct counter *c, size_t mib)
{
	c->pages = mib << 8;
	c->memory = map(c->pages * PAGE_WORDS * sizeof(uint64_t));
	if (getenv("SHARED"))
		share_all(c->memory, c->pages * PAGE_WORDS * sizeof(uint64_t));
	c->generation = map(c->pages * sizeof(uint64_t));
	for (size_t i = 0; i < c->pages; i++)
		fill_page(c, i);
}

/* The file was written 100 counts ago by this very memory, frozen in the same instant: it must say exactly that. */
static void check_file(const struct counter *c, const char *path)
{
	uint64_t n = 0;
	FILE *f = fopen(path, "r");

	if (!f || fscanf(f, "%" SCNu64, &n) != 1)
		n = 0;
	if (n != c->tick - TICKS_PER_FILE)
		printf("%s FILE %s holds %" PRIu64 ", not %" PRIu64 "\n", c->name, path, n, c->tick - TICKS_PER_FILE);
	if (f)
		fclose(f);
}

static void write_file(const struct counter *c, const char *path)
{
	char tmp[4096], text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", c->tick), fd;

	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len || rename(tmp, path) < 0)
		printf("%s FILE %s: %s\n", c->name, path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void files(const struct counter *c)
{
	for (int i = 0; i < c->n_files; i++) {
		if (c->tick > TICKS_PER_FILE)
			check_file(c, c->files[i]);
		write_file(c, c->files[i]);
	}
}

static void note_gap(struct counter *c, int64_t before, int64_t now)
{
	int64_t gap = now - before;

	if (gap > c->max_gap)
		c->max_gap = gap;
	if (gap > GAP_MS && !c->quiet)
		printf("%s GAP %" PRId64 " start=%" PRId64 " end=%" PRId64 " tick=%" PRIu64 "\n", c->name, gap, before, now, c->tick);
}

static void run(struct counter *c)
{
	const struct timespec step = { 0, 1000000 };
	int64_t before = real_ms();

	while (!ended) {
		int64_t now;

		nanosleep(&step, NULL);
		now = real_ms();
		c->tick++;
		note_gap(c, before, now);
		write_pages(c, now - before);
		if (look_at_all) {
			look_at_all = 0;
			verify_all(c);
			now = real_ms();        /* no pause of the program's own counts as a gap */
		}
		if (c->tick % TICKS_PER_LINE == 0 && !c->quiet)
			printf("%s tick %" PRIu64 " ms=%" PRId64 " gap=%" PRId64 " boot=%08" PRIx32 "\n", c->name, c->tick, now, c->max_gap,
			       c->boot);
		if (c->tick % TICKS_PER_FILE == 0)
			files(c);
		before = now;
	}
}

static void have_children(struct counter *c)
{
	unsigned long n = getenv("CHILDREN") ? strtoul(getenv("CHILDREN"), NULL, 10) : 0;

	for (; n > 0 && !c->quiet; n--)
		c->quiet = fork() == 0;
	if (c->quiet)
		c->n_files = 0;
}

int main(int argc, char **argv)
{
	struct counter c = { .name = getenv("NAME"), .files = argv + 2, .n_files = argc > 2 ? argc - 2 : 0 };
	const struct sigaction term = { .sa_handler = on_term }, usr1 = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 8;

	if (!c.name)
		c.name = "counter";
	if (mib < 1 || mib > MIB_MAX || getrandom(&c.boot, sizeof(c.boot), 0) != sizeof(c.boot)) {
		fprintf(stderr, "usage: [NAME=name] counter [MiB [FILE ..]]\n");
		return 2;
	}
	c.packs = getenv("PACKS") != NULL;
	c.per_ms = getenv("DIRTY") ? strtod(getenv("DIRTY"), NULL) * 1e3 / (PAGE_WORDS * sizeof(uint64_t)) : -1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGUSR1, &usr1, NULL);
	fill(&c, mib);
	printf("%s start tick=0 ms=%" PRId64 " mib=%lu pid=%d boot=%08" PRIx32 "\n", c.name, real_ms(), mib, getpid(), c.boot);
	have_children(&c);
	run(&c);
	if (!c.quiet)
		printf("%s end tick=%" PRIu64 " ms=%" PRId64 " gap=%" PRId64 "\n", c.name, c.tick, real_ms(), c.max_gap);
	return EXIT_ON_TERM;
}
