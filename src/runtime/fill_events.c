/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_events.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <unistd.h>

#define TASKS_MAX 65536u
#define MESSAGES 32

static int grow(void **items, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : 64;
	void *p = realloc(*items, more * size);

	if (!p)
		return -ENOMEM;
	*items = p;
	*room = more;
	return 0;
}

int tasks_add(struct fill_tasks *s, uint32_t pid, int uffd)
{
	void *items = s->items;

	if (s->n == TASKS_MAX || (s->n == s->room && grow(&items, &s->room, sizeof(*s->items)) < 0)) {
		close(uffd);
		return -ENOMEM;
	}
	s->items = items;
	s->items[s->n++] = (struct fill_task){ .pid = pid, .uffd = uffd, .piece = 1 };
	return 0;
}

void tasks_remove(struct fill_tasks *s, uint32_t i)
{
	close(s->items[i].uffd);
	pending_free(&s->items[i].pending);
	s->items[i] = s->items[--s->n];
}

/* The child lacks what its parent lacks: nothing was placed since its memory was copied. */
static int add_child(struct fill_tasks *s, uint32_t parent, int uffd)
{
	struct fill_pending pending;

	if (pending_clone(&s->items[parent].pending, &pending) < 0) {
		close(uffd);
		return -ENOMEM;
	}
	if (tasks_add(s, s->items[parent].pid, uffd) < 0) {
		pending_free(&pending);
		return -ENOMEM;
	}
	s->items[s->n - 1].pending = pending;
	s->items[s->n - 1].child = s->items[s->n - 1].probed = true;
	return 0;
}

static int add_fault(struct fill_tasks *s, const struct uffd_msg *m)
{
	void *faults = s->faults;

	if (s->n_faults == s->faults_room && grow(&faults, &s->faults_room, sizeof(*s->faults)) < 0)
		return -ENOMEM;
	s->faults = faults;
	s->faults[s->n_faults++] = (struct fill_fault){ m->arg.pagefault.address, m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE };
	return 0;
}

static int obey(struct fill_tasks *s, uint32_t i, const struct uffd_msg *m)
{
	struct fill_pending *p = &s->items[i].pending;

	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		return add_fault(s, m);
	case UFFD_EVENT_FORK:
		return add_child(s, i, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		return pending_move(p, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return pending_cut(p, m->arg.remove.start, m->arg.remove.end);
	default:
		return -EPROTO;
	}
}

int tasks_hear(struct fill_tasks *s, uint32_t i, struct error *err)
{
	struct uffd_msg m[MESSAGES];
	ssize_t n;

	s->n_faults = 0;
	/* EAGAIN also when the one who had the fault was killed. */
	while ((n = read(s->items[i].uffd, m, sizeof(m))) > 0)
		for (size_t k = 0; k < (size_t)n / sizeof(m[0]); k++) {
			int r = obey(s, i, &m[k]);

			if (r < 0)
				return error_set(err, r, "process %u: event 0x%x of its memory cannot be followed", s->items[i].pid, m[k].event);
		}
	return n < 0 && errno != EAGAIN && errno != EINTR ? error_errno(err, "read the faults of process %u", s->items[i].pid) : 0;
}
