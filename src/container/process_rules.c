/* SPDX-License-Identifier: Apache-2.0 */
#include "process_rules.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "migration/reason.h"

#define SAY_DEVICE "devices cannot be moved"
#define SAY_URING "turn io_uring off in the application, or forbid it with seccompProfile RuntimeDefault"
#define SAY_FILE "CRIU cannot dump it"

/*
 * Targets of /proc/PID/fd links, by prefix; the first that fits counts.  Anonymous inodes: CRIU 4.2 dumps those it has a handler
 * for and no other (criu/files.c dump_one_file), hence the allowed ones first.
 */
static const struct process_rule files[] = {
	{ "anon_inode:[io_uring]", REASON_IOUringInUse, SAY_URING },
	{ "anon_inode:[eventfd]", REASON_NONE, NULL },
	{ "anon_inode:[eventpoll]", REASON_NONE, NULL },
	{ "anon_inode:[signalfd]", REASON_NONE, NULL },
	{ "anon_inode:[timerfd]", REASON_NONE, NULL },
	{ "anon_inode:[fanotify]", REASON_NONE, NULL },
	{ "anon_inode:[pidfd]", REASON_NONE, NULL },
	{ "anon_inode:inotify", REASON_NONE, NULL },
	{ "anon_inode:bpf-map", REASON_NONE, NULL },
	{ "anon_inode:[perf_event]", REASON_UnsupportedFile, "stop the profiler" },
	{ "anon_inode:[userfaultfd]", REASON_UnsupportedFile, "CRIU cannot dump userfaultfd" },
	{ "anon_inode:kvm", REASON_DeviceInUse, "virtual machines cannot be moved" },
	{ "anon_inode:", REASON_UnsupportedFile, SAY_FILE },
	{ "/secretmem", REASON_UnsupportedFile, "CRIU cannot dump memfd_secret" },
	{ "/dmabuf:", REASON_DeviceInUse, SAY_DEVICE },
	{ NULL, REASON_NONE, NULL },
};

static const struct process_rule mappings[] = {
	{ "anon_inode:[io_uring]", REASON_IOUringInUse, SAY_URING },
	{ "anon_inode:[perf_event]", REASON_UnsupportedFile, "stop the profiler" },
	{ "anon_inode:", REASON_UnsupportedFile, SAY_FILE },
	{ "[uprobes]", REASON_UnsupportedFile, "remove the probes on it (tracing agents, bpftrace) and restart it" },
	{ "/secretmem", REASON_UnsupportedFile, "CRIU cannot dump memfd_secret" },
	{ "/dmabuf:", REASON_DeviceInUse, SAY_DEVICE },
	{ "/dev/zero", REASON_NONE, NULL },
	{ "/dev/shm/", REASON_NONE, NULL },
	{ "/dev/", REASON_DeviceInUse, SAY_DEVICE },
	{ NULL, REASON_NONE, NULL },
};

static const struct process_rule *find(const struct process_rule *rule, const char *text)
{
	for (; rule->match; rule++)
		if (!strncmp(text, rule->match, strlen(rule->match)))
			return rule->reason == REASON_NONE ? NULL : rule;
	return NULL;
}

const struct process_rule *process_rule_for_file(const char *link)
{
	return find(files, link);
}

const struct process_rule *process_rule_for_mapping(const char *path)
{
	return find(mappings, path);
}

/*
 * criu/files.c dump_chrdev: memory devices, tun, and terminals (criu/tty.c); Documentation/admin-guide/devices.txt for the
 * numbers.
 */
static const struct {
	unsigned int major, minor_first, minor_last;
} devices[] = {
	{ 1, 0, 255 },       /* null, zero, urandom .. */
	{ 10, 200, 200 },    /* net/tun */
	{ 4, 0, 255 },       /* tty, ttyS */
	{ 5, 0, 2 },         /* tty, console, ptmx */
	{ 136, 0, 1048575 }, /* pts */
};

const struct process_rule *process_rule_for_device(mode_t mode, dev_t rdev)
{
	static const struct process_rule rule = { "", REASON_DeviceInUse, SAY_DEVICE };

	if (!S_ISCHR(mode) && !S_ISBLK(mode))
		return NULL;
	for (size_t i = 0; S_ISCHR(mode) && i < sizeof(devices) / sizeof(devices[0]); i++)
		if (major(rdev) == devices[i].major && minor(rdev) >= devices[i].minor_first &&
		    minor(rdev) <= devices[i].minor_last)
			return NULL;
	return &rule;
}

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* criu/sockets.c and sk-inet.c (can_dump_ipproto): families and protocols CRIU 4.2 knows. */
static const int inet_protocols[] = { IPPROTO_IP,   IPPROTO_TCP,    IPPROTO_UDP, IPPROTO_UDPLITE,
				      IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW };

static bool inet_known(int type, int protocol)
{
	if (type == SOCK_RAW)
		return true;
	for (size_t i = 0; i < sizeof(inet_protocols) / sizeof(inet_protocols[0]); i++)
		if (inet_protocols[i] == protocol)
			return true;
	return false;
}

const struct process_rule *process_rule_for_socket(int domain, int type, int protocol)
{
	static const struct process_rule mptcp = {
		"", REASON_UnsupportedFile, "CRIU cannot dump Multipath TCP; for a Go program set GODEBUG=multipathtcp=0"
	};
	static const struct process_rule other = { "", REASON_UnsupportedFile, "CRIU cannot dump sockets of this kind" };

	switch (domain) {
	case AF_UNIX:
	case AF_NETLINK:
	case AF_PACKET:
		return NULL;
	case AF_INET:
	case AF_INET6:
		if (protocol == IPPROTO_MPTCP)
			return &mptcp;
		return inet_known(type, protocol) ? NULL : &other;
	default:
		return &other;
	}
}

const char *process_maps_path(char *line)
{
	char *p = line;

	line[strcspn(line, "\n")] = '\0';
	/* range, permissions, offset, device, inode; a path may hold blanks. */
	for (int column = 0; column < 5; column++) {
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	return *p ? p : NULL;
}
