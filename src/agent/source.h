/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SOURCE_H
#define AGENT_SOURCE_H

#include <pthread.h>
#include <semaphore.h>

#include "agent.h"
#include "container/bundle.h"
#include "container/containerd.h"
#include "container/cpu_limit.h"
#include "container/freezer.h"
#include "container/runc.h"
#include "container/warm.h"
#include "control.h"
#include "driver.h"
#include "journal.h"
#include "migration/obstacles.h"
#include "record.h"
#include "source_service.h"
#include "transfer/pages.h"
#include "transfer/shared.h"
#include "transfer/tree.h"
#include "transfer/wire.h"
#include "volumes.h"

#define SOURCE_PROCESSES_MAX WIRE_PROCESSES_MAX

struct smaps;
struct source;
struct source_blinkers;

#define SOURCE_ROUNDS_MAX 16
#define SOURCE_ROUNDS_DEFAULT 8                 /* spec.preCopy.maxRounds and maxDowntime, as in crds/ */
#define SOURCE_DOWNTIME_DEFAULT_US 300000
struct source_round {
	uint64_t pages;                 /* sent with data */
	uint64_t bytes;
	int64_t micros;
	int cpu_percent;                /* of what the container used before; 0: it was not limited */
};

struct source_process {
	pid_t pid, ns_pid;
};

struct source_container {
	struct source *source;
	uint16_t index;                 /* position in HELLO */
	struct pod_container info;
	struct bundle *bundle;
	pid_t init_pid;
	struct runc_dump dump;
	bool dumping;                   /* dump is started and not yet finished or aborted */
	struct pages_stats pages;
	struct pages_known *known;      /* what went ahead while it ran; NULL: nothing */
	struct track_set *tracks;       /* what is written meanwhile; NULL: nobody looks */
	struct source_round rounds[SOURCE_ROUNDS_MAX];  /* while it ran */
	int n_rounds;
	int rounds_told;                /* of these, what may be told while it runs; with throttle_lock */
	struct source_round last;       /* frozen */
	bool later;                     /* PostCopy: its memory is sent when it is asked for */
	struct source_process *processes;       /* then: for whom it is asked, source_later.c */
	int n_processes;
	struct source_blinkers *blinkers;       /* what CRIU is kept from looking at */
	struct packer *packer;          /* NULL: the destination does not know it */
	struct shared *shared;          /* shared memory that went ahead; NULL: none */
	struct pages_stats shared_ahead;
	struct tree_record *files;      /* of its root, what went ahead; NULL: nothing */
	struct tree_stats tree;
	uint64_t image_bytes;
	uint64_t ahead;                 /* of pages: sent before the freeze */
	struct cpu_limit cpu_limit;     /* group "": nobody has looked */
	int cpu_percent;                /* of what it used before, that it may use until the freeze; 0: it is not limited */
	int64_t cpu_used;               /* before that, microseconds in a second */
	int64_t left;                   /* bytes written since they were sent, when they were counted last; with throttle_lock */
	bool sysv;                      /* frozen: System V shared memory is attached */
	char tracking[256];             /* empty: all of its processes are tracked; else why not */
	uint64_t waiting;               /* signals that its first process had waiting when the destination ran */
	bool waiting_known;
	int64_t asked_us;               /* clock_mono_us: it was seen that the kubelet asks it to end */
	int64_t dump_us;                /* from the freeze to CRIU's metadata being complete */
	pthread_t thread;
	bool thread_started;
	int result;
	struct error err;
};

enum source_mark { MARK_FREEZE, MARK_FROZEN, MARK_SENT, MARK_PREPARED, MARK_COMMITTED, MARK_RUNNING, MARK_COMPLETE, MARK_COUNT };

/* Clients that still connect to a pod that has moved. */
struct refusing {
	uint64_t resets;                /* sent by its network namespace, when that was looked at last */
	int64_t last_us;                /* clock_mono_us: they had become more; 0: nobody has looked */
};

