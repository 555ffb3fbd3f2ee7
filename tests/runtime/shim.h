/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_SHIM_H
#define TESTS_RUNTIME_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Drives podmigration-runtime as containerd's shim does: same arguments, same standard streams, a subreaper that waits for what it was given. */

#define RUN "/run/podmigration"
#define CONTAINERS RUN "/containers"

struct setup {
	const char *runtime;            /* the program under test */
	char base[128];                 /* bundles */
	char root[160];                 /* runc's --root */
	char images[128];               /* of the checkpointed application */
	const char *netns;
	int seq;
};

struct box {
	struct setup *s;
	char id[72];
	char bundle[256];
	char log[288];
	int out_fd;                     /* read end of the container's standard output and error */
	pid_t pid;                      /* of init.pid */
	char message[4096];             /* the last error in the shim's log */
};

#define STARTED_PROBE "[\"/.podmigration/started\"]"

/* What goes into config.json. */
struct bundle_options {
	const char *migration;          /* NULL: an ordinary container */
	const char *name;               /* NULL: "app" */
	const char *pod_uid;            /* NULL: one of its own */
	const char *type;               /* NULL: "container" */
	const char *cgroup;             /* NULL: "/kubepods/pod<id>/<id>" */
};

void shim_init(void);
bool shim_bundle(struct box *b, struct setup *s, const struct bundle_options *o);
/* argv after the global flags, ends with NULL.  Returns the exit status, -1 when it did not end in 60 s. */
int shim_call(struct box *b, const char *const *args);
int shim_create(struct box *b);
int shim_op(struct box *b, const char *op);                     /* start, state .. ID */
int shim_kill(struct box *b, const char *signal);
int shim_delete(struct box *b, bool force);
/* exec of args (JSON array text) with --detach: 0 or the exit status of exec itself; *ret_code: of the process. */
int shim_exec(struct box *b, const char *args_json, int *ret_code);
/* The same in two steps; shim_exec_wait: the exit status, -1 when it has not ended in so many ms. */
int shim_exec_start(struct box *b, const char *args_json, pid_t *ret_pid);
int shim_exec_wait(pid_t pid, int ms);
/* Exit code of the container's process, -1 when it does not end in ms. */
int shim_wait(struct box *b, int ms);
/* Waits until the container's output holds text. */
bool shim_output(struct box *b, const char *text, int ms);
void shim_drop_output(struct box *b);
/* What the last shim_call wrote to its output. */
const char *shim_said(void);

int64_t box_count(const struct box *b);
bool box_ticks(const struct box *b);
/* Nothing of it is left: process, cgroups, folders. Prints what is. */
bool box_gone(const struct box *b);

/* --- the agent's side --- */

int agent_open(const struct box *b);
bool agent_say(int fd, const char *json);
/* The next packet; "" on end of file, NULL on timeout. */
const char *agent_hear(int fd, int ms);
/* Waits for a packet with this state; false when another end comes first.  The packet is agent_last(). */
bool agent_wait(int fd, const char *state, int ms);
const char *agent_last(void);
bool agent_restore(int fd, struct box *b, const char *images);
/* A folder of images of this box's own, with only what runc reads first: the restore will stand by there. */
bool agent_first_images(struct box *b, char *dir, size_t size);
/* The rest, as the agent puts it there. */
bool agent_other_images(const struct box *b, const char *dir);

#endif
