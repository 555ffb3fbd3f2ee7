/* forward PORTFILE NETNS ADDRESS PORT
 *
 * A door from this host's loopback into the lab's own network namespace, so
 * that programs on the host can use a kubeconfig. Listens on a free port of
 * 127.0.0.1 here (writes its number to PORTFILE), then goes over into NETNS and
 * connects from there; a listening socket stays in the namespace it was made
 * in. One child per connection. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_here(const char *portfile)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *f;

	if (s < 0 || bind(s, (struct sockaddr *)&at, len) || listen(s, 128) ||
	    getsockname(s, (struct sockaddr *)&at, &len))
		err(1, "listen");
	f = fopen(portfile, "we");
	if (!f || fprintf(f, "%d\n", ntohs(at.sin_port)) < 0 || fclose(f))
		err(1, "%s", portfile);
	return s;
}

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "%s", netns);
	close(fd);
}

/* Moves what is there from one side to the other; 0 at the end of the stream. */
static int pump(int from, int to)
{
	char buf[65536];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return 0;
	for (ssize_t done = 0; done < n;) {
		ssize_t w = write(to, buf + done, (size_t)(n - done));

		if (w < 0)
			exit(0);
		done += w;
	}
	return 1;
}

static void serve(int client, const struct sockaddr_in *to)
{
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct pollfd p[2] = { { .fd = client, .events = POLLIN }, { .events = POLLIN } };

	if (server < 0 || connect(server, (const struct sockaddr *)to, sizeof(*to)))
		exit(1);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	p[1].fd = server;
	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0)
			exit(1);
		for (int i = 0; i < 2; i++) {
			int other = i ? client : server;

			if (p[i].fd < 0 || !p[i].revents || pump(p[i].fd, other))
				continue;
			shutdown(other, SHUT_WR);
			p[i].fd = -1; /* poll passes it over */
		}
	}
	exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int s;

	if (argc != 5 || inet_pton(AF_INET, argv[3], &to.sin_addr) != 1)
		errx(2, "usage: forward PORTFILE NETNS ADDRESS PORT");
	to.sin_port = htons((in_port_t)strtoul(argv[4], NULL, 10));
	s = listen_here(argv[1]);
	enter(argv[2]);
	signal(SIGCHLD, SIG_IGN); /* children need not be waited for */
	for (;;) {
		int client = accept4(s, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			continue;
		if (fork() == 0)
			serve(client, &to);
		close(client);
	}
}
