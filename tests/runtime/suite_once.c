/* SPDX-License-Identifier: Apache-2.0 */
/* One-shot: what the kubelet's next container of the same name may be, after each way the first one can end. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "check.h"

static bool claim_says(const char *uid, const char *name, const char *word)
{
	cleanup_buf struct buf b = BUF_INIT(4096);
	char path[512];

	snprintf(path, sizeof(path), "/var/lib/podmigration/claims/%s_%s", uid, name);
	return file_read(AT_FDCWD, path, &b, NULL) == 0 && !strncmp(b.data, word, strlen(word)) && b.data[strlen(word)] == '\n';
}

/* What the agent reads of a container. */
static bool note_says(const struct box *b, const char *file, const char *text)
{
	cleanup_buf struct buf note = BUF_INIT(1u << 20);
	char path[256];

	snprintf(path, sizeof(path), CONTAINERS "/%s/%s", b->id, file);
	return file_read(AT_FDCWD, path, &note, NULL) == 0 && strstr(note.data, text);
}

static void end(struct box *b)
{
	shim_delete(b, true);
	shim_wait(b, 3000);
	close(b->out_fd);
}

static void up_to(struct box *b, int *fd, struct setup *s, const char *state)
{
	*fd = agent_open(b);
	agent_restore(*fd, b, s->images);
	agent_wait(*fd, "barrier", 10000);
	if (!strcmp(state, "running"))
		agent_say(*fd, "{\"op\":\"open\"}");
	check(agent_wait(*fd, state, 5000) || strstr(agent_last(), state), "%s", state);
}

static void crashed_after_commit(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000001" };
	static const struct bundle_options other = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000001", .name = "debugger" };
	struct box a, b, c;
	int fd, code;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	up_to(&a, &fd, s, "running");
	check(claim_says(o.pod_uid, "app", "opened"), "the claim says opened");
	end(&a);
	shim_bundle(&b, s, &o);
	check(shim_create(&b) == 0 && shim_op(&b, "start") == 0 && shim_output(&b, "tick 0\n", 3000), "a crash after the commit: started cold from its image");
	check(claim_says(o.pod_uid, "app", "cold"), "which the claim shows");
	check(shim_exec(&b, STARTED_PROBE, &code) == 0 && code == 0, "its startup probe says yes");
	check(note_says(&b, "state", "cold\n") && note_says(&b, "info.json", "\"orderDir\":\"/var/lib/kubelet/pods/"), "the agent finds its orders by it");
	check(shim_op(&b, "state") == 0 && strstr(shim_said(), "\"status\": \"running\"") && shim_op(&b, "ps") == 0 && shim_op(&b, "pause") == 0 && shim_op(&b, "resume") == 0,
	      "all that is asked of it is runc's");
	check(shim_delete(&b, false) != 0 && note_says(&b, "state", "cold\n"), "as long as it runs it is not deleted without --force");
	check(shim_kill(&b, "9") == 0 && shim_wait(&b, 3000) == 137 && shim_delete(&b, false) == 0 && box_gone(&b), "it ends like any other, and nothing is left");
	close(b.out_fd);
	shim_bundle(&c, s, &other);
	check(shim_create(&c) == 0 && shim_op(&c, "start") == 0 && shim_output(&c, "tick 0\n", 3000), "a container that is new in a moved pod is an ordinary one");
	end(&c);
	close(fd);
}

/* The pid of `runc restore`, as `delete` finds it. */
static pid_t runc_of(const struct box *b)
{
	cleanup_buf struct buf text = BUF_INIT(256);
	char path[256];
	int pid = 0;

	snprintf(path, sizeof(path), CONTAINERS "/%s/restoring", b->id);
	return file_read(AT_FDCWD, path, &text, NULL) == 0 && sscanf(text.data, "{\"pid\":%d", &pid) == 1 ? pid : 0;
}

static bool claim_comes(const char *uid, const char *word)
{
	for (int ms = 0; ms < 3000 && !claim_says(uid, "app", word); ms += 5)
		usleep(5000);
	return claim_says(uid, "app", word);
}

