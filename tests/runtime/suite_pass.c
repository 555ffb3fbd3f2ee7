/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "check.h"

static void ordinary(struct setup *s)
{
	struct box b;
	int code;

	if (!check(shim_bundle(&b, s, &(struct bundle_options){ 0 }), "a bundle"))
		return;
	check(shim_create(&b) == 0 && b.pid > 1, "an ordinary container is created by runc");
	check(shim_op(&b, "start") == 0 && box_ticks(&b), "and started");
	check(shim_op(&b, "state") == 0 && strstr(shim_said(), "\"status\": \"running\""), "its state is runc's");
	check(shim_exec(&b, "[\"/app\"]", &code) == 0 && code == 2, "exec is runc's");
	check(shim_exec(&b, STARTED_PROBE, &code) == 0 && code == 0, "our startup probe says yes, without a program of that name");
	check(shim_call(&b, (const char *const[]){ "ps", "--format", "json", b.id, NULL }) == 0 && shim_said()[0] == '[', "ps is runc's");
	check(shim_kill(&b, "15") == 0 && shim_wait(&b, 5000) == 7, "it ends with its own status");
	check(shim_delete(&b, false) == 0 && box_gone(&b), "it is deleted");
	close(b.out_fd);
}

static void not_ours(struct setup *s)
{
	static const struct {
		struct bundle_options o;
		const char *what;
	} cases[] = {
		{ { .migration = MIGRATION, .type = "sandbox" }, "a sandbox with the annotation is an ordinary container" },
		{ { .migration = "../../etc" }, "an annotation that is no UID means nothing" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct box b;
		char path[512];

		shim_bundle(&b, s, &cases[i].o);
		/* Its two mounts are there and point nowhere: runc refuses them, our runtime would have removed them. */
		check(shim_create(&b) != 0 && strstr(b.message, "/volumes/key"), "%s: %s", cases[i].what, b.message);
		snprintf(path, sizeof(path), "%s/%s", CONTAINERS, b.id);
		check(access(path, F_OK) < 0, "and gets no monitor");
		shim_delete(&b, true);
		close(b.out_fd);
	}
}

static void plain_calls(struct setup *s)
{
	struct box b;
	struct process_spec spec = { .argv = (const char *const[]){ s->runtime, "features", NULL }, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	struct buf out = BUF_INIT(65536);
	struct error err = { 0 };

	check(process_run(&spec, 5000000, &out, &err) == 0 && out.data && strstr(out.data, "ociVersionMin"), "features, without global flags, is runc's");
	buf_free(&out);
	spec.argv = (const char *const[]){ s->runtime, "--version", NULL };
	check(process_run(&spec, 5000000, &out, &err) == 0 && out.data && strstr(out.data, "runc version"), "--version is runc's");
	buf_free(&out);
	spec.argv = (const char *const[]){ s->runtime, NULL };
	check(process_run(&spec, 5000000, &out, &err) == 0 && out.data && strstr(out.data, "runc"), "no arguments: runc's help");
	buf_free(&out);
	shim_bundle(&b, s, &(struct bundle_options){ 0 });
	check(shim_op(&b, "start") != 0 && strstr(b.message, "does not exist"), "start of an unknown container: runc's error in the log");
	check(shim_delete(&b, true) == 0, "delete --force of an unknown container is fine");
	check(shim_call(&b, (const char *const[]){ "kill", "..", "9", NULL }) != 0, "an id that is a path is refused");
}

/* The images of an application that has counted for a while, for all other suites. */
static void make_images(struct setup *s)
{
	const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CRIU_CONFIG_FILE=/run/runtime-test/criu.conf", NULL };
	struct process_spec spec = { .env = env, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	struct error err = { 0 };
	struct box b;

	file_write(AT_FDCWD, "/run/runtime-test/criu.conf", "network-lock skip\ntcp-close\n", 28, 0600, false, NULL);
	shim_bundle(&b, s, &(struct bundle_options){ 0 });
	check(shim_create(&b) == 0 && shim_op(&b, "start") == 0 && shim_output(&b, "tick 300", 5000), "an application counts");
	spec.argv = (const char *const[]){ "runc", "--root", s->root, "checkpoint", "--file-locks", "--ext-unix-sk", "--tcp-established", "--image-path",
					   s->images, "--work-path", "/run/runtime-test", b.id, NULL };
	check(process_run(&spec, 20000000, NULL, &err) == 0, "runc checkpoint %s", err.message);
	shim_wait(&b, 5000);
	shim_delete(&b, true);
	close(b.out_fd);
}

void suite_pass(struct setup *s)
{
	ordinary(s);
	not_ours(s);
	plain_calls(s);
	make_images(s);
}
