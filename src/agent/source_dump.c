/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "migration/reason.h"
#include "net/tls.h"

#define START_TIMEOUT_US 60000000
#define DUMP_TIMEOUT_US 120000000
#define DUMP_LOOK_US 5000               /* whether it is given up meanwhile; the pod stands still */
#define TURNS_MIN 2
#define IMAGE_CHUNK (256 * 1024)
#define FIRST_IMAGE "descriptors.json"

static int make_dirs(struct source_container *c, char *images, char *work, size_t size, struct error *err)
{
	char host[4096];
	const struct agent_options *o = c->source->o;

	if (path_format(images, size, "%s/%u/images", c->source->run_dir, c->index) < 0 ||
	    path_format(work, size, "%s/%u/work", c->source->run_dir, c->index) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	for (int i = 0; i < 2; i++) {
		int r = agent_host_path(o, host, sizeof(host), "%s", i ? work : images);

		r = r < 0 ? r : dir_make(AT_FDCWD, host, 0700, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_image(struct source_container *c, int dir, const char *name, struct error *err)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_json cJSON *head = cJSON_CreateObject();
	struct wire *w = c->source->wire;
	cleanup_free char *chunk = malloc(IMAGE_CHUNK);
	struct stat st;
	uint64_t at = 0;
	bool stored;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || !chunk)
		return error_errno(err, "open image %s", name);
	cJSON_AddStringToObject(head, "name", name);
	cJSON_AddNumberToObject(head, "size", (double)st.st_size);
	stored = source_shared_image_is(c, name, (uint64_t)st.st_size);
	if (stored)
		cJSON_AddBoolToObject(head, "stored", true);
	r = wire_send_json(w, WIRE_IMAGE, c->index, head, err);
	if (r < 0 || stored)
		return r < 0 ? r : source_shared_image(c, fd, (uint64_t)st.st_size, err);
	while (r == 0 && at < (uint64_t)st.st_size) {
		ssize_t n = pread(fd, chunk, IMAGE_CHUNK, (off_t)at);

		if (n <= 0)
			return error_set(err, -EIO, "image %s became shorter while it was read", name);
		r = wire_send(w, WIRE_DATA, c->index, &at, sizeof(at), chunk, (size_t)n, err);
		at += (uint64_t)n;
	}
	c->image_bytes += at;
	return r;
}

/* What CRIU wrote: image files; logs and statistics stay here, and FIRST_IMAGE is there already. */
static bool is_image(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && !strcmp(name + len - 4, ".img");
}

static int send_images(struct source_container *c, const char *images, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	char host[4096];
	struct dirent *e;
	int r;

	if (agent_host_path(c->source->o, host, sizeof(host), "%s", images) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	d = opendir(host);
	if (!d)
		return error_errno(err, "open %s", images);
	r = source_blinkers_list(c, dirfd(d), err);
	while (r == 0 && (e = readdir(d)))
		r = is_image(e->d_name) ? send_image(c, dirfd(d), e->d_name, err) : 0;
	return r;
}

static int send_container_end(struct source_container *c, struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "name", c->info.name);
	cJSON_AddNumberToObject(j, "pages", (double)c->pages.pages);
	cJSON_AddNumberToObject(j, "pageBytes", (double)c->pages.bytes);
	cJSON_AddNumberToObject(j, "imageBytes", (double)c->image_bytes);
	cJSON_AddNumberToObject(j, "treeBytes", (double)c->tree.bytes);
	cJSON_AddNumberToObject(j, "dumpMicros", (double)c->dump_us);
	source_report_memory(c, j);
	return wire_send_json(c->source->wire, WIRE_CONTAINER_END, c->index, j, err);
}

/* --- before the freeze --- */

/*
 * CRIU's page server listens on the pod's own loopback: while it does, every process that could connect there is frozen or held by CRIU.  The ports are
 * free now; one that is taken in the moments until then makes the dump fail, and the pod goes on.
 */
static int pick_ports(struct source *s, uint16_t *ports, struct error *err)
{
	int fd[WIRE_CONTAINERS_MAX], n = 0, r = 0;

	while (r == 0 && n < s->n) {
		r = tcp_listen(s->runc.netns_fd, 0, 1, &fd[n], &ports[n], err);
		n += r == 0;
	}
	while (n > 0)
		close(fd[--n]);
	return r;
}

static int start_dump(struct source_container *c, uint16_t port, struct error *err)
{
	char images[600], work[600];
	int r = make_dirs(c, images, work, sizeof(images), err);

	if (r == 0)
		r = runc_dump_start(&c->source->runc, c->info.id, c->init_pid, images, work, port, &c->dump, err);
	c->dumping = r == 0;
	return r;
}

/* The one file that runc restore reads before CRIU starts, and that runc checkpoint has written by now. */
static int send_first_image(struct source_container *c, struct error *err)
{
	cleanup_close int dir = -1;
	char host[4096];

	if (agent_host_path(c->source->o, host, sizeof(host), "%s", c->dump.image_dir) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	dir = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? error_errno(err, "open %s", c->dump.image_dir) : send_image(c, dir, FIRST_IMAGE, err);
}

static int wait_gate(struct source_container *c, int64_t deadline, struct error *err)
{
	int r = runc_dump_wait_gate(&c->dump, deadline, err);

	if (r == 0)
		r = send_first_image(c, err);
	return r < 0 ? error_wrap(err, r, "container %s", c->info.name) : 0;
}

/* Rounds of memory may still come before the freeze. */
#define WARM_US 600000000

int source_start_dumps(struct source *s, struct error *err)
{
	int64_t deadline = clock_mono_us() + START_TIMEOUT_US;
	uint16_t ports[WIRE_CONTAINERS_MAX];
	char path[64];
	int r;

	path_format(path, sizeof(path), "/proc/%d/ns/net", s->containers[0].init_pid);
	s->runc.netns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->runc.netns_fd < 0)
		return error_errno(err, "open the pod's network namespace");
	r = pick_ports(s, ports, err);
	for (int i = 0; r == 0 && i < s->n; i++)
		r = start_dump(&s->containers[i], ports[i], err);
	for (int i = 0; r == 0 && i < s->n; i++)
		r = wait_gate(&s->containers[i], deadline, err);
	if (r == 0)
		warm_start(WARM_BREAKPOINTS, s->o->host_pid, WARM_US, &s->warm, NULL);
	return r;
}

/* --- the frozen part --- */

/* What a restored container finds in a volume must be there before it is restored. */
static void wait_volumes(struct source *s)
{
	pthread_mutex_lock(&s->volumes_lock);
	while (!s->volumes_sent)
		pthread_cond_wait(&s->volumes_done, &s->volumes_lock);
	pthread_mutex_unlock(&s->volumes_lock);
}

/* Also when they could not be sent: nobody waits for ever, and the stream has failed. */
static void tell_volumes_sent(struct source *s)
{
	pthread_mutex_lock(&s->volumes_lock);
	s->volumes_sent = true;
	pthread_cond_broadcast(&s->volumes_done);
	pthread_mutex_unlock(&s->volumes_lock);
}

/*
 * As many dumps at a time as there are processors: more would only take them from each other, and the destination would get all containers late instead of
 * the first ones early.  All have been frozen at one instant; in which order they are dumped does not matter.
 */
static void init_turns(struct source *s)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	sem_init(&s->turns, 0, n < TURNS_MIN ? TURNS_MIN : (unsigned)n);
}

static void wait_turn(struct source *s)
{
	while (sem_wait(&s->turns) < 0 && errno == EINTR)
		;
}

/*
 * CRIU can be held up, by a process that was stopped in the instant before the freeze, say, and nothing is sent meanwhile: that the stream was interrupted, for an abort or freezeTimeout, that another container
 * has failed, or that the destination has lost patience, would be found out when its time is over.
 */
static int wait_ready(struct source_container *c, int64_t deadline, struct error *err)
{
	int64_t now = clock_mono_us();
	bool over;

	for (;;) {
		over = wire_is_given_up(c->source->wire);
		if (over || now >= deadline || runc_dump_answers(&c->dump, now + DUMP_LOOK_US < deadline ? now + DUMP_LOOK_US : deadline))
			break;
		now = clock_mono_us();
	}
	return over ? error_reason(err, -ECANCELED, REASON_TransferFailed, "CRIU is not waited for any more, since the migration is given up") :
		      runc_dump_wait_ready(&c->dump, deadline, err);
}

/*
 * One container, while it is frozen.  CRIU writes its metadata while memory and files are read from outside.  As soon as the metadata is complete the group is
 * frozen again (CRIU thaws it and holds the tasks by ptrace), so that nothing runs whatever happens to CRIU.
 */
static int dump_metadata(struct source_container *c, int64_t deadline, struct error *err)
{
	int r = source_blinkers_put_on(c, err);

	if (r == 0)
		r = runc_dump_go(&c->dump, err);
	if (r == 0)
		r = source_send_memory(c, PAGES_NOT_EXECUTABLE, false, err);
	if (r == 0)
		r = source_check_attached(c, err);
	if (r == 0)
		r = source_send_root(c, err);
	if (r < 0)
		return r;
	FAULT_POINT("source.dump", c->source->journal.migration);
	return wait_ready(c, deadline, err);
}

static int dump_container(struct source_container *c, struct error *err)
{
	struct source *s = c->source;
	int64_t deadline = clock_mono_us() + DUMP_TIMEOUT_US;
	int r;

	wait_turn(s);
	r = dump_metadata(c, deadline, err);
	sem_post(&s->turns);
	if (r < 0)
		return r;
	r = freezer_refreeze(&s->freezer, c->index, deadline, err);
	c->dump_us = clock_mono_us() - s->mark[MARK_FROZEN];
	if (r == 0)
		r = source_send_memory(c, PAGES_EXECUTABLE, false, err);
	if (r == 0)
		r = send_images(c, c->dump.image_dir, err);
	if (r < 0)
		return r;
	wait_volumes(s);
	return send_container_end(c, err);
}

static void finish_dump(struct source_container *c, bool kill)
{
	struct error why = { 0 };

	if (!c->dumping)
		return;
	c->dumping = false;
	if (!kill && runc_dump_finish(&c->dump, clock_mono_us() + 30000000, &why) == 0)
		return;
	if (!kill)
		log_warning("CRIU did not end by itself", LOG_S("container", c->info.name), LOG_S("err", why.message));
	runc_dump_abort(&c->dump);
}

static void *container_main(void *arg)
{
	struct source_container *c = arg;

	c->result = c->source->frozen ? dump_container(c, &c->err) : source_precopy_container(c, &c->err);
	if (c->result < 0)
		error_wrap(&c->err, c->result, "container %s", c->info.name);
	/* The pod goes back: it shall not stand still until all the others have sent their memory in vain. */
	if (c->result < 0)
		wire_cancel(c->source->wire);
	return NULL;
}

/* The first container's own error is the cause; what follows from the stream being closed is not. */
static int join_all(struct source *s, int r, struct error *err)
{
	for (int i = 0; i < s->n; i++) {
		struct source_container *c = &s->containers[i];

		if (!c->thread_started)
			continue;
		pthread_join(c->thread, NULL);
		c->thread_started = false;
		if (c->result < 0 && (r == 0 || (err->reason == REASON_TransferFailed && c->err.reason != REASON_TransferFailed))) {
			r = c->result;
			*err = c->err;
		}
	}
	return r;
}

static int start_threads(struct source *s, struct error *err)
{
	for (int i = 0; i < s->n; i++) {
		struct source_container *c = &s->containers[i];
		int rc = pthread_create(&c->thread, NULL, container_main, c);

		c->thread_started = rc == 0;
		if (rc)
			return error_set(err, -rc, "cannot start a thread");
	}
	return 0;
}

void source_tell_memory(struct source *s)
{
	pthread_mutex_lock(&s->volumes_lock);
	s->memory_went++;
	pthread_cond_broadcast(&s->volumes_done);
	pthread_mutex_unlock(&s->volumes_lock);
}

void source_wait_files(struct source *s)
{
	pthread_mutex_lock(&s->volumes_lock);
	while (!s->files_went)
		pthread_cond_wait(&s->volumes_done, &s->volumes_lock);
	pthread_mutex_unlock(&s->volumes_lock);
}

bool source_wait_memory(struct source *s)
{
	bool waited = false;

	pthread_mutex_lock(&s->volumes_lock);
	for (; s->memory_went < s->n; waited = true)
		pthread_cond_wait(&s->volumes_done, &s->volumes_lock);
	pthread_mutex_unlock(&s->volumes_lock);
	return waited;
}

/* With volumes_lock held. */
static void meet(struct source *s, int *here, bool wait)
{
	(*here)++;
	pthread_cond_broadcast(&s->volumes_done);
	while (wait && *here < s->n)
		pthread_cond_wait(&s->volumes_done, &s->volumes_lock);
}

void source_end_rounds(struct source *s, bool wait)
{
	pthread_mutex_lock(&s->volumes_lock);
	meet(s, &s->rounds_over, wait);
	pthread_mutex_unlock(&s->volumes_lock);
}

bool source_end_running(struct source *s, bool good)
{
	bool all;

	pthread_mutex_lock(&s->volumes_lock);
	s->running_failed |= !good;
	if (s->running_over + 1 == s->n && !s->running_failed)
		source_leave_services(s);
	meet(s, &s->running_over, good);
	all = !s->running_failed;
	pthread_mutex_unlock(&s->volumes_lock);
	if (all)
		source_await_services(s);
	return all;
}

/* The first round of memory can take long: what has changed of the files by then goes after it, so that little is left for the freeze. */
static int send_files_again(struct source *s, struct error *err)
{
	source_wait_memory(s);
	return source_files_again(s, err);
}

static void tell_files_went(struct source *s)
{
	pthread_mutex_lock(&s->volumes_lock);
	s->files_went = true;
	pthread_cond_broadcast(&s->volumes_done);
	pthread_mutex_unlock(&s->volumes_lock);
}

int source_precopy(struct source *s, struct error *err)
{
	int r = s->precopy ? start_threads(s, err) : 0;

	if (!s->precopy) {
		source_blinkers_learn(s);
		return 0;
	}
	/* Those that could not be started have nothing to tell. */
	for (int i = 0; i < s->n; i++)
		if (!s->containers[i].thread_started) {
			source_tell_memory(s);
			source_end_rounds(s, false);
			source_end_running(s, false);
		}
	if (r == 0)
		r = send_files_again(s, err);
	if (r < 0)
		wire_cancel(s->wire);
	tell_files_went(s);
	r = join_all(s, r, err);
	/* What watches them has changed the mappings' flags by now. */
	if (r == 0)
		source_blinkers_learn(s);
	return r;
}

int source_send_all(struct source *s, struct error *err)
{
	int r;

	r = source_files_freeze(s, err);
	if (r < 0)
		return r;
	init_turns(s);
	r = start_threads(s, err);
	if (r == 0)
		r = source_send_volumes(s, err);
	if (r < 0)
		wire_cancel(s->wire);
	tell_volumes_sent(s);
	r = join_all(s, r, err);
	sem_destroy(&s->turns);
	/* With this byte the destination may decide (NotingSent). */
	if (r == 0 && s->journal.remote)
		r = source_fence_close(s, err);
	return r == 0 ? wire_send_end(s->wire, err) : r;
}

void source_let_go(struct source *s)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	/* All at the same time: the way to where it can let go is each CRIU's own. */
	for (int i = 0; i < s->n; i++)
		if (s->containers[i].dumping)
			runc_dump_hurry(&s->containers[i].dump);
	for (int i = 0; i < s->n; i++) {
		struct source_container *c = &s->containers[i];
		int n = c->dumping ? freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX) : 0;

		/* Whom it may hold is not known: until it has ended. */
		if (n < 0)
			finish_dump(c, true);
		else if (c->dumping)
			runc_dump_let_go(&c->dump, pids, n);
	}
}

void source_end_dumps(struct source *s, bool kill)
{
	for (int i = 0; i < s->n; i++)
		finish_dump(&s->containers[i], kill);
}