static void say_start_cold(const char *uid, const char *word)
{
	char path[256];

	snprintf(path, sizeof(path), "/var/lib/kubelet/pods/%s/volumes/kubernetes.io~downward-api/podmigration-order", uid);
	dir_make(AT_FDCWD, path, 0755, NULL);
	strcat(path, "/start-cold");
	file_write(AT_FDCWD, path, word, strlen(word), 0644, false, NULL);
}

static bool is_refused(struct setup *s, const struct bundle_options *o, const char *why)
{
	struct box b;
	bool refused;

	shim_bundle(&b, s, o);
	refused = shim_create(&b) == 1 && strstr(b.message, why) && box_gone(&b) && box_count(&b) == 0;
	close(b.out_fd);
	return refused;
}

/* Its monitor is killed when it has been told to open, and CRIU has not been let go: runc, through which the word goes to CRIU, stands still. */
static void killed_in_the_instant_of_opening(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000002" };
	struct box a, b, c;
	pid_t runc;
	int fd;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	up_to(&a, &fd, s, "barrier");
	runc = runc_of(&a);
	check(runc > 1 && kill(runc, SIGSTOP) == 0 && agent_say(fd, "{\"op\":\"open\"}") && claim_comes(o.pod_uid, "opening"),
	      "told to open, and nothing runs yet: the claim says opening");
	kill(a.pid, SIGKILL);
	kill(runc, SIGCONT);
	end(&a);
	check(is_refused(s, &o, "only the frozen source"), "the kubelet's next container is refused, not started cold beside the frozen source");
	check(claim_says(o.pod_uid, "app", "opening"), "and that changes nothing");
	say_start_cold(o.pod_uid, "no");
	check(is_refused(s, &o, "podmigration.dev/start-cold=true"), "as long as nobody says that it may start without its memory");
	say_start_cold(o.pod_uid, "true");
	shim_bundle(&b, s, &o);
	check(shim_create(&b) == 0 && shim_op(&b, "start") == 0 && shim_output(&b, "tick 0\n", 3000) && claim_says(o.pod_uid, "app", "cold"),
	      "a person says so: it starts from its image");
	end(&b);
	say_start_cold(o.pod_uid, "");
	shim_bundle(&c, s, &o);
	check(shim_create(&c) == 0 && shim_op(&c, "start") == 0 && shim_output(&c, "tick 0\n", 3000), "from then on it is an ordinary container");
	end(&c);
	close(fd);
}

/* The CRIU that a `runc restore` has started. */
static pid_t criu_of(pid_t runc)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t found = 0;

	while (d && !found && (e = readdir(d))) {
		cleanup_buf struct buf stat = BUF_INIT(4096);
		char path[320];
		int pid, parent;

		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		if (e->d_name[0] > '0' && e->d_name[0] <= '9' && file_read(AT_FDCWD, path, &stat, NULL) == 0 &&
		    sscanf(stat.data, "%d (criu) %*c %d", &pid, &parent) == 2 && parent == runc)
			found = pid;
	}
	if (d)
		closedir(d);
	return found;
}

/* Its monitor is killed when CRIU has been let go, and before it has heard that the application runs: it may have run, and nothing of it is left. */
static void killed_when_let_go(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000004" };
	struct box a;
	int64_t ran;
	pid_t criu;
	int fd;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	up_to(&a, &fd, s, "barrier");
	criu = criu_of(runc_of(&a));
	/* It takes one request after the other: when it answers the second one, the first is done. */
	check(criu > 1 && kill(criu, SIGSTOP) == 0 && agent_say(fd, "{\"op\":\"open\"}") && agent_say(fd, "{\"op\":\"status\"}") && agent_wait(fd, "barrier", 3000) &&
	      claim_says(o.pod_uid, "app", "opening"), "CRIU is let go, and the application does not run yet: the claim says opening");
	kill(a.pid, SIGKILL);
	kill(criu, SIGCONT);
	check(shim_wait(&a, 3000) == 137, "its monitor has ended");
	usleep(500000);
	ran = box_count(&a);
	usleep(50000);
	check(box_count(&a) == ran, "what CRIU has let run for nobody does not go on, without anybody's order");
	check(shim_delete(&a, true) == 0 && box_gone(&a), "and nothing of it is left");
	close(a.out_fd);
	check(claim_says(o.pod_uid, "app", "opening") && is_refused(s, &o, "only the frozen source"), "whether it ran is not known: the kubelet's next container is refused");
	close(fd);
}

