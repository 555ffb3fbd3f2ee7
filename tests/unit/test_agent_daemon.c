/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define children_start played_start
#define child_tell played_tell
#define order_read played_order
#include "agent/daemon.c"
#undef children_start
#undef child_tell
#undef order_read

/* What the daemon begins, and what it takes away.  The workers are played: none is started. */

#define UID "0b0c1d2e-0000-4000-8000-000000000001"
#define OLD "{\"migration\":\"" UID "\",\"namespace\":\"shop\",\"name\":\"web-to-milan\",\"podUID\":\"u-1\",\"podIP\":\"\",\"port\":0,\"remote\":false,\"step\":\"Freeze\"}"

static char root[] = "/tmp/pm-daemon-XXXXXX";
static struct agent_options options = { .host_root = root, .node = "n1" };

static struct {
	int n;
	cJSON *line;                    /* of the last one */
} started;
static char told_address[64];           /* a worker */

struct child *played_start(struct children *c, enum child_kind kind, const char *key, const cJSON *first_line, struct error *err)
{
	struct child *item = &c->items[c->n++];

	(void)err;
	*item = (struct child){ .kind = kind, .pid = 1, .pidfd = -1, .control_fd = -1 };
	snprintf(item->key, sizeof(item->key), "%s", key);
	started.n++;
	cJSON_Delete(started.line);
	started.line = cJSON_Duplicate(first_line, 1);
	return item;
}

static cJSON *told;                     /* the last line */

void played_tell(struct child *c, const cJSON *line)
{
	(void)c;
	snprintf(told_address, sizeof(told_address), "%s", json_str_or(line, "podIP", ""));
	cJSON_Delete(told);
	told = cJSON_Duplicate(line, 1);
}

static const char *late_order = "m1";

int played_order(const struct agent_options *o, const struct monitor_info *pod, cJSON **ret, struct error *err)
{
	(void)o;
	(void)pod;
	(void)ret;
	return error_set(err, -ETIME, "the order of migration %s is over its deadline", late_order);
}

static struct daemon *new_daemon(void)
{
	struct daemon *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->o = d->children.o = &options;
	d->pods = calloc(PODS_MAX, sizeof(*d->pods));
	started.n = 0;
	cJSON_Delete(take_ptr(started.line));
	return d;
}

static void free_daemon(struct daemon *d)
{
	free(d->pods);
	free(d);
}

/* A daemon that was started a moment ago hears of this migration; the reason that its worker is to give, "" for one that begins, NULL: nobody is started. */
static const char *reason_of_first(const char *phase, const char *decision, const char *state)
{
	static char reason[64];
	struct daemon *d = new_daemon();
	cJSON *m = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(m, "metadata"), *status = cJSON_AddObjectToObject(m, "status");

	cJSON_AddStringToObject(meta, "uid", UID);
	cJSON_AddStringToObject(meta, "namespace", "shop");
	cJSON_AddStringToObject(meta, "name", "web-to-milan");
	cJSON_AddStringToObject(status, "phase", phase);
	if (decision)
		cJSON_AddStringToObject(status, "decision", decision);
	if (state)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(status, "source"), "state", state);
	handle_migration(d, m);
	snprintf(reason, sizeof(reason), "%s", json_str_or(started.line, "reason", ""));
	cJSON_Delete(m);
	free_daemon(d);
	return started.n ? reason : NULL;
}

static void what_is_new_is_begun(void **state)
{
	(void)state;
	assert_string_equal(reason_of_first("Preparing", NULL, NULL), "");
	assert_string_equal(reason_of_first("Transferring", NULL, "Ready"), "");
	assert_null(reason_of_first("Pending", NULL, NULL));
	assert_null(reason_of_first("Committed", "Commit", "Running"));
	assert_null(reason_of_first("Failed", "Abort", "Aborted"));
	assert_null(reason_of_first("Succeeded", "Commit", "Running"));
}

/* Whether the worker is told to dial; of a dry run it must know what it is. */
static bool hears_address(bool dry, const char *phase, const char *ip)
{
	struct daemon *d = new_daemon();
	cJSON *m = cJSON_CreateObject(), *status = cJSON_AddObjectToObject(m, "status");

	cJSON_AddStringToObject(cJSON_AddObjectToObject(m, "metadata"), "uid", UID);
	cJSON_AddBoolToObject(cJSON_AddObjectToObject(m, "spec"), "dryRun", dry);
	cJSON_AddStringToObject(status, "phase", phase);
	if (ip)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(status, "destinationPod"), "podIP", ip);
	told_address[0] = '\0';
	handle_migration(d, m);
	assert_int_equal(started.n, 1);
	assert_int_equal(json_bool(started.line, "dryRun"), dry);
	cJSON_Delete(m);
	free_daemon(d);
	return told_address[0] != '\0';
}

