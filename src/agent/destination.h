/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_DESTINATION_H
#define AGENT_DESTINATION_H

#include <pthread.h>

#include "agent.h"
#include "container/bundle.h"
#include "container/warm.h"
#include "destination_note.h"
#include "driver.h"
#include "migration/obstacles.h"
#include "monitors.h"
#include "record.h"
#include "transfer/pages.h"
#include "transfer/tree.h"
#include "transfer/wire.h"
#include "volumes.h"

struct destination;

#define DESTINATION_ABORTED "the controller gave the migration up before the commit"    /* for a person, of a cause that was read in the record */

#define FILES_AHEAD 4
extern const char *const destination_files_ahead[FILES_AHEAD];  /* members of FROZEN.files and of status.source.files; the first is walks */

/* One container that is being received: where its parts go. */
struct destination_container {
	struct destination *d;
	uint16_t index;                 /* position in HELLO */
	struct monitor_info info;
	struct monitor *monitor;
	int images_fd;                  /* on the node's tmpfs */
	int rootfs_fd;                  /* the mounted root of the waiting container */
	char images[512], work[512];    /* paths on the node */
	struct tree_apply *tree;        /* rootfs */
	int image_fd;                   /* the image file opened last, -1 */
	uint64_t image_size, image_at;  /* DATA, or STORED, fills it from front to back */
	bool image_stored;              /* by STORED */
	unsigned n_images;              /* so far */
	bool in_tree;                   /* DATA belongs to the tree, not to the image */
	bool later;                     /* of a lazy one: PostCopy, most of its memory is at the source until it runs */
	int later_fd, filler_fd;        /* to its filler, and the filler's end until it has it; -1 */
	struct fill_run *later_runs;    /* by place in the store; set before the filler can ask */
	size_t n_later_runs;
	uint64_t later_pages;           /* that have come */
	struct id_range ids;            /* of the pod's user namespace; count 0: it has none */
	bool lazy;                      /* the monitor fills its memory from the page store; else CRIU reads it from its images */
	bool started;                   /* runc and CRIU were started, and stand by */
	bool ended;                     /* CONTAINER_END came: it is being restored */
	cJSON *sent;                    /* its body */
	int64_t stage_us, restore_us, open_us;
	pthread_t thread;
	bool thread_started;
	int result;
	struct error err;
	_Atomic bool failed;            /* its restore, and not since it was aborted; err stays as it is from then on */
};

/* One destination pod on this node. */
struct destination {
	const struct agent_options *o;
	char sandbox[CONTAINERD_ID_MAX];
	struct monitor_info first;      /* the container with the key */
	uint8_t key[PM_KEY_SIZE];
	int listen_fd;                  /* -1: not now */
	int order_fd;                   /* inotify: the order file; -1: not watched */
	int64_t relisten_us;            /* when it may be tried again */
	struct destination_note note;   /* from HELLO, or from the worker before */
	struct record *record;          /* of the decider, when it is open */
	int protocol;                   /* agreed with the source */
	int ipc_owner;
	bool keeps;                     /* connections inside the pod, whose lo is cut until all of them are there */
	cJSON *facts;                   /* this node */
	cJSON *hello;
	struct destination_container containers[WIRE_CONTAINERS_MAX];
	int n;
	struct pod_volumes volumes;
	struct tree_apply *shared[POD_VOLUMES_MAX];     /* by index in volumes */
	int shared_fd[POD_VOLUMES_MAX];
	int shared_now;                 /* index FILE was opened in last, -1 */
	bool shared_done;               /* a container has ended: the volumes are complete */
	struct page_store *store;
	struct warm *warm;              /* from FROZEN until all are restored */
	bool later;                     /* of a container at least */
	struct later_ask *asks;         /* what was asked of the source and has not come, destination_later.c */
	size_t n_asks, asks_room;
	int finished_fd;                /* eventfd: counts what was waited for; -1 when nothing comes later */
	struct tree_budget files;       /* of all trees together, and bytes of images */
	struct wire *wire;              /* the connection that is served; of the main thread, and under wire_lock of who has heard of an abort */
	bool told_abort;                /* on it; under the lock */
	_Atomic bool aborts;            /* destination_abort was called: what fails from here on may fail by that */
	pthread_mutex_t wire_lock;
	char run_dir[512];
	int64_t files_ahead[FILES_AHEAD];       /* as the source tells it; walks 0: nothing */
	int64_t told_us;                /* clock_mono_us: when status was told how much has come */
	int64_t frozen_us;              /* clock_mono_us when FROZEN came, minus what the source had been frozen by then */
	int64_t sent_us, prepared_us, committed_us, running_us, complete_us;
	uint64_t bytes;

	struct driver driver;
	struct error err;               /* of the deed that went wrong last */
	struct error cause;             /* why it was given up, for a person */
	bool opened;                    /* all containers came up */
	bool by_order;                  /* .. by the order: the stream has brought nothing */
	int receipts;                   /* so many were given .. */
	int64_t reopened_us;            /* when what did not come up may be opened again by the order */
	int64_t receipt_us;             /* .. and the next is due (clock_mono_us) */
	int open_result;
	bool filler_failed;             /* PostCopy: a container has ended since its memory did not come */
	struct error open_err;          /* a container that did not come up after the commit; message "": all did */
};

/* destination_deeds.c: what the destination does in each state of machine_destination; ctx is the struct destination. */
extern const struct deed_row destination_deeds[DEED_COUNT];

