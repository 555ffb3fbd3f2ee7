/* delay MICROSECONDS UPPER LOWER
 *
 * A wire with a length, for kernels without the netem queueing discipline.
 * Makes two TAP interfaces in this network namespace. A frame that the bridge
 * sends into UPPER comes out of LOWER after the given time, in order; a frame
 * into LOWER comes out of UPPER at once. With one such wire before every
 * machine, each way between two machines is delayed once. Writes "ready" when
 * both interfaces are there. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX (70 * 1024)                  /* a 64 KiB segment and its headers */
#define QUEUED_MAX ((size_t)256 * 1024 * 1024) /* more than this is dropped, as a router would */
#define BATCH 64                               /* frames taken before the clock is looked at again */

struct frame {
	STAILQ_ENTRY(frame) next;
	uint64_t due; /* ns */
	size_t len;
	char data[];
};

static STAILQ_HEAD(, frame) queue = STAILQ_HEAD_INITIALIZER(queue);
static size_t queued;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* IFF_VNET_HDR and the offloads let whole TCP segments of 64 KiB pass through
 * in one piece; without them this program would be the bottleneck. */
static int tap(const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) || ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
		err(1, "%s", name);
	return fd;
}

static void pass(int from, int to)
{
	static char buf[FRAME_MAX];
	ssize_t n;

	/* a full interface loses the frame, as any does */
	for (int i = 0; i < BATCH && (n = read(from, buf, sizeof(buf))) > 0; i++)
		if (write(to, buf, (size_t)n) < 0 && errno != EAGAIN && errno != EIO)
			err(1, "write");
}

static void hold(int from, uint64_t delay)
{
	static char buf[FRAME_MAX];
	ssize_t n;

	for (int i = 0; i < BATCH && (n = read(from, buf, sizeof(buf))) > 0; i++) {
		struct frame *f;

		if (queued + (size_t)n > QUEUED_MAX)
			continue;
		f = malloc(sizeof(*f) + (size_t)n);
		if (!f)
			continue;
		f->due = now() + delay;
		f->len = (size_t)n;
		memcpy(f->data, buf, (size_t)n);
		STAILQ_INSERT_TAIL(&queue, f, next);
		queued += f->len;
	}
}

static void release(int to)
{
	struct frame *f;

	while ((f = STAILQ_FIRST(&queue)) && f->due <= now()) {
		if (write(to, f->data, f->len) < 0 && errno != EAGAIN && errno != EIO)
			err(1, "write");
		STAILQ_REMOVE_HEAD(&queue, next);
		queued -= f->len;
		free(f);
	}
}

int main(int argc, char **argv)
{
	struct pollfd p[2] = { { .events = POLLIN }, { .events = POLLIN } };
	uint64_t delay;

	if (argc != 4)
		errx(2, "usage: delay MICROSECONDS UPPER LOWER");
	delay = strtoull(argv[1], NULL, 10) * 1000;
	p[0].fd = tap(argv[2]);
	p[1].fd = tap(argv[3]);
	puts("ready");
	fflush(stdout);
	for (;;) {
		const struct frame *f = STAILQ_FIRST(&queue);
		struct timespec left = { 0 };

		if (f) {
			uint64_t t = now(), ns = f->due > t ? f->due - t : 0;

			left.tv_sec = (time_t)(ns / 1000000000);
			left.tv_nsec = (long)(ns % 1000000000);
		}
		if (ppoll(p, 2, f ? &left : NULL, NULL) < 0 && errno != EINTR)
			err(1, "poll");
		hold(p[0].fd, delay);
		pass(p[1].fd, p[0].fd);
		release(p[1].fd);
	}
}
