/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_GATE_H
#define BASE_GATE_H

/*
 * Where a program that was started ahead of time waits for its turn: CRIU calls podmigration-hook at its first action (criu(8), pre-dump), which says
 * that it is there on the one named pipe and waits for the word on the other.  Both lie in a folder of the one who opens the gate; when he has gone,
 * the pipes have no writer and the waiting one gives up.
 */
#define GATE_ENV "PODMIGRATION_GATE"    /* the folder */
#define GATE_HERE "gate.here"           /* a byte: somebody waits */
#define GATE_WORD "gate.word"           /* GATE_GO; anything else, or the end of file: give up */
#define GATE_GO 'g'
#define GATE_NO 'n'

#endif
