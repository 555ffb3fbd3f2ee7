/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_us(void);            /* CLOCK_MONOTONIC, microseconds */
int64_t clock_real_us(void);            /* CLOCK_REALTIME, microseconds since the epoch */

/* "2026-11-24T16:22:47.123456Z" (Kubernetes MicroTime); out needs 28 bytes.  seconds_only: metav1.Time, no fraction. */
#define CLOCK_RFC3339_SIZE 32
void clock_rfc3339(int64_t real_us, int seconds_only, char out[CLOCK_RFC3339_SIZE]);

/* Kubernetes duration ("1h30m", "300ms", "10s") to microseconds; -EINVAL on anything else or beyond max_us. */
int duration_parse(const char *s, int64_t max_us, int64_t *ret_us);
/* Microseconds as "214ms", "1.5s", "2m3s". */
void duration_format(int64_t us, char *out, size_t size);

#endif
