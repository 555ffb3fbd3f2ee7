/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/machine.h"

/*
 * A world with one migration in it: API server, two controllers, two agents, two kubelets, the stream between the agents.  It is moved by one event at a time,
 * chosen by a seeded generator; nothing is allocated, the world is small enough to be copied and compared.
 */

/* Ways to be wrong, for the simulator to find. SW_: in what surrounds the tables; each is off in the machine that is to be right. */
enum {
	SW_NO_FENCE = 1 << 0,           /* the API server lets the decision be changed */
	SW_NO_CLAIM = 1 << 1,           /* the kubelet's next container starts although a restore was begun */
	SW_JOURNAL_UNSYNCED = 1 << 2,   /* the journal is written but a crash loses it */
	SW_KILL_CLEARS_CLAIM = 1 << 3,
	SW_CLAIM_UNSYNCED = 1 << 6,     /* that a restore was begun may not be on disk when it is opened */
	SW_OPENING_COLD = 1 << 5,       /* the kubelet's next container starts although nobody knows whether the one before it ran */
	SW_ABORT_UNGUARDED = 1 << 4,    /* the controller takes Abort for written whatever the server says */
	/* Holes of an agent that does not follow the tables. */
	SW_JOURNAL_DROPPED = 1 << 8,    /* the daemon removes a journal at the end although the pod is frozen */
	SW_RUNNING_FORGOTTEN = 1 << 9,  /* journal Running is not taken up again */
	SW_BARRIER_FORGOTTEN = 1 << 10, /* no destination worker for a pod at the barrier or beyond */
	SW_ABORT_WITHOUT_KEY = 1 << 11, /* a remote source is not taken up again by an order to abort */
	SW_LATE_PROGRESS = 1 << 12,     /* a late report of progress overwrites the last word */
	SW_ERROR_STAYS = 1 << 13,       /* a report without an error leaves an older error where it is */
	SW_RUNNING_ONCE = 1 << 15,      /* a listener goes away after the first RUNNING */
	SW_INSPECT_FIRST = 1 << 16,     /* a restart looks at the pod before it tells a commit */
	SW_NEVER_GUESSED = 1 << 19,     /* "never ran" is said of a container that does not answer */
	SW_LOST_UNNOTED = 1 << 18,      /* a loss is reported, and the journal does not know that it is committed */
	SW_RECEIPT_GUESSED = 1 << 20,   /* the destination says that it runs when it is told to */
	SW_RECEIPT_ONCE = 1 << 21,      /* .. or says it once, and the word is lost */
	SW_RECEIPT_EARLY = 1 << 22,     /* .. or before its memory is there */
	SW_ORDER_STARVES = 1 << 23,     /* an order is followed although the memory is still at the source */
	SW_ABORT_APART = 1 << 24,       /* Aborted is reported, and the decision is left open */
	SW_REFUSED_LIES = 1 << 17,      /* "certainly not applied" is said of a write that was */
	SW_READY_FOR_EVER = 1 << 29,    /* a destination that does not become Ready keeps the source */
	/* A second time does something. */
	SW_DECIDE_ANEW = 1 << 25,       /* a decision is written whether or not it is there */
	SW_REST_FREED = 1 << 26,        /* PostCopy: what was sent is dropped, whether or not it has come */
	SW_ABORT_ANEW = 1 << 27,        /* the controller's Abort begins its time anew */
	SW_ABORT_UNRECORDED = 1 << 29,  /* a deciding destination takes the wish to abort for the record's word */
	SW_POD_ANEW = 1 << 28,          /* .. and a destination pod has another name each time it is made */
};

enum app { APP_ABSENT, APP_RUNNING, APP_FROZEN, APP_WAITING, APP_RESTORING, APP_BARRIER, APP_OPEN, APP_DEAD, APP_REFUSED };
enum dry { DRY_NOT, DRY_SOURCE, DRY_DESTINATION };      /* spec.dryRunScope */
/* Why the controller wrote Abort. */
enum cause { CAUSE_NONE, CAUSE_DRY, CAUSE_UNFIT, CAUSE_OTHER };
enum claim_word { WORD_NONE, WORD_USED, WORD_OPENING, WORD_OPENED };
enum step_noted { NOTED_NOTHING, NOTED_FREEZE, NOTED_SENT, NOTED_COMMIT, NOTED_LOST, NOTED_BACK, NOTED_RUNNING };
enum order_word { ORDER_NONE, ORDER_MIGRATES, ORDER_ABORTS, ORDER_COMMITS };
enum frame { FRAME_NONE, FRAME_HELLO, FRAME_AGAIN, FRAME_WELCOME, FRAME_STATE, FRAME_PREPARED, FRAME_COMMIT, FRAME_RUNNING, FRAME_RUNNING_FAILED,
	     FRAME_NEVER_RAN, FRAME_ABORT, FRAME_ENDED, FRAME_REST, FRAME_COMPLETE, FRAME_COMPLETE_FAILED,
	     FRAME_REHEARSED /* ABORT, reason DryRun */, FRAME_COUNT };

