/* SPDX-License-Identifier: Apache-2.0 */
#include "mappings.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

static int open_proc(pid_t pid, const char *name, FILE **ret, struct error *err)
{
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	*ret = fopen(path, "re");
	if (*ret)
		return 0;
	if (errno == ENOENT)
		errno = ESRCH;
	return error_errno(err, "open %s", path);
}

int mappings_open(pid_t pid, struct mappings *m, struct error *err)
{
	*m = (struct mappings){ 0 };
	return open_proc(pid, "maps", &m->file, err);
}

void mappings_close(struct mappings *m)
{
	if (m->file)
		fclose(m->file);
	free(m->line);
	*m = (struct mappings){ 0 };
}

static bool of_the_kernel(const char *name)
{
	/* CRIU brings the kernel's own mappings of the destination (criu.org/Vdso); vvar holds no pages of the process. */
	static const char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Anonymous MAP_SHARED (mm/shmem.c), memfd_create(2), System V (ipc/shm.c), as proc(5) shows them. */
static bool is_shmem(const char *name)
{
	static const char *const names[] = { "/dev/zero (deleted)", "/memfd:", "/SYSV" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* "7f1c-7f1d rw-p 0000 08:01 123   /path": proc(5). False when the line is not like that. */
static bool parse_line(char *line, struct mapping *ret, char perms[5], const char **name)
{
	unsigned long long inode = 0;
	int at = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %llu %n", &ret->start, &ret->end, perms, &inode, &at) < 4 || at == 0)
		return false;
	*name = line + at;
	ret->executable = perms[2] == 'x';
	ret->file = inode != 0;
	ret->shmem = is_shmem(*name);
	ret->sysv = ret->shmem && (*name)[1] == 'S';
	return strlen(perms) == 4 && ret->start < ret->end;
}

int mappings_next_any(struct mappings *m, struct mapping *ret, bool *ret_ours, struct error *err)
{
	const char *name;
	char perms[5] = "";

	if (getline(&m->line, &m->size, m->file) <= 0)
		return ferror(m->file) ? error_errno(err, "read maps") : 0;
	if (!parse_line(m->line, ret, perms, &name))
		return error_set(err, -EIO, "unexpected line in maps: %s", m->line);
	m->sysv |= ret->sysv;
	*ret_ours = perms[3] == 'p' && !of_the_kernel(name);
	return 1;
}

int mappings_next(struct mappings *m, struct mapping *ret, struct error *err)
{
	bool ours = false;
	int r;

	do
		r = mappings_next_any(m, ret, &ours, err);
	while (r > 0 && !ours);
	return r;
}

int mapping_is_device(pid_t pid, uint64_t address, struct error *err)
{
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	bool inside = false;
	size_t size = 0;
	int r = open_proc(pid, "smaps", &f, err);

	if (r < 0)
		return r;
	/* Each mapping: its line as in maps, then "Name: value" lines, the last of them "VmFlags: rd wr mr .." (proc(5)). */
	while (getline(&line, &size, f) > 0) {
		char perms[5] = "";
		struct mapping m;
		const char *name;

		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			return strstr(line, " io") || strstr(line, " pf");
		if (line[0] < 'A' || line[0] > 'Z')
			inside = parse_line(line, &m, perms, &name) && m.start <= address && address < m.end;
	}
	return ferror(f) ? error_errno(err, "read smaps") : 0;
}
