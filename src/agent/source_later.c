/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "container/process_info.h"
#include "migration/reason.h"
#include "source.h"

/*
 * PostCopy: the memory of the frozen containers, page by page as the destination asks for it (WANT).  Nothing is remembered of what was sent: whoever asks again, after
 * the stream was lost or this worker was started anew, is answered again.
 */

/* A worker that was started anew may know the containers in another order; RUNNING names them in that of HELLO. */
static struct source_container *find_container(struct source *s, uint16_t index)
{
	const cJSON *list = json_at(s->running, "containers");
	const char *name = s->resumed && cJSON_IsArray(list) ? json_str(cJSON_GetArrayItem(list, index), "name") : NULL;

	if (!s->resumed)
		return index < s->n ? &s->containers[index] : NULL;
	for (int i = 0; name && i < s->n; i++)
		if (!strcmp(s->containers[i].info.name, name))
			return &s->containers[i];
	return NULL;
}

static int list_processes(struct source_container *c, struct error *err)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = freezer_pids(&c->source->freezer, c->index, pids, SOURCE_PROCESSES_MAX), r = 0;

	if (n <= 0 || n == SOURCE_PROCESSES_MAX)
		return error_set(err, -ESRCH, "the frozen processes of container %s cannot be listed", c->info.name);
	c->processes = calloc((size_t)n, sizeof(*c->processes));
	if (!c->processes)
		return error_set(err, -ENOMEM, "out of memory");
	for (int i = 0; r == 0 && i < n; i++) {
		c->processes[i].pid = pids[i];
		r = process_ns_pid(pids[i], &c->processes[i].ns_pid, err);
	}
	c->n_processes = n;
	return r;
}

static int find_process(struct source_container *c, pid_t ns_pid, pid_t *ret, struct error *err)
{
	int r = c->processes ? 0 : list_processes(c, err);

	for (int i = 0; r == 0 && i < c->n_processes; i++)
		if (c->processes[i].ns_pid == ns_pid) {
			*ret = c->processes[i].pid;
			return 0;
		}
	return r < 0 ? r : error_reason(err, -EPROTO, REASON_ProtocolError, "the destination asks for memory of process %d, which is not there", ns_pid);
}

int source_answer(struct source *s, const struct wire_frame *f, struct error *err)
{
	struct source_container *c;
	struct wire_pages want;
	struct pages_source from;
	int r = wire_pages_unpack(f, &want, err);

	if (r == 0 && !s->frozen && !s->resumed)
		r = error_reason(err, -EPROTO, REASON_ProtocolError, "the destination asks for memory of a pod that runs");
	if (r == 0 && !s->freezer_ready)
		r = source_find(s, err);
	if (r < 0)
		return r;
	c = find_container(s, f->container);
	if (!c)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the destination asks for memory of a container that is not there");
	/* A worker that was started anew does not know what was agreed: it is committed by then. */
	if (!c->later && !s->resumed)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the destination asks for memory of container %s, which it has got", c->info.name);
	from = (struct pages_source){ .container = f->container, .ns_pid = want.ns_pid, .packer = c->packer };
	r = find_process(c, want.ns_pid, &from.pid, err);
	return r == 0 ? pages_answer(s->wire, &from, want.address, want.pages, &c->pages, err) : r;
}
