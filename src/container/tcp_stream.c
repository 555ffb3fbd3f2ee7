/* SPDX-License-Identifier: Apache-2.0 */
#include "container/tcp_stream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "container/criu_images.h"
#include "proto/criu.pb-c.h"

/* include/net/tcp_states.h */
enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };
#define BIT(state) (1u << (state))
#define KEPT (BIT(ESTABLISHED) | FIN_OUT | FIN_IN)
#define FIN_OUT (BIT(FIN_WAIT1) | BIT(FIN_WAIT2) | BIT(LAST_ACK) | BIT(CLOSING))
#define FIN_IN (BIT(CLOSE_WAIT) | BIT(LAST_ACK) | BIT(CLOSING))

/* include/uapi/linux/tcp.h; the last since 4.19: leaves repair mode and sends nothing. */
enum { REPAIR_ON = 1, REPAIR_OFF = 0, REPAIR_OFF_SILENT = -1 };

/* The begin of struct tcp_info, which every kernel has. */
struct info {
	uint8_t state, ca_state, retransmits, probes, backoff, options, scales;
};

static int get(int fd, int level, int name, int *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, level, name, ret, &len) < 0 ? -errno : 0;
}

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Repair mode sets SO_REUSEADDR, and its end clears it (net/ipv4/tcp.c, do_tcp_setsockopt). */
static int leave(int fd, int reuse)
{
	int r = set(fd, IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENT);

	if (r == -EINVAL)
		r = set(fd, IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF);
	return r < 0 ? r : set(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
}

/* TLS in the kernel has keys and records that nobody saves; neither does anybody save the subflows of MPTCP. */
static int check_kind(int fd)
{
	char ulp[16];
	socklen_t len = sizeof(ulp);
	int protocol, r = get(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);

	if (r < 0)
		return r;
	if (protocol != IPPROTO_TCP || (getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &len) == 0 && len > 0))
		return -ENOTSUP;
	return 0;
}

static int take_state(int fd, struct tcp_stream *s)
{
	struct info i;
	socklen_t len = sizeof(i);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) < 0 || len != sizeof(i))
		return -EIO;
	if (i.state > CLOSING || !(BIT(i.state) & KEPT))
		return -ENOTSUP;
	s->fin_in = BIT(i.state) & FIN_IN;
	s->fin_out = BIT(i.state) & FIN_OUT;
	s->options = i.options;
	/* Two bit fields of four bits. */
	s->send_scale = i.scales & 15;
	s->receive_scale = i.scales >> 4;
	return 0;
}

static int take_numbers(int fd, struct tcp_stream *s)
{
	int in, out, unsent, mss, stamp = 0;
	int r = ioctl(fd, SIOCINQ, &in) < 0 || ioctl(fd, SIOCOUTQ, &out) < 0 || ioctl(fd, SIOCOUTQNSD, &unsent) < 0 ? -errno : 0;

	if (r == 0)
		r = get(fd, IPPROTO_TCP, TCP_MAXSEG, &mss);
	if (r == 0 && (s->options & TCPI_OPT_TIMESTAMPS))
		r = get(fd, IPPROTO_TCP, TCP_TIMESTAMP, &stamp);
	if (r < 0)
		return r;
	if (in < 0 || out < 0 || unsent < 0 || in > (int)TCP_QUEUE_MAX || out > (int)TCP_QUEUE_MAX || unsent > out)
		return -ENOTSUP;
	/* A FIN takes a place in the queue, and is no data. */
	s->in_len = (uint32_t)in;
	s->out_len = (uint32_t)(out - (s->fin_out && out > 0));
	s->unsent = (uint32_t)(unsent - (s->fin_out && unsent > 0));
	s->mss = (uint32_t)mss;
	s->timestamp = (uint32_t)stamp;
	return 0;
}

static int take_window(int fd, struct tcp_stream *s)
{
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0 || len != sizeof(w))
		return -EIO;
	s->snd_wl1 = w.snd_wl1;
	s->snd_wnd = w.snd_wnd;
	s->max_window = w.max_window;
	/* What was acknowledged must not lie behind what came, once the FIN has not come. */
	s->rcv_wnd = w.rcv_wnd + s->fin_in;
	s->rcv_wup = w.rcv_wup - s->fin_in;
	return 0;
}

static int take_queue(int fd, int queue, uint32_t len, uint32_t *ret_seq, uint8_t **ret)
{
	int seq, r = set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	ssize_t n;

	if (r == 0)
		r = get(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq);
	if (r < 0)
		return r;
	*ret_seq = (uint32_t)seq;
	/* Room for one more, to see that there is none. */
	*ret = malloc((size_t)len + 1);
	if (!*ret)
		return -ENOMEM;
	n = len ? recv(fd, *ret, (size_t)len + 1, MSG_PEEK | MSG_DONTWAIT) : 0;
	return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EAGAIN;
}

