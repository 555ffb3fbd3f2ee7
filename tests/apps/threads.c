/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 200 threads: each counts under a mutex that it shares with nine others, passes a turn round the ten by a condition variable, and keeps its name, its own signal
 * mask, its thread-local memory and its place on the stack.
 */
#include "answer.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <time.h>

#define GROUPS 20
#define MEMBERS 10

struct group {
	pthread_mutex_t lock;
	pthread_cond_t turn;
	int next;
	uint64_t rounds;
};

struct member {
	struct group *group;
	int number, place;
	atomic_ulong count;
};

static struct group groups[GROUPS];
static struct member members[GROUPS * MEMBERS];
static _Atomic(const char *) complaint;
static _Thread_local int own;

static void check_self(const struct member *m, const int *on_stack)
{
	char name[16], want[16];
	sigset_t mask;

	snprintf(want, sizeof(want), "member-%d", m->number);
	if (prctl(PR_GET_NAME, name) < 0 || strcmp(name, want))
		complaint = "a thread has lost its name";
	if (pthread_sigmask(SIG_BLOCK, NULL, &mask) || sigismember(&mask, SIGRTMIN + m->place) != 1 || sigismember(&mask, SIGRTMIN + MEMBERS) != 0)
		complaint = "a thread has another signal mask";
	if (own != m->number || *on_stack != m->number)
		complaint = "a thread has lost its memory";
}

static void *run(void *arg)
{
	struct member *m = arg;
	int on_stack = m->number;
	char name[16];
	sigset_t mask;

	snprintf(name, sizeof(name), "member-%d", m->number);
	prctl(PR_SET_NAME, name);
	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN + m->place);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	own = m->number;
	for (;;) {
		pthread_mutex_lock(&m->group->lock);
		while (m->group->next != m->place)
			pthread_cond_wait(&m->group->turn, &m->group->lock);
		m->count++;
		m->group->next = (m->place + 1) % MEMBERS;
		m->group->rounds += m->group->next == 0;
		check_self(m, &on_stack);
		pthread_cond_broadcast(&m->group->turn);
		pthread_mutex_unlock(&m->group->lock);
		if (m->place == 0)
			nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	}
	return NULL;
}

static const char *check(uint64_t *count)
{
	static uint64_t last[GROUPS];

	for (int g = 0; g < GROUPS; g++) {
		uint64_t rounds;

		pthread_mutex_lock(&groups[g].lock);
		rounds = groups[g].rounds;
		for (int i = 0; i < MEMBERS; i++) {
			uint64_t n = members[g * MEMBERS + i].count;

			if (n != rounds && n != rounds + 1)
				complaint = "the threads of a group do not agree";
		}
		pthread_mutex_unlock(&groups[g].lock);
		if (rounds < last[g])
			complaint = "a group has gone back";
		last[g] = rounds;
		*count += rounds;
	}
	return complaint;
}

int main(void)
{
	for (int i = 0; i < GROUPS * MEMBERS; i++) {
		struct member *m = &members[i];
		pthread_attr_t a;
		pthread_t t;

		m->group = &groups[i / MEMBERS];
		m->number = i;
		m->place = i % MEMBERS;
		if (m->place == 0) {
			pthread_mutex_init(&m->group->lock, NULL);
			pthread_cond_init(&m->group->turn, NULL);
		}
		pthread_attr_init(&a);
		/* Some on large memory, which a dump treats in its own way. */
		pthread_attr_setstacksize(&a, i % MEMBERS ? 128 * 1024 : 32 << 20);
		if (pthread_create(&t, &a, run, m)) {
			fprintf(stderr, "thread %d cannot be started\n", i);
			return 1;
		}
	}
	answer(check);
}
