/* SPDX-License-Identifier: Apache-2.0 */
/* Bad images, bad requests, bad files. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "check.h"

static bool copy_images(const char *from, const char *to, const char *without)
{
	DIR *d = opendir(from);
	struct dirent *e;
	bool ok = d && dir_make(AT_FDCWD, to, 0700, NULL) == 0;

	while (ok && (e = readdir(d))) {
		struct buf b = BUF_INIT(64u << 20);
		char path[600];

		if (e->d_name[0] == '.' || strstr(e->d_name, without))
			continue;
		snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
		ok = file_read(AT_FDCWD, path, &b, NULL) == 0;
		snprintf(path, sizeof(path), "%s/%s", to, e->d_name);
		ok = ok && file_write(AT_FDCWD, path, b.data ? b.data : "", b.len, 0600, false, NULL) == 0;
		buf_free(&b);
	}
	if (d)
		closedir(d);
	return ok;
}

static void fails(struct setup *s, const char *images, const char *what, const char *criu_says)
{
	struct box b;
	int fd;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	fd = agent_open(&b);
	agent_restore(fd, &b, images);
	check(!agent_wait(fd, "barrier", 10000) && strstr(agent_last(), "\"failed\""), "%s: failed", what);
	check(strstr(agent_last(), criu_says), "with the cause: %s", agent_last());
	check(shim_wait(&b, 5000) == 125, "status 125");
	check(agent_hear(fd, 1000) && !agent_last()[0], "the connection ends with it");
	check(shim_op(&b, "state") == 0 && strstr(shim_said(), "stopped"), "state: stopped");
	check(shim_delete(&b, false) == 0 && box_gone(&b) && box_count(&b) == 0, "nothing is left, nothing ran");
	close(b.out_fd);
	close(fd);
}

static void bad_images(struct setup *s)
{
	static const char bad[] = RUN "/test/bad", empty[] = RUN "/test/empty";

	dir_make(AT_FDCWD, empty, 0700, NULL);
	fails(s, empty, "no images", "runc restore");
	copy_images(s->images, bad, "core-1");
	fails(s, bad, "an image is missing", "CRIU: Error (");
	tree_remove(AT_FDCWD, bad, NULL);
	copy_images(s->images, bad, "pagemap-1");
	file_write(AT_FDCWD, RUN "/test/bad/pagemap-1.img", "not an image at all", 19, 0600, false, NULL);
	fails(s, bad, "an image is damaged", "CRIU: Error (");
}

static void bad_requests(struct setup *s)
{
	static const struct {
		const char *packet, *answer;
	} cases[] = {
		{ "", NULL },
		{ "x", "not a request" },
		{ "{\"op\":\"restore\"", "not a request" },
		{ "[]", "not a request" },
		{ "{\"op\":7}", "not a request" },
		{ "{\"op\":\"fly\"}", "unknown op" },
		{ "{\"op\":\"open\"}", "not at the barrier" },
		{ "{\"op\":\"restore\"}", "missing" },
		{ "{\"op\":\"restore\",\"images\":\"/etc\",\"work\":\"/run/podmigration/test\"}", "below /run/podmigration" },
		{ "{\"op\":\"restore\",\"images\":\"/run/podmigration/../../etc\",\"work\":\"/run/podmigration/test\"}", "folder" },
		{ "{\"op\":\"restore\",\"images\":\"/run/podmigration/test/link\",\"work\":\"/run/podmigration/test\"}", "folder" },
		{ "{\"op\":\"restore\",\"images\":\"/run/podmigration/test\",\"work\":\"/run/podmigration/nothing\"}", "folder" },
		{ "{\"op\":\"restore\",\"images\":\"/run/podmigration/a b\",\"work\":\"/run/podmigration/test\"}", "below /run/podmigration" },
	};
	char large[20001];
	struct box b;
	int fd;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	if (symlink("/etc", RUN "/test/link") < 0)
		check(false, "link");
	fd = agent_open(&b);
	agent_wait(fd, "waiting", 1000);
	for (size_t i = 1; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(agent_say(fd, cases[i].packet) && agent_wait(fd, "waiting", 1000) && strstr(agent_last(), cases[i].answer), "%s: %s", cases[i].packet,
		      agent_last());
	memset(large, ' ', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	check(agent_say(fd, large) && agent_wait(fd, "waiting", 1000) && strstr(agent_last(), "not a request"), "a packet that is too large");
	check(agent_say(fd, "{\"op\":\"status\"}") && agent_wait(fd, "waiting", 1000) && !strstr(agent_last(), "error"), "status after all that: waiting");
	shim_delete(&b, true);
	check(shim_wait(&b, 2000) == 143 && box_gone(&b), "nothing is left");
	close(b.out_fd);
	close(fd);
	unlink(RUN "/test/link");
}

/* A second agent waits in the queue until the first has gone. */
static void two_agents(struct setup *s)
{
	struct box b;
	int one, two;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	one = agent_open(&b);
	check(agent_wait(one, "waiting", 1000), "an agent");
	two = agent_open(&b);
	check(two >= 0 && !agent_hear(two, 200), "a second one is not served");
	close(one);
	check(agent_wait(two, "waiting", 1000), "before the first has gone");
	close(two);
	shim_delete(&b, true);
	shim_wait(&b, 2000);
	close(b.out_fd);
}

static void bad_configs(struct setup *s)
{
	static const struct {
		const char *text, *what;
	} cases[] = {
		{ "", "empty" },
		{ "{", "cut off" },
		{ "[1,2]", "no object" },
		{ "{\"annotations\":{\"io.kubernetes.cri.container-type\":7}}", "an annotation that is a number" },
		{ "{\"mounts\":[{}]}", "a mount without destination" },
		{ "{\"a\":\"\\ud800\",\"annotations\":null,\"mounts\":null,\"linux\":null}", "nulls" },
	};
	char path[512], deep[4096];

	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	for (size_t i = 0; i <= sizeof(cases) / sizeof(cases[0]); i++) {
		bool last = i == sizeof(cases) / sizeof(cases[0]);
		const char *text = last ? deep : cases[i].text;
		struct box b;
		int r;

		shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
		snprintf(path, sizeof(path), "%s/config.json", b.bundle);
		file_write(AT_FDCWD, path, text, strlen(text), 0644, false, NULL);
		r = shim_create(&b);
		check(r > 0 && r < 126 && b.message[0] && box_gone(&b), "config.json %s: an error: %s", last ? "deeply nested" : cases[i].what, b.message);
		close(b.out_fd);
	}
}

/* A folder that a crash left half made can be deleted. */
static void damaged_record(struct setup *s)
{
	static const char *const infos[] = { "", "{", "{\"pid\":1}", "{\"pid\":2,\"started\":1,\"root\":\"/x\",\"bundle\":\"/x\",\"cgroup\":\"/none\"}" };

	for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
		struct box b;
		char path[512];

		shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
		snprintf(path, sizeof(path), "%s/%s", CONTAINERS, b.id);
		dir_make(AT_FDCWD, path, 0700, NULL);
		snprintf(path, sizeof(path), "%s/%s/info.json", CONTAINERS, b.id);
		file_write(AT_FDCWD, path, infos[i], strlen(infos[i]), 0600, false, NULL);
		check(shim_kill(&b, "9") == 1, "a damaged record: kill says not running");
		check(shim_delete(&b, true) == 0 && box_gone(&b), "and it can be deleted %s", b.message);
	}
}

void suite_bad(struct setup *s)
{
	bad_images(s);
	bad_requests(s);
	two_agents(s);
	bad_configs(s);
	damaged_record(s);
}
