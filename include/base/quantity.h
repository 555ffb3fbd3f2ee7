/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include <stdint.h>

/*
 * A Kubernetes quantity without sign or exponent, as 100, 12.5M or 64Mi, rounded down; -EINVAL (also for NULL), -ERANGE above 2^62.
 */
int quantity_parse(const char *s, int64_t *ret);

#endif
