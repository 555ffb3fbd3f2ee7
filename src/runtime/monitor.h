/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_MAIN_H
#define RUNTIME_MONITOR_MAIN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "cgroups.h"
#include "claim.h"
#include "fill.h"
#include "guard.h"
#include "pass_fd.h"
#include "record.h"
#include "relay.h"

/* What a monitor must know; strings live as long as the process. */
struct monitor_spec {
	const char *id, *root, *bundle, *cgroups_path;
	const char *netns;              /* the pod's network namespace, where runc and CRIU run; "": none */
	const char *userns;             /* the pod's user namespace, into which CRIU restores; "": none */
	bool systemd_cgroup;
	struct claim_key claim;
	const char *migration;          /* UID of the PodMigration that brings it */
	const char *program_dir;        /* where runc and criu are looked for first; found out before an upgrade can replace it */
	const char *info;               /* members of info.json without the monitor's own */
};

/*
 * The process in the application's place.  Its life is one way: waiting, (starting, standby,) restoring, barrier, running; failed from each before running.
 */
struct monitor {
	const struct monitor_spec *spec;
	struct cgroups home;            /* where we came from */
	char dir[RECORD_DIR_MAX];
	enum monitor_state state;
	struct error error;             /* why it failed */
	int signal_fd;
	int listen_fd, agent_fd;        /* monitor.sock; agent_fd -1: nobody is connected */
	int relay_listen_fd;            /* criu.sock */
	struct relay relay;             /* between runc and CRIU */
	pid_t runc;                     /* `runc restore`; 0: not running */
	bool lazy;                      /* the memory is filled by filler, not by CRIU */
	bool keeps_tcp;                 /* the images say which connections stay; else CRIU closes them all */
	struct filler filler;
	int given[PASS_FDS_MAX];        /* fds that came with the request that is looked at: list of pages, page store, socket for later ones; -1: none */
	char images[512], work[512];
	struct guard guard;             /* from the begin of the restore on */
	int init_fd;                    /* a pidfd of what is being let run; -1: none, or it runs */
	int64_t init_gone_us;           /* since when it has ended */
	int gate_fd;                    /* CRIU stands by and reads from there */
	pid_t init;                     /* the restored application's, once it runs */
	bool aborting;                  /* runc is giving up: the end of it is waited for */
	int abort_status;               /* and then this is ours */
	bool opened;                    /* the barrier was opened: committed */
	int pending_signal;             /* for the application, as soon as it runs */
	int exit_status;                /* -1: go on */
};

/* Forks the monitor and waits until it stands; *ret_go: one byte written there lets it live on, a close ends it and leaves nothing. */
int monitor_spawn(const struct monitor_spec *s, pid_t *ret_pid, int *ret_go, struct error *err);

/* --- monitor.c for the other parts --- */

/* The state file, then the agent: who has been told may rely on it. */
void monitor_enter(struct monitor *m, enum monitor_state s);
/* Failed, with m->error; the loop ends. */
void monitor_fail(struct monitor *m, int exit_status);
/* Nothing that was restored may run: CRIU is left alone, and kills what it made.  Failed at once when there is nothing yet. */
void monitor_abort(struct monitor *m, int exit_status);

/* --- monitor_agent.c --- */

void agent_accept(struct monitor *m);
void agent_handle(struct monitor *m);
void agent_tell(struct monitor *m, const char *refusal);        /* state, pid, error (or why something was refused) */

/* --- monitor_fill.c --- */

/* The filler, and so CRIU's lazy-pages.socket, stands in folder work. */
int fill_prepare(struct monitor *m, const char *work, struct error *err);
/* Hands the list and store that came with the request to the filler.  -EINVAL: there are none, nothing was changed. */
int fill_take(struct monitor *m, struct error *err);
void fill_drop(struct monitor *m);      /* what was given and not taken */
void fill_event(struct monitor *m);     /* the filler has something to tell */
/* Enters the barrier when CRIU stands there and the memory can be filled. */
void barrier_check(struct monitor *m);

/* --- monitor_restore.c --- */

/* Runs runc; without inventory.img in the images it stops before its first step (standby).  -EINVAL: the request is not valid, nothing was changed. */
int restore_begin(struct monitor *m, const char *images, const char *work, bool lazy, struct error *err);
void restore_go(struct monitor *m);     /* from standby */
void restore_gate_look(struct monitor *m);      /* while starting: does CRIU stand by? */
void restore_gate_refuse(struct monitor *m);    /* gives up there */
void restore_open(struct monitor *m);
void restore_ended(struct monitor *m, int wait_status);
void restore_look_after(struct monitor *m);     /* from the opening until it runs: has it ended? */
void restore_relay(struct monitor *m);  /* runc or CRIU has said something */

#define MONITOR_EXIT_FAILED 125

#endif