static void a_dry_run_is_told_where_to_ask(void **state)
{
	(void)state;
	assert_true(hears_address(true, "Preparing", "10.0.0.1"));
	assert_false(hears_address(true, "Preparing", NULL));
	assert_true(hears_address(false, "Transferring", "10.0.0.1"));
	assert_false(hears_address(false, "Preparing", "10.0.0.1"));
}

static void of_what_was_given_up_meanwhile_the_word_is_said(void **state)
{
	(void)state;
	assert_string_equal(reason_of_first("Preparing", "Abort", "Ready"), "Cancelled");
}

/* The whole agent was killed before the freeze, and with it its workers: no journal, and nothing could be begun a second time. */
static void what_an_agent_before_had_begun_is_given_up_with_the_cause(void **state)
{
	(void)state;
	assert_string_equal(reason_of_first("Transferring", NULL, "Connecting"), "AgentRestarted");
	/* The controller was quicker, and has seen the destination end. */
	assert_string_equal(reason_of_first("Transferring", "Abort", "Connecting"), "AgentRestarted");
	/* It may be committed: only a journal could know, and there is none. */
	assert_null(reason_of_first("Committed", "Commit", "Restoring"));
}

/* What a person reads of it names the pod, which may be called otherwise than the PodMigration. */
/* A worker that is told so need not ask the record any more; one that is told to give up must. */
static void an_abort_is_the_records_when_the_record_says_so(void **state)
{
	static const struct {
		const char *phase, *decision;
		bool recorded;
	} cases[] = { { "Transferring", "Abort", true }, { "Failed", NULL, false }, { "Cancelled", "Commit", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct daemon *d = new_daemon();
		cJSON *m = cJSON_CreateObject(), *status = cJSON_AddObjectToObject(m, "status");

		cJSON_AddStringToObject(cJSON_AddObjectToObject(m, "metadata"), "uid", UID);
		cJSON_AddStringToObject(status, "phase", cases[i].phase);
		if (cases[i].decision)
			cJSON_AddStringToObject(status, "decision", cases[i].decision);
		played_start(&d->children, CHILD_SOURCE, UID, m, NULL);
		handle_migration(d, m);
		assert_non_null(json_str(told, "abort"));
		assert_true(json_bool(told, "recorded") == cases[i].recorded);
		cJSON_Delete(m);
		free_daemon(d);
	}
	cJSON_Delete(told);
	told = NULL;
}

/* Who moves a pod away is told that the agent ends; a destination's worker has nothing that stands still for it alone. */
static void an_agent_that_ends_tells_its_source_workers(void **state)
{
	struct daemon *d = new_daemon();

	(void)state;
	played_start(&d->children, CHILD_DESTINATION, "sandbox", NULL, NULL);
	cJSON_Delete(take_ptr(told));
	tell_leave(d);
	assert_null(told);
	played_start(&d->children, CHILD_SOURCE, UID, NULL, NULL)->pid = 0;
	tell_leave(d);
	assert_null(told);
	d->children.items[1].pid = 1;
	tell_leave(d);
	assert_true(json_bool(told, "leave"));
	cJSON_Delete(take_ptr(told));
	free_daemon(d);
}

static void *stay_main(void *arg)
{
	usleep(300000);
	shutdown(*(int *)arg, SHUT_WR);
	return NULL;
}

/* Bound, or waiting for its destination: it has another end than the agent's. */
static void who_stays_is_not_waited_for(void **state)
{
	struct daemon *d = new_daemon();
	int64_t start = clock_mono_us();
	int pair[2][2];
	pthread_t t;

	(void)state;
	leave(d);
	played_start(&d->children, CHILD_DESTINATION, "sandbox", NULL, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair[i]), 0);
		played_start(&d->children, CHILD_SOURCE, i ? "b" : "a", NULL, NULL)->control_fd = pair[i][0];
	}
	shutdown(pair[0][1], SHUT_WR);
	assert_int_equal(pthread_create(&t, NULL, stay_main, &pair[1][1]), 0);
	leave(d);
	assert_in_range(clock_mono_us() - start, 300000, LEAVE_US / 2);
	pthread_join(t, NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(d->children.items[i + 1].stays);
		assert_int_equal(d->children.items[i + 1].control_fd, -1);
		close(pair[i][1]);
	}
	cJSON_Delete(take_ptr(told));
	free_daemon(d);
}

