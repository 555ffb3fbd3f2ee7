/* SPDX-License-Identifier: Apache-2.0 */
#include "process_held.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define TABLE_MAX (1 << 20)

static char *next_line(char **rest)
{
	char *line = *rest, *end = line ? strchr(line, '\n') : NULL;

	*rest = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line && *line ? line : NULL;
}

/* fs/locks.c, lock_get_status: "7: LEASE  ACTIVE    WRITE 4711 08:01:1234 0 EOF" */
bool process_has_write_lease(pid_t pid)
{
	cleanup_buf struct buf locks = BUF_INIT(TABLE_MAX);
	char *rest, *line;

	if (file_read(AT_FDCWD, "/proc/locks", &locks, NULL) < 0)
		return false;
	for (rest = locks.data; (line = next_line(&rest));) {
		char state[16], mode[16];
		int holder;

		if (sscanf(line, "%*d: LEASE %15s %15s %d", state, mode, &holder) == 3 && holder == pid && !strcmp(mode, "WRITE"))
			return true;
	}
	return false;
}

/* net/ipv4/igmp.c, igmp_mc_seq_show: a group's line begins with a tab, and has its address as the processor reads the number. */
static bool joined_ipv4(int proc_fd, char *ret, size_t size)
{
	cleanup_buf struct buf table = BUF_INIT(TABLE_MAX);
	char *rest, *line;

	if (file_read(proc_fd, "net/igmp", &table, NULL) < 0)
		return false;
	for (rest = table.data; (line = next_line(&rest));) {
		struct in_addr group;

		if (line[0] == '\t' && sscanf(line, "%x", &group.s_addr) == 1 && group.s_addr != htonl(INADDR_ALLHOSTS_GROUP))
			return inet_ntop(AF_INET, &group, ret, (socklen_t)size) != NULL;
	}
	return false;
}

/*
 * All nodes and all routers, of each scope, and one for each address of its own (net/ipv6/addrconf.c): the kernel's.  The rest is the programs'.
 */
static bool is_kernels(const struct in6_addr *group)
{
	static const uint8_t solicited[] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff }, zero[13] = { 0 };

	if (!memcmp(group, solicited, sizeof(solicited)))
		return true;
	return !memcmp(&group->s6_addr[2], zero, sizeof(zero)) && group->s6_addr[15] <= 2;
}

/* net/ipv6/mcast.c, igmp6_mc_seq_show: "4    eth0            ff020000000000000000000000000001     1 0000000C 0" */
static bool joined_ipv6(int proc_fd, char *ret, size_t size)
{
	cleanup_buf struct buf table = BUF_INIT(TABLE_MAX);
	char *rest, *line;

	if (file_read(proc_fd, "net/igmp6", &table, NULL) < 0)
		return false;
	for (rest = table.data; (line = next_line(&rest));) {
		struct in6_addr group;
		char hex[33] = "";
		int n = 0;

		if (sscanf(line, "%*d %*s %32s", hex) != 1)
			continue;
		while (n < 16 && sscanf(hex + 2 * n, "%2hhx", &group.s6_addr[n]) == 1)
			n++;
		if (n == 16 && !is_kernels(&group))
			return inet_ntop(AF_INET6, &group, ret, (socklen_t)size) != NULL;
	}
	return false;
}

bool process_multicast_group(int proc_fd, char *ret, size_t size)
{
	struct stat own, other;

	if (fstatat(proc_fd, "ns/net", &other, 0) < 0 || stat("/proc/self/ns/net", &own) < 0 || own.st_ino == other.st_ino)
		return false;
	return joined_ipv4(proc_fd, ret, size) || joined_ipv6(proc_fd, ret, size);
}
