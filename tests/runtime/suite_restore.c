/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"

/* Generous: what is checked is that nobody waits for a timeout; machines may be busy, and programs with sanitizers are slow to start. */
#ifdef __SANITIZE_ADDRESS__
#define SOON_US 10000000
#else
#define SOON_US 1000000
#endif

static void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };

	nanosleep(&t, NULL);
}

/* What the agent does after open: nothing of the application may have run before. */
static void barrier(struct box *b, int *fd)
{
	int64_t at;

	check(agent_wait(*fd, "barrier", 10000), "the restore reaches the barrier: %s", agent_last());
	at = box_count(b);
	sleep_ms(300);
	check(box_count(b) == at, "nothing runs at the barrier");
	close(*fd);
	sleep_ms(50);
	*fd = agent_open(b);
	check(*fd >= 0 && agent_wait(*fd, "barrier", 1000), "an agent that comes back is told the state at once");
	check(agent_say(*fd, "{\"op\":\"restore\",\"images\":\"/run/podmigration/x\",\"work\":\"/run/podmigration/x\"}") && agent_wait(*fd, "barrier", 1000) &&
		      strstr(agent_last(), "nothing is restored twice"),
	      "a second restore is refused");
	check(box_count(b) == at, "and still nothing runs");
}

static int64_t wait_first_tick(const struct box *b, int64_t from)
{
	int64_t start = clock_mono_us();

	while (clock_mono_us() < start + SOON_US) {
		if (box_count(b) != from)
			return clock_mono_us() - start;
		usleep(200);
	}
	return -1;
}

static void opens(struct box *b, int fd)
{
	int64_t from = box_count(b), start, tick, told;
	pid_t probe;
	int code;

	check(shim_exec_start(b, STARTED_PROBE, &probe) == 0 && shim_exec_wait(probe, 100) == -1, "the startup probe does not answer at the barrier");
	start = clock_mono_us();
	agent_say(fd, "{\"op\":\"open\"}");
	tick = wait_first_tick(b, from);
	check(agent_wait(fd, "running", SOON_US / 1000) && strstr(agent_last(), "\"pid\":"), "open: running, with the pid %s", agent_last());
	told = clock_mono_us() - start;
	check(tick >= 0 && tick < SOON_US, "the application runs %.1f ms after open", (double)tick / 1000);
	check(told < SOON_US, "the agent is told %.1f ms after open", (double)told / 1000);
	check(agent_say(fd, "{\"op\":\"open\"}") && agent_wait(fd, "running", 1000) && !strstr(agent_last(), "error"), "a second open is answered by the state");
	check(agent_say(fd, "{\"op\":\"abort\"}") && agent_wait(fd, "running", 1000) && strstr(agent_last(), "runs already"), "abort is refused now");
	check(box_count(b) > 290 && box_ticks(b), "it goes on counting where it was");
	check(shim_output(b, "tick ", 3000), "its output still goes to the shim");
	check(shim_exec_wait(probe, 2000) == 0, "the startup probe says yes");
	check(shim_exec(b, STARTED_PROBE, &code) == 0 && code == 0, "and says so again");
	check(shim_exec(b, "[\"/app\"]", &code) == 0 && code == 2, "exec is runc's now");
	check(shim_op(b, "state") == 0 && strstr(shim_said(), "\"status\": \"running\""), "state is runc's now");
	check(shim_op(b, "start") == 0, "start is still fine");
	check(shim_kill(b, "10") == 0 && shim_output(b, "usr1", 3000), "signals reach the application");
	check(kill(b->pid, 0) == 0, "the monitor is still what the shim waits for");
}

static struct box restored(struct setup *s, int *fd)
{
	struct box b;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	check(shim_create(&b) == 0 && shim_op(&b, "start") == 0, "created and started: %s", b.message);
	*fd = agent_open(&b);
	check(*fd >= 0 && agent_wait(*fd, "waiting", 1000) && agent_restore(*fd, &b, s->images) && agent_wait(*fd, "restoring", 3000), "restoring");
	return b;
}

static void finish(struct box *b, int fd)
{
	check(shim_delete(b, false) == 0, "delete %s", b->message);
	check(box_gone(b), "nothing is left");
	close(b->out_fd);
	close(fd);
}

