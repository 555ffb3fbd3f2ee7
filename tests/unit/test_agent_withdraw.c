/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"

#include "agent/destination_withdraw.c"
#include "agent/host_path.c"
#include "agent/monitors.c"

/* When a destination may say that nothing of what was committed ran, or ever will. */

static char root[] = "/tmp/pm-withdraw-XXXXXX";
static struct agent_options options = { .host_root = root };

void destination_abort(struct destination *d)
{
	(void)d;
}

static void put_claim(const char *name, const char *word)
{
	char path[512], text[64];

	snprintf(path, sizeof(path), "%s" PM_STATE_DIR "/claims/pod_%s", root, name);
	snprintf(text, sizeof(text), "%s\n/pod\n", word ? word : "");
	if (word)
		assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
	else
		unlink(path);
}

static void at(const char *what, char *out, size_t size)
{
	snprintf(out, size, "%s" PM_RUN_DIR "/containers/%s", root, what);
}

/* Of container c1: answers one request with `answer`, and ends; NULL: it has ended. */
struct fake {
	int fd;
	const char *answer;
	pthread_t thread;
};

static void *fake_main(void *arg)
{
	struct fake *f = arg;
	char packet[256];
	int fd;

	while ((fd = accept(f->fd, NULL, NULL)) >= 0) {
		if (recv(fd, packet, sizeof(packet), 0) > 0)
			send(fd, f->answer, strlen(f->answer), MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static void fake_start(struct fake *f, const char *answer)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char path[512];

	at("c1/monitor.sock", path, sizeof(path));
	unlink(path);
	assert_int_equal(path_format(a.sun_path, sizeof(a.sun_path), "%s", path), 0);
	f->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	f->answer = answer;
	if (answer) {
		assert_int_equal(listen(f->fd, 8), 0);
		assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
	} else {
		close(f->fd);
	}
}

static void fake_stop(struct fake *f)
{
	if (!f->answer)
		return;
	shutdown(f->fd, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->fd);
}

/* Two containers: web, whose monitor is the fake (or not there), and log, whose folder is gone. */
static bool asked(const char *web, const char *log, bool there, const char *answer)
{
	struct destination *d = calloc(1, sizeof(*d));
	struct fake f = { -1, NULL, 0 };
	bool r;

	put_claim("web", web);
	put_claim("log", log);
	d->o = &options;
	d->n = 2;
	snprintf(d->first.pod_uid, sizeof(d->first.pod_uid), "pod");
	snprintf(d->containers[0].info.name, sizeof(d->containers[0].info.name), "web");
	snprintf(d->containers[1].info.name, sizeof(d->containers[1].info.name), "log");
	snprintf(d->containers[1].info.id, sizeof(d->containers[1].info.id), "c2");
	if (there) {
		snprintf(d->containers[0].info.id, sizeof(d->containers[0].info.id), "c1");
		fake_start(&f, answer);
	}
	d->containers[0].d = d->containers[1].d = d;
	r = destination_never_ran(d);
	/* Whoever asks it again must not read what it says to the abort. */
	if (!r)
		assert_null(d->containers[0].monitor);
	monitor_close(d->containers[0].monitor);
	if (there)
		fake_stop(&f);
	free(d);
	return r;
}

static void what_was_begun_and_has_ended_never_ran(void **state)
{
	(void)state;
	assert_true(asked("used", "used", false, NULL));
	assert_true(asked("used", "used", true, NULL));
	assert_true(asked("used", "used", true, "{\"state\":\"failed\",\"error\":\"aborted by the agent\"}"));
}

static void what_was_opened_ran(void **state)
{
	(void)state;
	assert_false(asked("opened", "used", false, NULL));
	assert_false(asked("used", "opened", false, NULL));
	assert_false(asked("used", "cold", false, NULL));
}

/* Of a monitor that ended before it could say that its container runs. */
static void what_was_seen_to_run_came_up(void **state)
{
	static const struct {
		const char *claim;
		bool ran, opened;
	} rows[] = { { "opened", true, true }, { "opening", false, true }, { "cold", false, true }, { "", false, true }, { "used", false, false }, { NULL, false, false } };
	struct destination *d = calloc(1, sizeof(*d));

	(void)state;
	d->o = &options;
	d->n = 1;
	d->containers[0].d = d;
	snprintf(d->first.pod_uid, sizeof(d->first.pod_uid), "pod");
	snprintf(d->containers[0].info.name, sizeof(d->containers[0].info.name), "web");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_claim("web", rows[i].claim);
		assert_int_equal(destination_ran(&d->containers[0]), rows[i].ran);
		assert_int_equal(destination_opened_any(d), rows[i].opened);
	}
	free(d);
}

static void what_is_not_known_is_not_said(void **state)
{
	(void)state;
	assert_false(asked("used", NULL, false, NULL));
	assert_false(asked("", "used", false, NULL));
	/* It lives, and would not be aborted. */
	assert_false(asked("used", "used", true, "{\"state\":\"barrier\",\"error\":\"abort: the barrier is open already\"}"));
	assert_false(asked("used", "used", true, "{\"state\":\"running\",\"error\":\"abort: the application runs already\"}"));
	/* It closes the connection, and lives. */
	assert_false(asked("used", "used", true, ""));
}

static int make_root(void **state)
{
	char path[512];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	at("c1", path, sizeof(path));
	if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s" PM_STATE_DIR "/claims", root);
	return dir_make(AT_FDCWD, path, 0700, NULL);
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_begun_and_has_ended_never_ran),
		cmocka_unit_test(what_was_opened_ran),
		cmocka_unit_test(what_was_seen_to_run_came_up),
		cmocka_unit_test(what_is_not_known_is_not_said),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
