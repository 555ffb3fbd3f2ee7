/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include <stdint.h>

/* A quantity of Kubernetes ("100m", "2Gi", "1e3") as a number; -EINVAL (also for NULL) when it is none (apimachinery/pkg/api/resource). */
int quantity_parse(const char *s, double *ret);
/* The same in whole bytes, rounded down; -ERANGE when negative or above 2^62. */
int quantity_bytes(const char *s, int64_t *ret);

#endif
