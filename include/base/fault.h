/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

/*
 * Named points at which tests/faults stops a program, to kill it, another one or the network exactly there (docs/testing.md).  Only a build with
 * -DPM_FAULTS (make FAULTS=1) has them; otherwise nothing is compiled, which `make check-faults-absent` shows.
 *
 * Whoever passes FAULT_POINT(point, key) and finds the file `point@key` in the folder of faults takes it away, writes its pid into the named pipe
 * `point@key.here` and then waits until somebody writes into the named pipe `point@key.go`.  key is the UID of the PodMigration; in the controller its name.  Every passing is a line of the file `passed`, if that is there.
 */
#ifdef PM_FAULTS
#include <stdint.h>

void fault_point(const char *point, const char *key);
/* Microseconds by which this program shall believe the clock to be off: the seconds in the file `clock`. */
int64_t fault_clock_us(void);

/* The point "machine.State", for programs that take their steps from a table. */
void fault_state(const char *machine, const char *state, const char *key);

#define FAULT_POINT(point, key) fault_point(point, key)
#define FAULT_STATE(machine, state, key) fault_state(machine, state, key)
#define FAULT_CLOCK_US() fault_clock_us()
#else
#define FAULT_POINT(point, key) ((void)0)
#define FAULT_STATE(machine, state, key) ((void)0)
#define FAULT_CLOCK_US() 0
#endif

#endif