/* destination_listen.c: connections; each deed returns what came, or that the pod is gone. */
enum input destination_listen(void *destination);       /* for the first time */
enum input destination_listen_again(void *destination); /* in doubt: only the same migration's source, which dials again */
enum input destination_await_outcome(void *destination);        /* the same, or that the order file says that it is committed */
enum input destination_stay(void *destination);         /* the same, and first what may still come on the connection that is there */
/* Until something comes on the connection that is there (false), or the order file says that it is committed. */
bool destination_ordered_first(struct destination *d);
void destination_hang_up(struct destination *d);
/* destination.c: in the pod's network, into d->listen_fd. */
int destination_open_listener(struct destination *d, struct error *err);
void destination_say_no(struct destination *d, enum wire_type type, const struct error *cause);
bool destination_pod_gone(struct destination *d);

/*
 * destination_recorded.c.  watch: hears it at once when the record of a deciding destination says Abort, and tells the source from there, whatever is being done here; best done when all monitors are connected, since these
 * are ended then, too.  Nothing depends on it: without, it is found out at the commit.  tell_abort: once on each connection; false: there is none.
 */
void destination_watch_record(struct destination *d);
bool destination_is_aborted(const struct destination *d);
bool destination_tell_abort(struct destination *d, const struct error *cause);

/* destination_receipt.c: that it runs, and has all of its memory, as an Event of its pod for the controller at home; by far less often than it is asked for. */
void destination_give_receipt(struct destination *d);

/* destination.c: memory images, and the pages in them, are of no use to a pod that runs; idempotent. */
void destination_drop_parts(struct destination *d);
/* What d->hello says, as d->note and the driver's side; of a fresh one the containers, too. */
int destination_take_hello(struct destination *d, struct error *err);
/* The containers that are there, whoever they were meant for: to be killed. */
void destination_take_waiting(struct destination *d);
/* Finds the monitors of the containers in the note; returns how many are missing. */
int destination_match(struct destination *d, struct error *err);

/* destination_receive.c: from WELCOME to ALL_SENT. */
/* found: what of the pod or of this node is in the way; all is looked at.  Negative: why it could not be. */
int destination_open_parts(struct destination *d, struct obstacles *found, struct error *err);
int destination_receive(struct destination *d, struct error *err);
void destination_close_parts(struct destination *d);

/* destination_limit.c: before the commit; list: the container's fill list. */
int destination_check_limit(const struct destination_container *c, int list, struct error *err);

/* destination_withdraw.c */
bool destination_opened_any(const struct destination *d);               /* a container was let run, and may have ended since */
bool destination_ran(const struct destination_container *c);            /* its monitor has seen it run, and the next one of its name starts from its image */
bool destination_never_ran(struct destination *d);                      /* kills what was restored; true: none of it ran, and none will, for certain */

/*
 * destination_later.c: PostCopy.  Between begin (STARTED) and end the main thread receives by destination_pump alone: it lets the fillers' questions and the source's
 * pages through until something else comes.
 */
int destination_later_begin(struct destination *d, struct error *err);
void destination_later_end(struct destination *d);
bool destination_lacks(const struct destination *d);    /* a program runs, or may, and its memory is not complete */
/* On a new stream: what the old one did not answer. */
int destination_ask_again(struct destination *d, struct error *err);
/*
 * 1: *ret is a frame of another kind; 0: until_fd is readable.  Without one (-1) and with idle_us: 0 when all memory is in place; -EIO: it never will be (a filler has
 * failed); -ETIMEDOUT when nothing happens for idle_us.  Other errors are those of the stream.
 */
int destination_pump(struct destination *d, int until_fd, int64_t idle_us, struct wire_frame *ret, struct error *err);
/* Until destination_finished was called so often, from other threads. */
int destination_pump_until(struct destination *d, int times, struct error *err);
void destination_finished(struct destination *d);

/* destination_connections.c: TCP connections inside the pod.  begin: n of them will come; end: all are restored, or another worker has seen to it. */
int destination_connections_begin(struct destination *d, int64_t n, struct error *err);
int destination_connections_end(struct destination *d, struct error *err);

/* destination_restore.c */
int destination_start(struct destination *d, struct error *err);        /* runc and CRIU, until all stand by */
int destination_restore_one(struct destination_container *c, struct error *err);        /* begins, in a thread of its own */
int destination_restore(struct destination *d, struct error *err);      /* waits until every container stands at the barrier */
void destination_join(struct destination *d);                           /* after an abort: until no thread of it is left */
int destination_open(struct destination *d, struct error *err);         /* lets them run; those that do already stay as they are */
/* Of a worker before: until the fillers have all.  An error when one has ended before. */
int destination_wait_fillers(struct destination *d, struct error *err);
void destination_filled(struct destination *d);                         /* once they run: until their memory is complete */
void destination_abort(struct destination *d);                          /* kills what was restored; idempotent */
const struct error *destination_own_failure(const struct destination *d);       /* why the restore of a container failed before that; NULL: none has.  From any thread */
void destination_wait_undone(struct destination *d);                    /* after that: until CRIU has ended, and needs its folders no more, or for a while */
cJSON *destination_prepared_json(const struct destination *d);
cJSON *destination_restored_json(const struct destination *d);          /* for record_decide() */
/* err: message "" for none. */
cJSON *destination_running_json(const struct destination *d, const struct error *err);
/* status.source as the deciding destination reports it for a remote source. */
cJSON *destination_source_report(const struct destination *d, const struct error *err);

#endif