/* One migration, seen from where the pod is. */
struct source {
	const struct agent_options *o;
	struct control *control;
	struct record *record;          /* NULL when the pod's home is another cluster */
	struct journal_entry journal;
	int64_t epoch;
	bool precopy, postcopy;         /* spec.strategy */
	bool dry_run;                   /* spec.dryRun: the destination is asked, and that is all */
	bool untold;                    /* a participant has found something before there was a stream: HELLO tells it (s->cause) */
	int protocol;                   /* agreed with the destination */
	bool stored;                    /* it knows STORED */
	int64_t rounds_max, downtime_us;        /* spec.preCopy */
	bool auto_converge;             /* spec.preCopy.allowAutoConverge */
	pthread_mutex_t throttle_lock;  /* the containers' CPU limits and their note, and what is told meanwhile */
	int64_t bandwidth;              /* spec.bandwidth, bytes/s; 0: no limit */
	int64_t deadline_us;            /* of the whole migration; control.h */
	uint8_t key[PM_KEY_SIZE];
	struct containerd *containerd;
	struct runc runc;
	struct warm *warm;              /* while runc and CRIU of the dumps stand by, and until they are done */
	struct source_container containers[WIRE_CONTAINERS_MAX];
	int n;
	int ipc_owner;                  /* as HELLO says */
	struct pod_volumes volumes;
	struct tree_record *volume_files[POD_VOLUMES_MAX];      /* by index in volumes; NULL: nothing went ahead */
	struct tree_stats volume_tree;
	struct tree_ahead ahead;
	int walks;                      /* through all files while it ran */
	int64_t walks_us, volumes_us;   /* volumes: the last one, frozen */
	struct tree_mapped *mapped;     /* while frozen */
	struct smaps *smaps;            /* NULL: this kernel tells flags of mappings only by a walk through memory */
	sem_t turns;                    /* dumps that may begin */
	pthread_mutex_t volumes_lock;
	pthread_cond_t volumes_done;
	bool volumes_sent;
	int memory_went;                /* while it runs: containers of which memory went at least once; with volumes_lock */
	int rounds_over, running_over;  /* .. that wait for the others, behind the rounds, and before the last of all; with volumes_lock */
	bool running_failed;            /* .. one of them has failed; with volumes_lock */
	bool files_went;                /* .. and the last walk through the files is done */
	struct source_service *service; /* from the last look at its memory on; NULL: not yet */
	struct fence_guard *fence_guard; /* while the fence is closed */
	struct freezer freezer;
	bool freezer_ready;
	bool frozen;
	char run_dir[512];              /* on the node: images of this migration */
	struct wire *wire;
	pthread_mutex_t wire_lock;      /* for the control thread, which may interrupt it */
	int64_t mark[MARK_COUNT];       /* clock_mono_us */
	cJSON *welcome, *prepared, *running;    /* the destination's answers */

	struct driver driver;
	struct error err;               /* of the deed that went wrong last */
	struct error cause;             /* why it was given up, for a person */
	bool have_key;
	bool peer_gave_up;              /* the destination said REFUSE or ABORT on this stream */
	bool peer_never_ran;            /* and, with it, that nothing was opened there and nothing will be */
	bool listened;                  /* the pod had TCP listeners, which were ended */
	struct refusing refusing;
	bool resumed;                   /* taken up from the journal */
	_Atomic bool bound;             /* its word is given, or it is committed: time alone ends nothing any more */
	_Atomic bool late;              /* it was not by its deadline */
	_Atomic bool leaving;           /* its agent ends */
	_Atomic bool early;             /* there has been no stream yet: nothing of it stands still */
	bool tells_frozen;              /* a person was told that the thaw does not succeed */
	int64_t thaw_us;                /* how long the last thaw took; 0: it was not frozen */
	int64_t filled_us;              /* clock_mono_us: memory that comes here still is waited for until then; 0: nobody has asked */
	int64_t patience_us;            /* clock_mono_us: a committed destination that does not answer until then is reported lost */
};

/*
 * source_key.c.  The key comes with a remote source's order or, at home, from the record's Secret; both may be gone before the outcome is told.  So it is kept on
 * the node's tmpfs, beside the memory images, as long as these.
 */
int source_take_key(struct source *s, const cJSON *order, struct error *err);
int source_keep_key(struct source *s, struct error *err);
int source_find_key(struct source *s, struct error *err);       /* nothing to do when it is known */

/* source_deeds.c: what the source does in each state of machine_source; ctx is the struct source. */
extern const struct deed_row source_deeds[DEED_COUNT];

/* source_stream.c: the stream, as the source uses it.  All but the last two are for the main thread. */
int source_dial(struct source *s, int64_t patience_us, struct error *err);
int source_greet(struct source *s, bool resume, struct error *err);
/*
 * Receives the one frame that is expected next, and answers each WANT before it (idle_us is then for each frame, but up to PREPARED for all of them); -ECONNABORTED and peer_gave_up: REFUSE or ABORT came instead, perhaps behind a WANT whose answer nobody took, err holds the destination's words; anything else ends
 * the stream.
 */
int source_expect(struct source *s, enum wire_type type, int64_t idle_us, cJSON **ret, struct error *err);
/*
 * After a failure to send, which *err tells of: a destination that gives up says why and hangs up while it is sent to, and its words lie there still, behind what it has asked for before (PostCopy), which
 * is not answered.  Then *err is these, and peer_gave_up is set.
 */
void source_hear_last_word(struct source *s, struct error *err);
void source_hang_up(struct source *s);
void source_interrupt(void *source);