/* Of two containers one runs, and the other has died at the barrier: only the first one may crash and be started anew. */
static void one_of_two_dies(struct setup *s)
{
	static const struct bundle_options app = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000003" };
	static const struct bundle_options side = { .migration = MIGRATION, .pod_uid = "cccccccc-0000-4000-8000-000000000003", .name = "side" };
	struct box a, b, c;
	int fd, side_fd;

	shim_bundle(&b, s, &side);
	shim_create(&b);
	up_to(&b, &side_fd, s, "barrier");
	kill(b.pid, SIGKILL);
	end(&b);
	say_start_cold(app.pod_uid, "true");
	check(is_refused(s, &side, "while the source may run"), "died at the barrier, nothing is committed yet: whoever says so, it is not started");
	say_start_cold(app.pod_uid, "");
	shim_bundle(&a, s, &app);
	shim_create(&a);
	up_to(&a, &fd, s, "running");
	check(is_refused(s, &side, "only the frozen source"), "the other one runs: it is refused");
	end(&a);
	shim_bundle(&c, s, &app);
	check(shim_create(&c) == 0 && shim_op(&c, "start") == 0 && shim_output(&c, "tick 0\n", 3000), "the one that ran, and crashed, is started anew");
	end(&c);
	check(is_refused(s, &side, "only the frozen source"), "the other one still is not");
	close(side_fd);
	close(fd);
}

static void failed_before_commit(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "dddddddd-0000-4000-8000-000000000001" };
	struct box a, b;
	int fd;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	up_to(&a, &fd, s, "barrier");
	agent_say(fd, "{\"op\":\"abort\"}");
	agent_wait(fd, "failed", 5000);
	shim_wait(&a, 5000);
	end(&a);
	check(claim_says(o.pod_uid, "app", "used"), "the claim says used");
	shim_bundle(&b, s, &o);
	check(shim_create(&b) == 1 && strstr(b.message, "not tried twice") && box_gone(&b) && box_count(&b) == 0,
	      "an aborted restore: the kubelet's next container is refused, not started cold beside the source");
	close(b.out_fd);
	close(fd);
}

static void aborted_while_waiting(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "dddddddd-0000-4000-8000-000000000002" };
	struct box a, b;
	int fd;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	fd = agent_open(&a);
	agent_say(fd, "{\"op\":\"abort\"}");
	check(agent_wait(fd, "failed", 2000) && shim_wait(&a, 2000) == 125, "aborted while it waited: status 125");
	end(&a);
	shim_bundle(&b, s, &o);
	check(shim_create(&b) == 1 && strstr(b.message, "not tried twice"), "and the next one is refused");
	close(b.out_fd);
	close(fd);
}

/* The kubelet's folder of the pod is what a claim lives by. */
static void claims_go_with_the_pod(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "eeeeeeee-0000-4000-8000-000000000001" };
	struct box a;
	int fd;

	tree_remove(AT_FDCWD, "/var/lib/kubelet/pods/dddddddd-0000-4000-8000-000000000001", NULL);
	shim_bundle(&a, s, &o);
	shim_create(&a);
	up_to(&a, &fd, s, "barrier");
	check(access("/var/lib/podmigration/claims/dddddddd-0000-4000-8000-000000000001_app", F_OK) < 0, "claims of pods that are gone are dropped");
	check(claim_says("dddddddd-0000-4000-8000-000000000002", "app", "used"), "the others stay");
	end(&a);
	close(fd);
}

void suite_once(struct setup *s)
{
	crashed_after_commit(s);
	killed_in_the_instant_of_opening(s);
	killed_when_let_go(s);
	one_of_two_dies(s);
	failed_before_commit(s);
	aborted_while_waiting(s);
	claims_go_with_the_pod(s);
}
