/* SPDX-License-Identifier: Apache-2.0 */
#include "criu_yard.h"

#include <dirent.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define YARD ".criu.cgyard."

void criu_yard_remove(const char *work)
{
	cleanup_closedir DIR *d = opendir(work);
	struct dirent *e;
	char path[1024];

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, YARD, strlen(YARD)) && path_format(path, sizeof(path), "%s/%s", work, e->d_name) == 0 &&
		    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			rmdir(path);
}