/*
 * source_inspect.c: finds the containers, opens the freezer: all that a thaw needs.  Reason PodNotRunning: containerd runs no container of this pod.  Can be
 * repeated when it fails.
 */
int source_find(struct source *s, struct error *err);
/* The same, and checks that CRIU can dump the processes. */
int source_inspect(struct source *s, struct error *err);
/* containerd answers, and runs nothing of this pod, not even its sandbox. */
bool source_pod_gone(struct source *s);
/*
 * Once the destination may run, nothing is started in the source pod any more (container/fence.h): closed before the commit can be in the record, lifted with the thaw.
 * look: before the journal says Freeze, which keeps what must be put back.
 */
void source_fence_look(struct source *s);
int source_fence_close(struct source *s, struct error *err);
int source_fence_lift(struct source *s, struct error *err);
void source_fence_end(struct source *s);        /* of its guard; the fence stays as it is */
/*
 * Containers that were killed while CRIU held them, and were left frozen by it, can be deleted afterwards (runc_thaw_dead).  Whoever is alive stays frozen.  Fails when
 * only containerd knows the containers, since an earlier worker found them, and it does not answer.
 */
int source_thaw_dead(struct source *s, struct error *err);
/* Sum of the processes' resident memory: what the destination must have room for. */
uint64_t source_state_bytes(struct source *s);
/* Index of the container that attaches System V shared memory, else 0: its images carry the pod's IPC objects. */
int source_ipc_owner(struct source *s);
/* Once a container was looked at while it is frozen: it has attached none since, or is the one above.  Else UnsupportedContainer. */
int source_check_attached(const struct source_container *c, struct error *err);
void source_release(struct source *s);

/*
 * source_dump.c.  Before the freeze: starts runc and CRIU of every container here and, by the files they leave, at the destination; returns when all of
 * them stand before their first step.
 */
int source_start_dumps(struct source *s, struct error *err);
/* Sends memory ahead while the pod runs, and what of the files has changed meanwhile, in rounds, until a round would take no time or no longer helps. */
int source_precopy(struct source *s, struct error *err);
/* Everything that is sent while the pod is frozen; returns when all is sent (CRIU may still be letting go). */
int source_send_all(struct source *s, struct error *err);
/* Waits until no CRIU of ours holds a process, so that the pod can be thawed: what is left of them is for source_end_dumps. */
void source_let_go(struct source *s);
/* Waits until no CRIU of ours is left. kill: does not wait for a good end. */
void source_end_dumps(struct source *s, bool kill);

/*
 * source_blinkers.c: CRIU is kept from walking through large memory, which we look at ourselves.  learn: before the freeze; put_on: the pod is frozen and CRIU not yet let go; look: this process's memory is
 * gone through now, and found (ctx: the container's blinkers) is told of its pages, while CRIU works; list: they are put into CRIU's images when these are complete.  A CRIU that
 * looked all the same is no harm.
 */
void source_blinkers_learn(struct source *s);
int source_blinkers_put_on(struct source_container *c, struct error *err);
void source_blinkers_look(struct source_container *c, pid_t pid);
int source_blinkers_found(void *ctx, uint64_t start, uint64_t end, struct error *err);
int source_blinkers_list(struct source_container *c, int images_fd, struct error *err);
void source_blinkers_free(struct source_blinkers *b);

/*
 * source_live.c: status tells how much has been sent, and in which rounds, while the pod runs.  begin: from now on, now and then; NULL: it does not, which is no harm.  end: before the freeze, and
 * before anything else is told of the containers.  tell: now, with throttle_lock.  round: one more is over.
 */
struct source_live;
struct source_live *source_live_begin(struct source *s);
void source_live_end(struct source_live *l);
void source_live_tell(struct source *s);
void source_live_round(struct source_container *c);

/* source_files.c.  While the pod runs: all files, in walks, until little is left or it does not get less; the other side has put all of it in its place then. */
int source_files_ahead(struct source *s, struct error *err);
int source_files_again(struct source *s, struct error *err);    /* one walk more */
/* While it is frozen: first this, then what is left. */
int source_files_freeze(struct source *s, struct error *err);
int source_send_root(struct source_container *c, struct error *err);
int source_send_volumes(struct source *s, struct error *err);
void source_files_free(struct source *s);

/*
 * source_service.c: before the freeze, and whenever it is found frozen; and back.  Both can be said twice.  await: while it runs, until Services have heard of it; what is written meanwhile is better
 * sent behind it.
 */
void source_leave_services(struct source *s);
void source_await_services(struct source *s);
void source_return_to_services(struct source *s);

/* source_later.c: PostCopy.  Answers a WANT. */
int source_answer(struct source *s, const struct wire_frame *f, struct error *err);

/* source_filled.c: until the memory of a container that has come here has all come. */
int source_wait_filled(struct source_container *c, struct error *err);

