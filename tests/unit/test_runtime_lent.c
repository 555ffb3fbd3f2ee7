/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/lent.h"

/* In a mount namespace of its own, with a /run of its own: a volume that is shared, as a node's are, with a mount below. */

#define FIRST_USER 100000
#define FIRST_GROUP 200000
#define VOLUME "/run/volume"
#define MAPPED "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]"
#define GROUPS "\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"
#define BIND(more) "{\"type\":\"bind\",\"source\":\"" VOLUME "\",\"destination\":\"/v\",\"options\":[\"rbind\"]" more "}"

static pid_t holder;
static char userns[64];

static void put(const char *path, const char *text)
{
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0644, false, NULL), 0);
}

static void write_map(const char *name, const char *text)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", holder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void hold(void)
{
	int ends[2];
	char c;

	assert_int_equal(pipe(ends), 0);
	holder = fork();
	if (holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWUSER) < 0 || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	if (read(ends[0], &c, 1) != 1)
		skip();
	close(ends[0]);
	write_map("uid_map", "0 100000 65536\n");
	write_map("gid_map", "0 200000 65536\n");
	snprintf(userns, sizeof(userns), "/proc/%d/ns/user", holder);
}

static int setup(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS) < 0)
		skip();
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), 0);
	assert_int_equal(mkdir(VOLUME, 0755), 0);
	assert_int_equal(mount("tmpfs", VOLUME, "tmpfs", 0, "mode=0755"), 0);
	assert_int_equal(mkdir(VOLUME "/below", 0755), 0);
	assert_int_equal(mount("tmpfs", VOLUME "/below", "tmpfs", 0, NULL), 0);
	assert_int_equal(mount("none", VOLUME, NULL, MS_REC | MS_SHARED, NULL), 0);
	put(VOLUME "/secret", "s");
	put(VOLUME "/below/deep", "d");
	assert_int_equal(mkdir("/run/bundle", 0755), 0);
	hold();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	return umount2("/run", MNT_DETACH);
}

static int plan(struct lent *l, const char *mounts, const char *groups, struct error *err)
{
	char text[4096];

	snprintf(text, sizeof(text), "{\"mounts\":[%s],\"linux\":{%s},\"annotations\":{}}", mounts, groups);
	put("/run/bundle/config.json", text);
	return lent_plan(l, "/run/bundle", "c1", userns, err);
}

/* 0: may read it; else the errno. */
static int read_as(uid_t uid, gid_t gid, const char *path)
{
	pid_t pid = fork();
	int st;

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(255);
		_exit(open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	return WEXITSTATUS(st);
}

static void made(struct lent *l, const char *mounts)
{
	struct error err = { 0 };

	assert_int_equal(plan(l, mounts, GROUPS, &err), 0);
	/* Only planned. */
	assert_int_equal(access(LENT_DIR, F_OK), -1);
	if (lent_make(l, userns, &err) < 0)
		fail_msg("%s", err.message);
}

static void only_the_namespace_may_enter(void **state)
{
	struct lent l = { .n = 0 };
	struct stat st;

	(void)state;
	made(&l, BIND("," MAPPED));
	assert_int_equal(stat(LENT_DIR "/c1/0/secret", &st), 0);
	assert_int_equal(st.st_uid, FIRST_USER);
	assert_int_equal(read_as(65534, 65534, LENT_DIR "/c1/0/secret"), EACCES);
	assert_int_equal(read_as(FIRST_USER + 65536, FIRST_GROUP + 65536, LENT_DIR "/c1/0/secret"), EACCES);
	assert_int_equal(read_as(FIRST_USER, FIRST_GROUP, LENT_DIR "/c1/0/secret"), 0);
	/* And as CRIU's task is before it becomes the namespace's root. */
	assert_int_equal(read_as(0, 0, LENT_DIR "/c1/0/secret"), 0);
	lent_end(&l);
	assert_int_equal(access(LENT_DIR "/c1", F_OK), -1);
}

static void what_is_taken_away_is_only_the_copy(void **state)
{
	struct lent l = { .n = 0 };

	(void)state;
	made(&l, BIND("," MAPPED));
	assert_int_equal(access(LENT_DIR "/c1/0/below/deep", F_OK), 0);
	lent_remove("c1");
	assert_int_equal(access(LENT_DIR "/c1", F_OK), -1);
	assert_int_equal(access(VOLUME "/below/deep", F_OK), 0);
	assert_int_equal(access(VOLUME "/secret", F_OK), 0);
	lent_end(&l);
}

static void what_runc_does_not_map_is_not(void **state)
{
	struct lent l = { .n = 0 };
	struct stat st;

	(void)state;
	made(&l, BIND("") "," BIND(""));
	assert_int_equal(l.n, 1);
	assert_int_equal(stat(LENT_DIR "/c1/0/secret", &st), 0);
	assert_int_equal(st.st_uid, 0);
	lent_end(&l);
}

static void what_cannot_be_told_is_refused(void **state)
{
	static const struct {
		const char *mounts, *groups;
		int code;
	} row[] = {
		{ BIND("," MAPPED) "," BIND(""), GROUPS, -ENOTSUP },
		{ BIND("," MAPPED), "", -EINVAL },
		/* procfs has no ids to map (FS_ALLOW_IDMAP) */
		{ "{\"type\":\"bind\",\"source\":\"/proc\",\"destination\":\"/p\"," MAPPED "}", GROUPS, -EINVAL },
		{ BIND("," MAPPED), "\"gidMappings\":[]", -EINVAL },
		{ BIND("," MAPPED), "\"gidMappings\":[{\"containerID\":5,\"hostID\":200000,\"size\":1}]", -EINVAL },
		{ BIND("," MAPPED), "\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct lent l = { .n = 0 };
		struct error err = { 0 };

		assert_int_equal(plan(&l, row[i].mounts, row[i].groups, &err), row[i].code);
		lent_end(&l);
	}
}

static void nothing_planned_is_nothing_to_do(void **state)
{
	struct lent l = { .n = 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(lent_make(&l, "", &err), 0);
	assert_int_equal(access(LENT_DIR, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_the_namespace_may_enter, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_taken_away_is_only_the_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(what_runc_does_not_map_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_told_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_planned_is_nothing_to_do, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
