/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CRIU_YARD_H
#define RUNTIME_CRIU_YARD_H

/*
 * While it restores, CRIU has the node's whole cgroup trees mounted in a folder of its work folder (criu/cgroup.c, prepare_cgroup_sfd), and takes them away at its end.
 * One that was killed, such as by the memory limit, has left them there: nobody could remove the folder then.  To be called in the node's mount namespace.
 */
void criu_yard_remove(const char *work);

#endif