/* source_memory.c: memory of one container, sent once (a round). */
int source_send_memory(struct source_container *c, enum pages_which which, bool running, struct error *err);
int source_precopy_container(struct source_container *c, struct error *err);
int source_list_processes(struct source_container *c, pid_t *pids, struct error *err);
/* A pidfd of a process of a running container, the caller's; -ESRCH when it is none of its (any more). */
int source_hold_process(const struct source_container *c, pid_t pid, struct error *err);
/*
 * source_shared.c: shared memory of one container, which is in CRIU's images.  ahead: while the pod runs, for the first time; again: as long as much of it has changed, at the end of the
 * rounds.  image: what goes after the head of an image of pages, when source_shared_image_is one.
 */
int source_shared_ahead(struct source_container *c, struct error *err);
int source_shared_again(struct source_container *c, struct error *err);
bool source_shared_image_is(const struct source_container *c, const char *name, uint64_t size);
int source_shared_image(struct source_container *c, int fd, uint64_t size, struct error *err);
/*
 * source_dump.c, for it: its memory went once, or never will; until the files of the pod went, the memory of all containers once (false: it had); its rounds are over (wait: and those of all
 * others).
 */
void source_tell_memory(struct source *s);
void source_wait_files(struct source *s);
bool source_wait_memory(struct source *s);
void source_end_rounds(struct source *s, bool wait);
/* What went while it runs is complete, or (not good) has failed.  Waits for all others; when all are good the pod leaves its Services, and they have heard of it. */
bool source_end_running(struct source *s, bool good);
/* STARTED.shared: of each container, the bytes that its processes share with one another copy-on-write, counted once more for each who shares. */
void source_report_shared(struct source *s, cJSON *started);
/* One round, as status has it. */
cJSON *source_report_round(const struct source_round *round);
/* What of it goes into status and CONTAINER_END. */
void source_report_memory(const struct source_container *c, cJSON *j);
/* source_report.c: what went of files while the pod ran, for status and FROZEN. */
void source_report_files(const struct source *s, cJSON *j);
/*
 * source_strangers.c: processes that the node put into a container (probes and hooks that exec, kubectl exec).  CRIU dumps the tree of the container's own
 * first process and nothing else, so they must have ended.
 */
/* Before the freeze: waits for each that is there now; those that stay are added to found. */
int source_wait_strangers(struct source *s, struct obstacles *found, struct error *err);
/* Freezes the pod at a moment when there are none. */
int source_freeze(struct source *s, int64_t timeout_us, struct error *err);

/*
 * source_connections.c: TCP connections inside the frozen pod, which CRIU does not look at (--tcp-close): writes each into the images of the containers that hold it, and adds to
 * addresses what they need.  Returns how many; those that cannot be kept are closed at the destination.
 */
int source_keep_connections(struct source *s, cJSON *addresses);
/* After a worker that was killed in the midst of that. */
void source_leave_connections(struct source *s);

/*
 * source_hasten.c.  The kubelet gives a container two seconds between the signal that asks it to end and the one that makes it; a frozen one does nothing with them.
 * note_signals: before anybody can have asked, after the destination is known to run.  hasten: at the very end; returns when all containers have ended, or after a
 * while.  Nothing depends on it: what it leaves the kubelet ends.
 */
void source_note_signals(struct source *s);
void source_hasten(struct source *s);
/* A pod that has listened, and was asked to end at asked_us, goes on refusing clients (its network namespace has sent so many resets by now): kube-proxy may not have heard of its end. */
bool source_refuses(struct refusing *f, int64_t asked_us, int64_t now_us, uint64_t resets);

/*
 * source_throttle.c: spec.preCopy.allowAutoConverge.  measure: around each round while the container is not limited.  left: it has written so many bytes by now.  more: it gets less processor time from
 * now on; false when it may not, or cannot be: then there is nothing to be won by another round.  lift: every container has its own limit again; done before the freeze, and at every other end.  What a worker that was killed has left the
 * daemon takes back (throttle.h).
 */
struct source_usage {
	int64_t at_us, used_us;         /* clock_mono_us, processor time; -1: not known */
};
struct source_usage source_usage_now(struct source_container *c);
void source_throttle_measure(struct source_container *c, const struct source_usage *before);
void source_throttle_left(struct source_container *c, int64_t bytes);
bool source_throttle_more(struct source_container *c, int64_t round_us);
int source_throttle_lift(struct source *s, struct error *err);
/* For status and CONTAINER_END: nothing where it was never limited. */
void source_throttle_report(const struct source_container *c, cJSON *j);

/* source_report.c: the JSON of status.source and status.destination. */
cJSON *source_report_json(const struct source *s, const struct error *err);
cJSON *source_destination_json(const struct source *s);
cJSON *source_restored_json(const struct source *s);                    /* for record_decide() */

#endif
