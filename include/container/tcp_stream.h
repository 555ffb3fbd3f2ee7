/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_TCP_STREAM_H
#define CONTAINER_TCP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * What is in a connected TCP socket: sequence numbers, windows, both queues.  Taken while its processes are frozen, and written as the tcp-stream image from which CRIU restores it.
 *
 * CRIU itself can save connections only all or none, and needs a firewall around the pod meanwhile; the ones that stay inside a frozen pod need none.  What was shut down is taken as
 * if its FIN had not been sent yet: CRIU would put a FIN into the other end by a forged packet, whose acknowledgement ends the connection if the peer is not restored yet.  The FIN is
 * sent again by the kernel, since CRIU calls shutdown(2) on what was shut down (criu_connections_settle).
 */
struct tcp_stream {
	uint32_t in_seq, out_seq;       /* behind the last byte of the queue */
	uint32_t in_len, out_len;
	uint32_t unsent;                /* of out_len */
	bool fin_in, fin_out;           /* came, was sent */
	uint32_t options, mss, timestamp;
	uint8_t send_scale, receive_scale;
	uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
	uint8_t *in, *out;
};

#define TCP_QUEUE_MAX (64u << 20)

/*
 * fd: the frozen processes' own socket, by pidfd_getfd(2).  It is as it was before when this returns, and nothing was sent.  -ENOTSUP: CRIU cannot make this socket again (MPTCP,
 * kernel TLS, a state that cannot be kept); -EAGAIN: it changed meanwhile.
 */
int tcp_stream_take(int fd, struct tcp_stream *ret);
void tcp_stream_free(struct tcp_stream *s);

/* Do the two, taken one after the other, fit: is nothing on its way from one to the other that neither has? */
bool tcp_streams_fit(const struct tcp_stream *a, const struct tcp_stream *b);

/* Writes it into the folder of images. */
int tcp_stream_write(const struct tcp_stream *s, int image_dir_fd, uint32_t inode, struct error *err);

/* For a socket that a process which was killed left in the midst of tcp_stream_take(): 1 when it was. */
int tcp_stream_leave(int fd);

#endif
