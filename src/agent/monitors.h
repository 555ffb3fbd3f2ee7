/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_MONITORS_H
#define AGENT_MONITORS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "container/containerd.h"

/* The waiting containers on this node (include/runtime/monitor.h), seen from the agent. */
struct monitor_info {
	char id[CONTAINERD_ID_MAX];
	char name[254];
	char sandbox[CONTAINERD_ID_MAX];
	char migration[64];
	char pod_ns[254], pod_name[254], pod_uid[64];
	char bundle[512];
	char cgroup[1024];              /* as in config.json */
	char netns[512];
	char key_dir[1024], order_dir[1024];    /* "" for containers that do not mount them */
	char state[16];
};

/*
 * Reads the containers folder; entries that are not complete yet are skipped.  Returns the count or negative errno: one that there is, and that could not be looked at for want of
 * memory or file descriptors, is an error, and not a container less.
 */
int monitors_list(const struct agent_options *o, struct monitor_info *ret, int max, struct error *err);

/* The key file of a pod's migration. */
int monitor_key(const struct agent_options *o, const struct monitor_info *m, uint8_t key[PM_KEY_SIZE], struct error *err);

/* What the node remembers of a pod's container (runtime/monitor.h); USED: its restore was begun, and it was not opened; RAN: seen to run. */
enum monitor_claim { MONITOR_UNCLAIMED, MONITOR_USED, MONITOR_OPENED, MONITOR_RAN };
enum monitor_claim monitor_claim(const struct agent_options *o, const char *pod_uid, const char *name);

/*
 * Neither this nor what is told to it waits for long: -ETIMEDOUT is one that is stopped and has a full queue, of which nobody knows what it will do when it goes on.  -ECONNREFUSED and -ENOENT: there is
 * none any more.
 */
struct monitor;
int monitor_connect(const struct agent_options *o, const char *id, struct monitor **ret, struct error *err);
void monitor_close(struct monitor *m);
/* lazy: memory is not in the images but comes with go. */
int monitor_restore(struct monitor *m, const char *images, const char *work, bool lazy, struct error *err);
/* All images are there, inventory.img as MONITOR_INVENTORY. list, store: fill list and page store of a lazy restore, later: the filler's end of the socket for what comes later (they stay the caller's), else -1. */
int monitor_go(struct monitor *m, int list, int store, int later, struct error *err);
int monitor_open(struct monitor *m, struct error *err);         /* lets the restored processes run */
int monitor_abort(struct monitor *m, struct error *err);
/* Takes what it has said since; an error as monitor_wait's, when it has failed or ended. Does not wait. */
int monitor_look(struct monitor *m, struct error *err);
/*
 * Waits until the monitor says `state` ("barrier", "running").  "failed", a lost monitor and the deadline (clock_mono_us; 0: none) are errors; the first carries
 * CRIU's own lines and reason RestoreFailed.
 */
int monitor_wait(struct monitor *m, const char *state, int64_t deadline_us, struct error *err);
/* For who waits for several, and what one has said meanwhile. */
int monitor_fd(const struct monitor *m);
int monitor_hear(struct monitor *m, struct error *err);
bool monitor_filled(const struct monitor *m);
/* Of one that runs: until all memory is in place; *ret_pages and *ret_micros: how many pages came from the store and how long copying them took. */
int monitor_wait_filled(struct monitor *m, int64_t deadline_us, int64_t *ret_pages, int64_t *ret_micros, struct error *err);

#endif