struct object {
	uint8_t exists, phase, decision, finalizer, deleting, cancel;
	uint8_t state, error;           /* status.source */
	uint8_t recorded, has_ip, stuck, by_person, not_known, cause, receipt;
	uint8_t epoch;
	uint16_t rv;
	int32_t t_preparing, t_transferring, t_committed, t_abort;
};

struct pod {
	uint8_t there, deleting, order;
	uint8_t writes;                 /* of orders: the resource version, as far as they are concerned */
};

struct controller {
	uint8_t up, leads, epoch, acting;
	uint8_t stopped;                /* does nothing for so many turns, and goes on with what it was about to do */
	const struct controller_row *row;
	uint64_t facts;
	struct object o;
	struct pod src, dst;
};

#define NO_INPUT 0xff
#define FRAMES 4

struct agent {
	uint8_t up, state, done, in;    /* worker: state of its machine; its deed is done; what it heard last */
	uint8_t started, told, failed;
	uint8_t follows;                /* it gives up because it was told to */
	uint8_t rehearsed;              /* .. because the destination of a dry run has welcomed it */
	uint8_t away;                   /* it comes back after being looked for so often */
	int8_t conn;                    /* index, -1 */
};

struct conn {
	uint8_t used, src_open, dst_open, cut, n_to_dst, n_to_src, lived;
	uint8_t to_dst[FRAMES], to_src[FRAMES];
};

/* A request that is under way, or was given up by who sent it: it arrives when it likes. LATE_OPEN: at a monitor that does not answer. */
enum late_kind { LATE_NONE, LATE_DECISION, LATE_STATE, LATE_PROGRESS, LATE_OPEN };
struct late {
	uint8_t kind, a, b;
};
#define LATE_MAX 4

struct world {
	/* settings of the schedule */
	uint8_t remote, settling, expires, dry;         /* dry: enum dry */
	uint8_t later;                  /* PostCopy */
	uint8_t served;                 /* a Service may select the pod, and the destination never becomes Ready */
	int32_t sever_at;               /* the pod network is lost for good after so many events; 0: never */
	uint8_t slow;                   /* of these parts of the world, a bit each, the controllers hear late */
	uint32_t faulty;                /* faults happen with this many in 1024 .. */
	int32_t calm;                   /* .. after so many events */
	uint32_t kinds;                 /* .. of these kinds */
	int32_t faults, users;          /* how many may still come */
	uint64_t random;
	int32_t now, events;

	struct object o;
	struct pod src, dst;
	uint8_t src_app, dst_app, claim, claim_synced;
	uint8_t noted, told;            /* the destination's note, in /run: that it has a source, and that the source knows the end */
	uint8_t journal, journal_synced;
	struct controller c[2];
	uint8_t epoch;
	struct agent source, destination;
	struct object source_view;      /* what the source's agent has seen of the object, and of its order */
	uint8_t order_view;
	uint8_t severed;
	/* The destination's second way, by way of Liqo: the order in the provider's API server, and in the node's file; the receipt there, and at home. */
	uint8_t order_there, order_file, receipt_there, receipt_home, receipts;
	struct conn conn[2];
	struct late late[LATE_MAX];

	/* what happened, for the judge */
	uint8_t lived, lived_received;  /* how often the source went on after a freeze; the destination's state is from then */
	uint8_t filled;                 /* its memory is complete */
	uint8_t welcomed;               /* the destination has compared the nodes */
	uint8_t user_src, user_dst, by_order, opened, thawed, was_frozen, dst_died, dst_crashed, dst_power;
	uint8_t rest_freed, strays;     /* of two mutants: memory that cannot be sent again; destination pods that nobody knows of */
	uint8_t dst_lost;               /* it died in the instant in which it was opened: nobody knows whether it ran */
	uint8_t cold;                   /* and was started from its image */
};

/* What stays when everybody is stopped. */
struct durable {
	struct object o;
	struct pod src, dst;
	uint8_t src_app, dst_app, claim, claim_synced, noted, told, journal, journal_synced, order_view, order_file, receipt_home;
	uint8_t lived, filled, strays;
};

struct sim {
	const struct machine *source, *destination;
	const struct controller_row *rows;
	int n_rows;
	uint32_t sw;
	unsigned focus;
	bool trace;
	struct crashes *crashes;        /* counted here; NULL: not */
	const char *violation;
	char detail[160];
};