static void ends_by_itself(struct setup *s)
{
	int fd;
	struct box b = restored(s, &fd);

	barrier(&b, &fd);
	opens(&b, fd);
	check(shim_kill(&b, "15") == 0 && shim_wait(&b, 5000) == 7, "it ends with its own status");
	finish(&b, fd);
}

/* Started before there is anything to restore; nothing happens until the word. */
static void started_ahead(struct setup *s)
{
	char images[256];
	struct box b;
	int64_t at;
	int fd;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	check(shim_create(&b) == 0 && shim_op(&b, "start") == 0, "created and started: %s", b.message);
	fd = agent_open(&b);
	check(agent_say(fd, "{\"op\":\"go\"}") && agent_wait(fd, "waiting", 1000) && agent_wait(fd, "waiting", 1000) && strstr(agent_last(), "not standing by"),
	      "go is refused before: %s", agent_last());
	check(agent_first_images(&b, images, sizeof(images)) && agent_restore(fd, &b, images) && agent_wait(fd, "standby", 10000), "it stands by: %s", agent_last());
	at = box_count(&b);
	check(agent_say(fd, "{\"op\":\"open\"}") && agent_wait(fd, "standby", 1000) && strstr(agent_last(), "not at the barrier"), "open is refused: %s",
	      agent_last());
	sleep_ms(300);
	check(box_count(&b) == at, "nothing runs");
	check(agent_other_images(&b, images) && agent_say(fd, "{\"op\":\"go\"}") && agent_wait(fd, "restoring", 3000), "the images are there: restoring");
	barrier(&b, &fd);
	opens(&b, fd);
	check(shim_kill(&b, "15") == 0 && shim_wait(&b, 5000) == 7, "it ends with its own status");
	finish(&b, fd);
}

static void ends_by_signal(struct setup *s)
{
	int fd;
	struct box b = restored(s, &fd);

	agent_wait(fd, "barrier", 10000);
	agent_say(fd, "{\"op\":\"open\"}");
	check(agent_wait(fd, "running", 5000), "running: %s", agent_last());
	check(shim_kill(&b, "9") == 0 && shim_wait(&b, 5000) == 137, "SIGKILL right after it runs: status 137");
	finish(&b, fd);
}

static void monitor_killed_while_it_runs(struct setup *s)
{
	int fd;
	struct box b = restored(s, &fd);

	agent_wait(fd, "barrier", 10000);
	agent_say(fd, "{\"op\":\"open\"}");
	agent_wait(fd, "running", 5000);
	sleep_ms(300);
	kill(b.pid, SIGKILL);
	check(shim_wait(&b, 2000) == 137, "a monitor that is killed while the application runs ends the container for the shim");
	finish(&b, fd);
}

static void deleted_by_force(struct setup *s)
{
	int fd;
	struct box b = restored(s, &fd);

	agent_wait(fd, "barrier", 10000);
	agent_say(fd, "{\"op\":\"open\"}");
	agent_wait(fd, "running", 5000);
	check(shim_delete(&b, true) == 0 && shim_wait(&b, 2000) == 137, "delete --force of a running one: %s", b.message);
	check(box_gone(&b), "nothing is left");
	close(b.out_fd);
	close(fd);
}

/* The source's next move: what was restored is a container like any other. */
static void second_generation(struct setup *s)
{
	int fd;
	struct box b = restored(s, &fd);

	agent_wait(fd, "barrier", 10000);
	agent_say(fd, "{\"op\":\"open\"}");
	check(agent_wait(fd, "running", 5000) && box_ticks(&b), "a second one runs");
	sleep_ms(200);
	check(shim_op(&b, "pause") == 0, "it can be paused");
	sleep_ms(20);
	check(shim_op(&b, "resume") == 0 && box_ticks(&b), "and resumed");
	shim_kill(&b, "9");
	shim_wait(&b, 5000);
	finish(&b, fd);
}

void suite_restore(struct setup *s)
{
	ends_by_itself(s);
	started_ahead(s);
	ends_by_signal(s);
	monitor_killed_while_it_runs(s);
	deleted_by_force(s);
	second_generation(s);
}
