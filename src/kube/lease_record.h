/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_LEASE_RECORD_H
#define KUBE_LEASE_RECORD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The Lease object, and whose it is.  Times inside the object are for people: another machine's clock may be wrong, so expiry
 * is judged by our own clock since we saw the record change (client-go's rule).  No clock and no socket in here.
 */
struct lease_view {
	char rv[128];                   /* of the record as we saw it last */
	char holder[254];
	int64_t seconds;                /* its holder's promise */
	int64_t transitions;            /* the largest ever seen: it must not go back when somebody deletes the Lease */
	int64_t changed_us;             /* our monotonic clock, when rv changed */
};

/* Takes what the server says at now_us. */
void lease_see(struct lease_view *v, const cJSON *lease, int64_t now_us);

/* Nobody holds it, or its holder has not touched it for all of its time. */
bool lease_is_free(const struct lease_view *v, int64_t now_us);

enum lease_write { LEASE_TAKE, LEASE_RENEW, LEASE_RELEASE };

/*
 * The object to write.  old: the record as it is (keeps its metadata and acquireTime), NULL when there is none.  Caller owns
 * the result; NULL: out of memory.
 */
cJSON *lease_object(const struct lease_view *v, const cJSON *old, enum lease_write what, const char *ns, const char *name,
		    const char *identity, int seconds, int64_t real_us);

#endif
