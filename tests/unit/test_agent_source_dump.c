/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define source_blinkers_put_on played_put_on
#define source_send_memory played_send_memory
#define source_send_root played_send_root
#define runc_dump_go played_go
#define runc_dump_hurry played_hurry
#define runc_dump_let_go played_let_go
#define runc_dump_abort played_abort
#define freezer_pids played_pids
#include "agent/source_dump.c"
#undef runc_dump_hurry
#undef runc_dump_let_go
#undef runc_dump_abort
#undef freezer_pids
#undef source_blinkers_put_on
#undef source_send_memory
#undef source_send_root
#undef runc_dump_go
#include "stream_pair.h"

/* A CRIU that does not come to its end, while the pod stands still and all of its memory and files have been sent. */

int played_put_on(struct source_container *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

static bool attached;                   /* its processes have System V shared memory */

int played_send_memory(struct source_container *c, enum pages_which which, bool running, struct error *err)
{
	c->sysv = attached;
	(void)which;
	(void)running;
	(void)err;
	return 0;
}

int played_send_root(struct source_container *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

int played_go(struct runc_dump *d, struct error *err)
{
	(void)d;
	(void)err;
	return 0;
}

/* What was done with whose dump, in order; the port tells whose it is. */
static char deeds[64];

static void note(const char *what, const struct runc_dump *d)
{
	size_t len = strlen(deeds);

	snprintf(deeds + len, sizeof(deeds) - len, "%s%u ", what, d->port);
}

void played_hurry(struct runc_dump *d)
{
	note("hurry", d);
}

void played_let_go(struct runc_dump *d, const pid_t *pids, int n)
{
	assert_int_equal(n, 2);
	assert_int_equal(pids[1], 40 + d->port);
	note("go", d);
}

void played_abort(struct runc_dump *d)
{
	note("abort", d);
}

/* The last one's processes cannot be listed. */
int played_pids(struct freezer *f, int i, pid_t *pids, int max)
{
	(void)f;
	assert_int_equal(max, SOURCE_PROCESSES_MAX);
	pids[0] = 1;
	pids[1] = 40 + i;
	return i < 3 ? 2 : -EIO;
}

struct frozen {
	struct source *s;
	struct wire *w[2];
	pid_t runc;
	int status_w;
};

static void begin(struct frozen *f)
{
	struct source_container *c;
	int p[2];

	f->s = calloc(1, sizeof(*f->s));
	f->s->n = 1;
	c = &f->s->containers[0];
	c->source = f->s;
	assert_int_equal(pipe(p), 0);
	f->status_w = p[1];
	f->runc = fork();
	if (f->runc == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	/* Behind it: who has an end open keeps it from being closed. */
	wire_pair(f->w, 5000000);
	f->s->wire = f->w[0];
	c->dump = (struct runc_dump){ .process = { f->runc, (int)syscall(SYS_pidfd_open, f->runc, 0), -1 }, .status_fd = p[0], .gate_fd = -1, .id = "c1" };
}

static void finish(struct frozen *f)
{
	struct runc_dump *d = &f->s->containers[0].dump;

	kill(f->runc, SIGKILL);
	waitpid(f->runc, NULL, 0);
	close(d->process.pidfd);
	close(d->status_fd);
	close(f->status_w);
	wire_free(f->w[0]);
	wire_free(f->w[1]);
	free(f->s);
}

static struct wire **theirs;           /* of the other side */

struct later {
	void (*fn)(struct wire *w);
	struct wire *w;
};

static void *do_later(void *arg)
{
	struct later *l = arg;

	usleep(100000);
	l->fn(l->w);
	return NULL;
}

/* How long CRIU was waited for after fn was called on the stream 0.1 s later; it never answers. */
static int64_t waited(void (*fn)(struct wire *w))
{
	struct frozen f;
	struct error err = { 0 };
	struct later l = { .fn = fn };
	int64_t start;
	pthread_t t;

	begin(&f);
	l.w = f.w[0];
	theirs = &f.w[1];
	assert_int_equal(pthread_create(&t, NULL, do_later, &l), 0);
	start = clock_mono_us();
	assert_int_equal(dump_metadata(&f.s->containers[0], start + 10000000, &err), -ECANCELED);
	/* Not the cause, which is with who gave it up. */
	assert_int_equal(err.reason, REASON_TransferFailed);
	start = clock_mono_us() - start;
	pthread_join(t, NULL);
	finish(&f);
	return start;
}

static void an_abort_does_not_wait_for_criu(void **state)
{
	(void)state;
	assert_in_range(waited(wire_interrupt), 100000, 2000000);
}

static void nor_does_a_container_whose_pod_goes_back(void **state)
{
	(void)state;
	assert_in_range(waited(wire_cancel), 100000, 2000000);
}

static void hang_up_there(struct wire *w)
{
	(void)w;
	wire_free(*theirs);
	*theirs = NULL;
}

/* It waits for what comes for 20 s, and then says why and ends. */
static void nor_one_whose_destination_has_hung_up(void **state)
{
	(void)state;
	assert_in_range(waited(hang_up_there), 100000, 2000000);
}

static void it_is_ready_when_it_says_so(void **state)
{
	struct frozen f;
	struct error err = { 0 };
	int64_t start = clock_mono_us();

	(void)state;
	begin(&f);
	assert_int_equal(write(f.status_w, "", 1), 1);
	assert_int_equal(dump_metadata(&f.s->containers[0], start + 10000000, &err), 0);
	assert_true(f.s->containers[0].dump.ready);
	finish(&f);
	begin(&f);
	start = clock_mono_us();
	assert_int_equal(dump_metadata(&f.s->containers[0], start + 300000, &err), -ETIMEDOUT);
	assert_int_equal(err.reason, REASON_CheckpointFailed);
	finish(&f);
}

/* It is ready, and what was to be sent then is not. */
static void who_is_given_up_sends_no_more(void **state)
{
	struct frozen f;
	struct error err = { 0 };

	(void)state;
	begin(&f);
	assert_int_equal(write(f.status_w, "", 1), 1);
	wire_interrupt(f.w[0]);
	assert_int_equal(dump_metadata(&f.s->containers[0], clock_mono_us() + 10000000, &err), -ECANCELED);
	finish(&f);
}

/* A pod goes on when the last CRIU has let go of its processes: they do so at the same time, and their ends are nobody's business until it runs. */
static void a_pod_goes_on_when_all_have_let_go(void **state)
{
	struct source *s = calloc(1, sizeof(*s));

	(void)state;
	s->n = 4;
	for (int i = 0; i < s->n; i++) {
		s->containers[i].source = s;
		s->containers[i].dump.port = (uint16_t)i;
		s->containers[i].dumping = i != 1;
	}
	source_let_go(s);
	assert_string_equal(deeds, "hurry0 hurry2 hurry3 go0 go2 abort3 ");
	deeds[0] = '\0';
	source_end_dumps(s, true);
	assert_string_equal(deeds, "abort0 abort2 ");
	free(s);
}

/* The images of one container only carry the pod's System V objects, and it was chosen, and told the destination, while the pod ran. */
static void what_was_attached_since_is_refused(void **state)
{
	struct frozen f;
	struct error err = { 0 };

	(void)state;
	begin(&f);
	assert_int_equal(write(f.status_w, "", 1), 1);
	f.s->n = 2;
	f.s->ipc_owner = 1;
	snprintf(f.s->containers[1].info.name, sizeof(f.s->containers[1].info.name), "db");
	attached = true;
	assert_int_equal(dump_metadata(&f.s->containers[0], clock_mono_us() + 300000, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedContainer);
	assert_non_null(strstr(err.message, "when container db was to take"));
	f.s->ipc_owner = 0;
	assert_int_equal(dump_metadata(&f.s->containers[0], clock_mono_us() + 300000, &err), 0);
	attached = false;
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_abort_does_not_wait_for_criu),
		cmocka_unit_test(nor_does_a_container_whose_pod_goes_back),
		cmocka_unit_test(nor_one_whose_destination_has_hung_up),
		cmocka_unit_test(it_is_ready_when_it_says_so),
		cmocka_unit_test(who_is_given_up_sends_no_more),
		cmocka_unit_test(a_pod_goes_on_when_all_have_let_go),
		cmocka_unit_test(what_was_attached_since_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
