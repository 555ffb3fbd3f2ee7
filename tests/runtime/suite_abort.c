/* SPDX-License-Identifier: Apache-2.0 */
/* Every way a restore can end before the barrier opens: never may a millisecond of the application run, and nothing may be left. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

static void agent_aborts(struct setup *s, struct box *b, int fd)
{
	(void)s;
	agent_say(fd, "{\"op\":\"abort\"}");
	check(agent_wait(fd, "failed", 10000) && strstr(agent_last(), "aborted by the agent"), "the agent is told: %s", agent_last());
	(void)b;
}

/* The agent's worker says it and is gone, perhaps before the monitor has even accepted it. */
static void agent_aborts_and_goes(struct setup *s, struct box *b, int fd)
{
	int late = agent_open(b);

	(void)s;
	check(late >= 0 && agent_say(late, "{\"op\":\"abort\"}"), "abort");
	close(late);
	shutdown(fd, SHUT_RDWR);
}

static void shim_terminates(struct setup *s, struct box *b, int fd)
{
	(void)s;
	(void)fd;
	check(shim_kill(b, "15") == 0, "kill 15");
}

static void shim_kills(struct setup *s, struct box *b, int fd)
{
	(void)s;
	(void)fd;
	check(shim_kill(b, "9") == 0, "kill 9");
}

static void shim_deletes(struct setup *s, struct box *b, int fd)
{
	(void)s;
	(void)fd;
	check(shim_delete(b, true) == 0, "delete --force %s", b->message);
}

static const struct {
	const char *name;
	void (*end)(struct setup *s, struct box *b, int fd);
	int status;
} ways[] = {
	{ "the agent aborts", agent_aborts, 125 },
	{ "an agent aborts and goes", agent_aborts_and_goes, 125 },
	{ "the kubelet stops the container", shim_terminates, 143 },
	{ "the monitor is killed", shim_kills, 137 },
	{ "containerd deletes it by force", shim_deletes, 143 },
};

enum when { WAITING, STARTING, STANDBY, RESTORING, BARRIER };
static const char *const when_name[] = { "waiting", "starting", "standing by", "restoring", "at the barrier" };

static void one(struct setup *s, enum when when, size_t way)
{
	char images[256];
	struct box b;
	int64_t from;
	int fd;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	from = box_count(&b);
	fd = agent_open(&b);
	if (when == STARTING || when == STANDBY)
		check(agent_first_images(&b, images, sizeof(images)) && agent_restore(fd, &b, images) && agent_wait(fd, "starting", 3000), "started ahead");
	else if (when != WAITING)
		agent_restore(fd, &b, s->images);
	if (when == STANDBY)
		check(agent_wait(fd, "standby", 10000), "standing by: %s", agent_last());
	if (when == RESTORING)
		agent_wait(fd, "restoring", 3000);
	if (when == BARRIER)
		check(agent_wait(fd, "barrier", 10000), "at the barrier: %s", agent_last());
	ways[way].end(s, &b, fd);
	check(shim_wait(&b, 10000) == ways[way].status, "%s while %s: status %d", ways[way].name, when_name[when], ways[way].status);
	check(shim_delete(&b, false) == 0 || strstr(b.message, "does not exist"), "delete %s", b.message);
	check(box_gone(&b) && box_count(&b) == from, "nothing is left and nothing ran");
	close(b.out_fd);
	close(fd);
}

/* CRIU dies at the barrier: its tasks must not stay. */
static void runc_killed(struct setup *s)
{
	struct box b;
	char path[512], text[64] = "";
	FILE *f;
	int fd, pid = 0;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	fd = agent_open(&b);
	agent_restore(fd, &b, s->images);
	agent_wait(fd, "barrier", 10000);
	snprintf(path, sizeof(path), "%s/%s/restoring", CONTAINERS, b.id);
	f = fopen(path, "r");
	if (f && fgets(text, sizeof(text), f))
		sscanf(text, "{\"pid\":%d", &pid);
	if (f)
		fclose(f);
	check(pid > 1 && kill(pid, SIGKILL) == 0, "runc is killed at the barrier");
	check(agent_wait(fd, "failed", 15000) && strstr(agent_last(), "killed by signal 9"), "the agent is told: %s", agent_last());
	check(shim_wait(&b, 5000) == 125, "status 125");
	check(shim_delete(&b, false) == 0, "delete %s", b.message);
	check(box_gone(&b), "nothing is left");
	close(b.out_fd);
	close(fd);
}

void suite_abort(struct setup *s)
{
	for (int when = WAITING; when <= BARRIER; when++)
		for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++)
			one(s, (enum when)when, way);
	runc_killed(s);
}
