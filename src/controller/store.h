/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_STORE_H
#define CONTROLLER_STORE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json_pick.h"

/*
 * What the watches have seen, as compact JSON text: PodMigrations without managedFields, and of labelled pods only the parts that are looked at.
 * (A parsed tree of cJSON takes six times the text.)  Thread-safe; what is handed out is the caller's own copy.
 */
struct store;

/* What is kept of each; watches need not read more. */
extern const struct json_want store_migration_want[], store_pod_want[];

#define STORE_KEY_SIZE 512              /* "namespace/name" */

int store_new(struct store **ret, struct error *err);
void store_free(struct store *s);

/* "namespace/name" of an object; -ENAMETOOLONG. */
int store_key(const cJSON *object, char out[STORE_KEY_SIZE]);

/*
 * Keeps the newer of the two: an answer to a request of our own may come before or after the watch's event, also after that of the deletion.  False: what is there
 * is newer, or newer is that it is gone.
 */
bool store_put_migration(struct store *s, const cJSON *migration);
void store_remove_migration(struct store *s, const cJSON *migration);
cJSON *store_migration(struct store *s, const char *key);       /* NULL when unknown */

/* What was last inspected of a PodMigration in this process (invariants.h). */
struct store_past {
	bool known;
	int phase, decision;
	int64_t epoch;
};
/* Notes the present, returns the past; not known for an object that is not in the store. */
struct store_past store_note(struct store *s, const cJSON *migration);

/* Pods are found by the migration in their label; the newer is kept here too.  ret_key gets the key of that PodMigration, when it is known: false else. */
bool store_put_pod(struct store *s, const cJSON *pod, char ret_key[STORE_KEY_SIZE]);
bool store_remove_pod(struct store *s, const cJSON *pod, char ret_key[STORE_KEY_SIZE]);
cJSON *store_pod(struct store *s, const char *pod_uid);         /* NULL when unknown */
/* A pod that this migration has made (label and annotation say so), but not the one given; NULL when there is none. */
cJSON *store_stray_pod(struct store *s, const char *migration_uid, const char *not_pod_uid);

/*
 * Another PodMigration, no dry run without a claim (view_claims), that has a claim to this pod (NULL: none was found) and has not ended: one that has recorded it or whose label it
 * carries; or one that names it, is not yet beyond Pending and is older.  Its key in ret; false when there is none.
 */
bool store_other_claim(struct store *s, const cJSON *migration, const cJSON *pod, char ret_key[STORE_KEY_SIZE]);

/* fn is called for each key. */
void store_each_key(struct store *s, void (*fn)(void *ctx, const char *key), void *ctx);

/* Counts, for metrics: PodMigrations by phase (index: enum phase). */
void store_count(struct store *s, int *ret_by_phase, int *ret_pods);

#endif
