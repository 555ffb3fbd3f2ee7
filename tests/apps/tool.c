/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For kubectl exec in images that hold nothing else: `tool show FILE`, `tool add FILE WORD`, `tool remove FILE`, `tool term PID`, `tool usr1 PID`, `tool hostname`,
 * `tool udp ADDRESS PORT WORD` (prints the answer).
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int show(const char *path)
{
	FILE *f = fopen(path, "r");
	int c;

	if (!f) {
		perror(path);
		return 1;
	}
	while ((c = getc(f)) != EOF)
		putchar(c);
	fclose(f);
	return 0;
}

static int add(const char *path, const char *word)
{
	FILE *f = fopen(path, "a");

	return !f || fprintf(f, "%s\n", word) < 0 || fclose(f);
}

/* UDP may lose one. */
static int udp(const char *address, const char *port, const char *word)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(port, NULL, 10)) };
	struct pollfd p = { .fd = socket(AF_INET, SOCK_DGRAM, 0), .events = POLLIN };
	char text[512];
	ssize_t n = -1;

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1 || connect(p.fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	for (int i = 0; n < 0 && i < 5; i++)
		if (send(p.fd, word, strlen(word), 0) > 0 && poll(&p, 1, 1000) > 0)
			n = recv(p.fd, text, sizeof(text), 0);
	if (n > 0)
		printf("%.*s\n", (int)n, text);
	return n > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	char name[256];

	if (argc == 3 && !strcmp(argv[1], "show"))
		return show(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "add"))
		return add(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "remove"))
		return unlink(argv[2]) ? 1 : 0;
	if (argc == 3 && !strcmp(argv[1], "term"))
		return kill((pid_t)strtol(argv[2], NULL, 10), SIGTERM) ? 1 : 0;
	if (argc == 3 && !strcmp(argv[1], "usr1"))
		return kill((pid_t)strtol(argv[2], NULL, 10), SIGUSR1) ? 1 : 0;
	if (argc == 2 && !strcmp(argv[1], "hostname") && gethostname(name, sizeof(name)) == 0)
		return puts(name) == EOF;
	if (argc == 5 && !strcmp(argv[1], "udp"))
		return udp(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: tool show FILE | add FILE WORD | remove FILE | term PID | usr1 PID | hostname | udp ADDRESS PORT WORD\n");
	return 2;
}
