/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_IDS_H
#define BASE_IDS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The users and groups of a user namespace (user_namespaces(7)) as the node has them: 0 to count - 1 inside are uid and gid onwards outside.  The kubelet gives a pod one such
 * range, another on each node (pkg/kubelet/userns).  count 0: there is none, ids are the same inside and outside.
 */
struct id_range {
	uint32_t uid, gid, count;
};

/* Whom the namespace does not know (outside: the node's own, most often root).  (uid_t)-1 is "leave it" to chown(2). */
#define ID_UNKNOWN (UINT32_MAX - 1)

static inline bool id_range_is(const struct id_range *r)
{
	return r && r->count > 0;
}

/* first: r->uid or r->gid. */
static inline uint32_t id_inside(const struct id_range *r, uint32_t first, uint32_t outside)
{
	if (!id_range_is(r))
		return outside;
	return outside >= first && outside - first < r->count ? outside - first : ID_UNKNOWN;
}

/* Can it be an id of this namespace, or ID_UNKNOWN?  What comes from another node is asked first: the rest would become the node's root. */
static inline bool id_fits(const struct id_range *r, uint32_t inside)
{
	return !id_range_is(r) || inside < r->count || inside == ID_UNKNOWN;
}

/* Of what fits.  What is not known inside becomes the node's root: so it stays unknown there. */
static inline uint32_t id_outside(const struct id_range *r, uint32_t first, uint32_t inside)
{
	if (!id_range_is(r))
		return inside;
	return inside < r->count ? first + inside : 0;
}

static inline uint32_t uid_inside(const struct id_range *r, uint32_t outside)
{
	return id_inside(r, r ? r->uid : 0, outside);
}

static inline uint32_t gid_inside(const struct id_range *r, uint32_t outside)
{
	return id_inside(r, r ? r->gid : 0, outside);
}

#endif