static void what_is_taken_up_again_keeps_the_name_of_its_pod(void **state)
{
	struct journal_entry e = { .migration = UID, .ns = "shop", .name = "web-to-milan", .pod_uid = "u-1", .pod_name = "web", .step = JOURNAL_FREEZE };
	struct daemon *d = new_daemon();
	char path[512];

	(void)state;
	assert_int_equal(journal_write(&options, &e, NULL), 0);
	resume_frozen(d);
	assert_int_equal(started.n, 1);
	assert_string_equal(json_str_or(started.line, "podName", ""), "web");
	assert_string_equal(json_str_or(started.line, "name", ""), "web-to-milan");
	free_daemon(d);
	/* As an older version has noted it. */
	snprintf(path, sizeof(path), "%s" PM_STATE_DIR "/journal/" UID ".json", root);
	assert_int_equal(file_write(AT_FDCWD, path, OLD, strlen(OLD), 0600, false, NULL), 0);
	d = new_daemon();
	resume_frozen(d);
	assert_string_equal(json_str_or(started.line, "podName", ""), "web-to-milan");
	free_daemon(d);
	assert_int_equal(journal_remove(&options, UID, NULL), 0);
}

/* A node whose clock is ahead does nothing: somebody must be able to read why. */
static void of_an_order_that_is_over_it_is_told_once(void **state)
{
	struct monitor_info *pod = calloc(1, sizeof(*pod));
	struct daemon *d = new_daemon();
	struct buf text = BUF_INIT(65536);
	FILE *f = tmpfile();
	int lines = 0;
	char self[64];

	(void)state;
	log_init("test", LOG_INFO, fileno(f));
	for (int i = 0; i < 20; i++) {
		late_order = i < 10 ? "m1" : "m2";
		snprintf(pod->pod_uid, sizeof(pod->pod_uid), "%d", i % 2);
		handle_order(d, pod);
	}
	log_init("test", LOG_INFO, STDERR_FILENO);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(f));
	assert_int_equal(file_read(AT_FDCWD, self, &text, NULL), 0);
	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n';
	assert_int_equal(lines, 4);
	assert_non_null(strstr(text.data, "m2"));
	/* However many there are: what is forgotten is told again. */
	d->n_told_late = 1000;
	handle_order(d, pod);
	buf_free(&text);
	fclose(f);
	free_daemon(d);
	free(pod);
}

static bool has_images(const char *state)
{
	struct daemon *d = new_daemon();
	char path[512];
	bool there;

	snprintf(path, sizeof(path), "%s" PM_RUN_DIR "/destination/s1/0/images", root);
	assert_int_equal(dir_make(AT_FDCWD, path, 0700, NULL), 0);
	if (state) {
		snprintf(d->pods[0].sandbox, sizeof(d->pods[0].sandbox), "s1");
		snprintf(d->pods[0].state, sizeof(d->pods[0].state), "%s", state);
		d->n_pods = 1;
	}
	sweep_images(d);
	there = access(path, F_OK) == 0;
	free_daemon(d);
	return there;
}

/* A worker has left them behind. */
static void memory_images_stay_as_long_as_somebody_may_need_them(void **state)
{
	(void)state;
	assert_true(has_images("waiting"));
	assert_true(has_images("restoring"));
	assert_true(has_images("barrier"));
	assert_false(has_images("running"));
	assert_false(has_images("failed"));
	/* It ran, has crashed, and was started from its image: as long as the pod lives. */
	assert_false(has_images("cold"));
	assert_false(has_images(NULL));
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	cJSON_Delete(started.line);
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_new_is_begun),
		cmocka_unit_test(a_dry_run_is_told_where_to_ask),
		cmocka_unit_test(of_what_was_given_up_meanwhile_the_word_is_said),
		cmocka_unit_test(what_an_agent_before_had_begun_is_given_up_with_the_cause),
		cmocka_unit_test(an_abort_is_the_records_when_the_record_says_so),
		cmocka_unit_test(an_agent_that_ends_tells_its_source_workers), cmocka_unit_test(who_stays_is_not_waited_for),
		cmocka_unit_test(what_is_taken_up_again_keeps_the_name_of_its_pod),
		cmocka_unit_test(of_an_order_that_is_over_it_is_told_once),
		cmocka_unit_test(memory_images_stay_as_long_as_somebody_may_need_them),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