static int take(int fd, struct tcp_stream *s)
{
	int r = take_state(fd, s);

	if (r == 0)
		r = take_numbers(fd, s);
	if (r == 0)
		r = take_window(fd, s);
	if (r == 0)
		r = take_queue(fd, TCP_RECV_QUEUE, s->in_len, &s->in_seq, &s->in);
	if (r == 0)
		r = take_queue(fd, TCP_SEND_QUEUE, s->out_len, &s->out_seq, &s->out);
	s->in_seq -= s->fin_in;
	s->out_seq -= s->fin_out;
	return r;
}

int tcp_stream_take(int fd, struct tcp_stream *ret)
{
	struct tcp_stream s = { 0 };
	int reuse, left, r = check_kind(fd);

	if (r == 0)
		r = get(fd, SOL_SOCKET, SO_REUSEADDR, &reuse);
	if (r == 0)
		r = set(fd, IPPROTO_TCP, TCP_REPAIR, REPAIR_ON);
	if (r < 0)
		return r;
	r = take(fd, &s);
	left = leave(fd, reuse);
	r = r < 0 ? r : left;
	if (r < 0)
		tcp_stream_free(&s);
	else
		*ret = s;
	return r;
}

void tcp_stream_free(struct tcp_stream *s)
{
	free(s->in);
	free(s->out);
	s->in = s->out = NULL;
}

int tcp_stream_leave(int fd)
{
	int on = 0;

	if (get(fd, IPPROTO_TCP, TCP_REPAIR, &on) < 0 || !on)
		return 0;
	return leave(fd, 0) == 0;
}

/* a <= b, as sequence numbers are compared (RFC 9293, 3.4). */
static bool not_after(uint32_t a, uint32_t b)
{
	return (int32_t)(b - a) >= 0;
}

/* What `to` has of it ends where `from` still holds it, and not beyond what was sent. */
static bool direction_fits(const struct tcp_stream *from, const struct tcp_stream *to)
{
	if (to->fin_in && (!from->fin_out || to->in_seq != from->out_seq))
		return false;
	return not_after(from->out_seq - from->out_len, to->in_seq) && not_after(to->in_seq, from->out_seq - from->unsent);
}

bool tcp_streams_fit(const struct tcp_stream *a, const struct tcp_stream *b)
{
	return direction_fits(a, b) && direction_fits(b, a);
}

/* criu/include/magic.h: the common magic, and that of a TCP stream. */
static const uint32_t magic[2] = { 0x54564319, 0x51465506 };

static void fill(const struct tcp_stream *s, Criu__TcpStreamEntry *e)
{
	criu__tcp_stream_entry__init(e);
	e->inq_len = s->in_len;
	e->inq_seq = s->in_seq;
	e->outq_len = s->out_len;
	e->outq_seq = s->out_seq;
	e->opt_mask = s->options;
	e->mss_clamp = s->mss;
	e->snd_wscale = s->send_scale;
	e->rcv_wscale = s->receive_scale;
	e->timestamp = s->timestamp;
	e->unsq_len = s->unsent;
	e->snd_wl1 = s->snd_wl1;
	e->snd_wnd = s->snd_wnd;
	e->max_window = s->max_window;
	e->rcv_wnd = s->rcv_wnd;
	e->rcv_wup = s->rcv_wup;
	e->has_rcv_wscale = e->has_timestamp = e->has_unsq_len = 1;
	e->has_snd_wl1 = e->has_snd_wnd = e->has_max_window = e->has_rcv_wnd = e->has_rcv_wup = 1;
}

int tcp_stream_write(const struct tcp_stream *s, int image_dir_fd, uint32_t inode, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(2 * TCP_QUEUE_MAX + 4096);
	Criu__TcpStreamEntry e;
	uint8_t packed[256];
	uint32_t size;
	char name[64];
	int r;

	fill(s, &e);
	size = (uint32_t)criu__tcp_stream_entry__get_packed_size(&e);
	if (size > sizeof(packed) || path_format(name, sizeof(name), CRIU_TCP_STREAM, (unsigned)inode) < 0)
		return error_set(err, -EOVERFLOW, "the entry of a TCP stream is too long");
	criu__tcp_stream_entry__pack(&e, packed);
	r = buf_append(&b, magic, sizeof(magic));
	if (r == 0)
		r = buf_append(&b, &size, sizeof(size));
	if (r == 0)
		r = buf_append(&b, packed, size);
	if (r == 0)
		r = buf_append(&b, s->in, s->in_len);
	if (r == 0)
		r = buf_append(&b, s->out, s->out_len);
	return r < 0 ? error_set(err, r, "write %s: %s", name, strerror(-r)) : file_write(image_dir_fd, name, b.data, b.len, 0600, false, err);
}
