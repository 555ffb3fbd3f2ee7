/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_MANAGED_FIELDS_H
#define KUBE_MANAGED_FIELDS_H

#include <stddef.h>

#include "base/buf.h"

/*
 * The text of an object (or of an event with one in it) without its metadata.managedFields, a quarter to a half of most objects, that nobody here reads: what is cut out is not
 * parsed either.  0: *out holds the rest; -ENOENT: there is none, or it has no end; other negative errno: out of memory.
 */
int managed_fields_cut(const char *text, size_t len, struct buf *out);

#endif