/* world.c */
uint32_t dice(struct world *w, uint32_t n);
/* True when a fault of this kind is to happen now. */
enum kind { KIND_API, KIND_STREAM, KIND_NODE, KIND_CRASH_SOURCE, KIND_CRASH_DESTINATION, KIND_CONTROLLER, KIND_TIME, KIND_CONTAINER, KIND_POWER, KIND_COUNT };
bool fault(struct world *w, enum kind k);
bool fault_kind(const struct world *w, enum kind k);
void say(struct sim *s, struct world *w, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void violate(struct sim *s, const char *what);
void api_touch(struct world *w);
enum input api_decide(struct sim *s, struct world *w, enum decision d);
/* error: 1; or GIVES_UP, with which the same write makes Abort the decision; with FOLLOWS it is no error of its own: it was told to. */
#define GIVES_UP 2
#define FOLLOWS 4
#define REHEARSED 8     /* .. nor with this: a dry run's destination found nothing in the way */
enum input api_state(struct sim *s, struct world *w, uint8_t state, uint8_t error);
void late_add(struct world *w, uint8_t kind, uint8_t a, uint8_t b);
bool late_arrives(struct sim *s, struct world *w, int i);
void api_remove_if_free(struct world *w);
bool kubelet_source(struct sim *s, struct world *w);
bool kubelet_destination(struct sim *s, struct world *w);
void claim_write(struct sim *s, struct world *w, uint8_t word);
bool destination_syncs(struct sim *s, struct world *w);
void destination_power(struct sim *s, struct world *w);
bool liqo(struct sim *s, struct world *w);
void durable_of(const struct world *w, struct durable *d);
bool durable_same(const struct durable *a, const struct durable *b);
bool conn_send(struct world *w, bool from_source, uint8_t frame);
void conn_hang_up(struct world *w, bool by_source);
void conn_cut(struct world *w);
uint8_t conn_take(struct world *w, bool by_source, bool *lost);
const char *frame_name(uint8_t f);

/* agents.c */
bool source_daemon(struct sim *s, struct world *w);
bool source_run(struct sim *s, struct world *w);
bool source_timer(struct sim *s, struct world *w);
void source_crash(struct sim *s, struct world *w, bool daemon);
bool destination_daemon(struct sim *s, struct world *w);
bool destination_run(struct sim *s, struct world *w);
bool destination_timer(struct sim *s, struct world *w);
void open_container(struct sim *s, struct world *w);
void destination_crash(struct sim *s, struct world *w, bool daemon);

/* controllers.c */
bool controller_refresh(struct world *w, int i, unsigned which);
bool controller_decide(struct sim *s, struct world *w, int i);
bool controller_act(struct sim *s, struct world *w, int i);
void controller_lead(struct sim *s, struct world *w, int i);
/* Of a dry run, as far as the object tells: nothing is in the way. */
bool dry_done(const struct object *o);

/* crashes.c: how often who crashed where */
struct crashes {
	uint64_t source[2][SRC_COUNT], destination[2][DST_COUNT];       /* of the decider, the participant */
	uint64_t controller[PHASE_COUNT][DECISION_ABORT + 1], seen[PHASE_COUNT][DECISION_ABORT + 1];
};
void crashed_source(struct sim *s, const struct world *w);
void crashed_destination(struct sim *s, const struct world *w);
void crashed_controller(struct sim *s, const struct controller *c);
/* A state of the object that a controller has come upon. */
void controller_came_upon(struct sim *s, const struct object *o);
/* Prints in how many states there were crashes, and with complete those in which there was none.  Returns the number of these, and of states that are said not to be and are. */
int crashes_print(const struct sim *s, bool complete);

/* judge.c */
void judge_now(struct sim *s, const struct world *w);
void judge_end(struct sim *s, const struct world *w);

/* Which schedules a rare fault is looked for in; 0: all. */
enum { FOCUS_HOME = 1, FOCUS_REMOTE = 2, FOCUS_DELETED = 4, FOCUS_STREAM = 8, FOCUS_AGENT = 16, FOCUS_API = 32, FOCUS_CONTAINER = 64,
       FOCUS_SEVERED = 128, FOCUS_LATER = 256, FOCUS_LEADER = 512, FOCUS_POWER = 1024, FOCUS_DRY = 2048 };

/* draw.c: docs/state-machine.md */
void draw(void);

/* mutants.c */
struct mutant {
	const char *name, *what;
	bool of_the_past;               /* a hole of an agent that does not follow the tables */
	uint32_t sw;
	void (*change)(struct machine_move *source, struct machine_move *destination, struct controller_row *rows);
	unsigned focus;
};
extern const struct mutant mutants[];
extern const int mutants_n;
void mutant_apply(const struct mutant *m, struct sim *s);

#endif
