/* SPDX-License-Identifier: Apache-2.0 */
/* For kubectl exec in images that hold nothing else: `tool show FILE`, `tool add FILE WORD`, `tool remove FILE`, `tool term PID`, `tool usr1 PID`, `tool hostname`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	fprintf(stderr, "usage: tool show FILE | add FILE WORD | term PID | usr1 PID | hostname\n");
	return 2;
}
