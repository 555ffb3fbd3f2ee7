/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOK_H
#define RUNTIME_HOOK_H

/* Between CRIU's action script and the monitor: one word a packet on the monitor's second socket, whose path is in the environment. */
#define HOOK_ENV "PODMIGRATION_HOOK"
#define HOOK_SOCKET "hook.sock"
#define HOOK_BARRIER "barrier"          /* hook -> monitor, then it waits */
#define HOOK_RESUMED "resumed"          /* hook -> monitor */
#define HOOK_OPEN "open"                /* monitor -> hook: go on */

#endif
