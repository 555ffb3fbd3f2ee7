/* SPDX-License-Identifier: Apache-2.0 */
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define EXIT_TROUBLE 2                          /* as GNU tar */
#define CREATE_MAX (16u << 20)
#define EXTRACT_MAX (64u << 20)
#define HANDED_OVER "PODMIGRATION_TAR"          /* in the environment of the node's tar: should that be this program again, it does not go round in circles */

enum { CREATE = 1, EXTRACT = 2, ONE_FILE_SYSTEM = 4, NUMERIC_OWNER = 8, GZIP = 16 };

/* What CRIU says; options without a number here ask for what is done anyway, or matter only to what goes to the node's tar. */
static const struct {
	const char *text;
	unsigned what;
} known[] = {
	{ "--create", CREATE },
	{ "--extract", EXTRACT },
	{ "--one-file-system", ONE_FILE_SYSTEM },
	{ "--numeric-owner", NUMERIC_OWNER },
	{ "--gzip", GZIP },
	{ "--no-unquote", 0 },
	{ "--no-wildcards", 0 },
	{ "--check-links", 0 },
	{ "--preserve-permissions", 0 },
	{ "--sparse", 0 },
};

struct request {
	unsigned what;
	const char *dir;
	int operands;                   /* each is "." */
};

static bool take_option(const char *text, struct request *r)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(text, known[i].text)) {
			r->what |= known[i].what;
			return true;
		}
	r->operands++;
	return !strcmp(text, ".");
}

/* False: not a command line of CRIU. */
static bool parse(int argc, char **argv, struct request *r)
{
	*r = (struct request){ 0 };
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--directory") && i + 1 < argc && !r->dir)
			r->dir = argv[++i];
		else if (!take_option(argv[i], r))
			return false;
	}
	/* An absolute folder: tar_create() changes the working directory, and the node's tar may still be needed after it. */
	if (!r->dir || r->dir[0] != '/' || getenv("TAR_OPTIONS") || getenv("TAPE"))
		return false;
	if (r->what & CREATE)
		return r->what == (CREATE | ONE_FILE_SYSTEM | NUMERIC_OWNER | GZIP) && r->operands == 1;
	return r->what & EXTRACT && r->operands == 0;
}

static int fail(const char *message)
{
	dprintf(STDERR_FILENO, "tar: %s\n", message);
	return EXIT_TROUBLE;
}

/* Replaces this process by the node's tar.  Never searched on PATH: there this program comes first.  Returns only on failure. */
static int exec_real(char **argv)
{
	static const char *const places[] = { "/usr/local/sbin/tar", "/usr/local/bin/tar", "/usr/sbin/tar", "/usr/bin/tar", "/sbin/tar", "/bin/tar" };

	if (getenv(HANDED_OVER) || setenv(HANDED_OVER, "1", 1) < 0)
		return fail("the node's tar is this program too");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		execv(places[i], argv);
	return fail("the node has no tar in /usr/local/bin, /usr/bin or /bin");
}

/* The same for an archive that is not compressed. */
static int exec_real_plain(char **argv)
{
	char **to = argv;

	for (char **from = argv; *from; from++)
		if (strcmp(*from, "--gzip"))
			*to++ = *from;
	*to = NULL;
	return exec_real(argv);
}

static int create(const struct request *r, char **argv)
{
	cleanup_buf struct buf archive = BUF_INIT(CREATE_MAX), out = BUF_INIT(2 * CREATE_MAX);
	cleanup_close int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || !tar_create(fd, &archive) || tar_gzip(archive.data, archive.len, &out) < 0)
		return exec_real(argv);
	return write_full(STDOUT_FILENO, out.data, out.len) < 0 ? fail("cannot write the archive") : 0;
}

/* Bytes of stdin from where it stands; -1: not a file, or not one of a size for us. */
static ssize_t input_size(off_t *ret_at)
{
	struct stat st;

	*ret_at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	if (*ret_at < 0 || fstat(STDIN_FILENO, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < *ret_at || st.st_size - *ret_at > EXTRACT_MAX)
		return -1;
	return st.st_size - *ret_at;
}

static bool read_input(off_t at, char *data, size_t len)
{
	/* pread: the node's tar, if it comes to that, finds the file as it was given to us. */
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(STDIN_FILENO, data + got, len - got, at + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

static int extract(const struct request *r, char **argv)
{
	cleanup_free char *data = NULL;
	cleanup_free struct tar_entry *entries = NULL;
	cleanup_close int root = -1;
	struct error err = { 0 };
	size_t n = 0;
	bool gzip;
	off_t at;
	ssize_t size = input_size(&at);
	size_t len = size < 0 ? 0 : (size_t)size;
	int status = 0;

	/* Who is not root gets other defaults of tar for owners and modes. */
	if (size < 0 || geteuid() != 0)
		return exec_real(argv);
	data = malloc(len + 1);
	if (!data)
		return fail("out of memory");
	if (!read_input(at, data, len))
		return fail("cannot read the archive");
	gzip = len >= 2 && !memcmp(data, "\x1f\x8b", 2);
	if (gzip)
		status = tar_gunzip(data, &len, &err);
	if (status == 0)
		status = tar_scan(data, len, &entries, &n, &err);
	if (status > 0)
		return gzip ? exec_real(argv) : exec_real_plain(argv);
	if (status < 0)
		return fail(err.message);
	root = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail("cannot open the folder to extract to");
	umask(0);
	return tar_extract(root, entries, n, &err) < 0 ? fail(err.message) : 0;
}

int tar_main(int argc, char **argv)
{
	struct request r;

	if (!parse(argc, argv, &r))
		return exec_real(argv);
	return r.what & CREATE ? create(&r, argv) : extract(&r, argv);
}
