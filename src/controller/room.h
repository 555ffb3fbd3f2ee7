/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_ROOM_H
#define CONTROLLER_ROOM_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What the containers of a running pod ask for together (init containers only where they go on running) against all that a node has to give (status.allocatable), whatever
 * else runs there: false when the node could never take the pod, with the reason in words.
 */
bool room_fits(const cJSON *pod, const cJSON *node, char *out, size_t size);

/* The condition under which the kubelet evicts pods and takes no new ones ("DiskPressure"), NULL when there is none. */
const char *room_pressure(const cJSON *node);

#endif
