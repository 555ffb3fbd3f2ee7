/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

static const char usage[] =
	"podmigration-agent: moves running pods between nodes (one per node, privileged, hostPID)\n"
	"\n"
	"  podmigration-agent [options]                 the daemon\n"
	"  podmigration-agent install|uninstall ..      puts podmigration-runtime on the node, or takes it away\n"
	"\n"
	"  --node NAME               this node's name (default: $NODE_NAME)\n"
	"  --kubeconfig FILE         default: $KUBECONFIG, else in-cluster\n"
	"  --host-root DIR           the node's root (default: /proc/1/root)\n"
	"  --host-pid PID            a process in the node's namespaces (default: 1; 0: we run on the node itself)\n"
	"  --runc-root DIR           containerd's runc state (default: /run/containerd/runc/k8s.io)\n"
	"  --containerd-socket PATH  on the node (default: /run/containerd/containerd.sock)\n"
	"  --stream-port N           in the destination pod's network namespace (default: 7117)\n"
	"  --health-port N           /healthz /readyz /metrics (default: 8081)\n"
	"  --max-bytes N             largest state that one migration may bring here (default: 64 GiB)\n"
	"  -v                        debug messages\n";

enum { OPT_NODE = 256, OPT_KUBECONFIG, OPT_ROOT, OPT_PID, OPT_RUNC, OPT_SOCKET, OPT_STREAM, OPT_HEALTH, OPT_MAX, OPT_SANDBOX };

static const struct option options[] = {
	{ "node", required_argument, NULL, OPT_NODE },
	{ "kubeconfig", required_argument, NULL, OPT_KUBECONFIG },
	{ "host-root", required_argument, NULL, OPT_ROOT },
	{ "host-pid", required_argument, NULL, OPT_PID },
	{ "runc-root", required_argument, NULL, OPT_RUNC },
	{ "containerd-socket", required_argument, NULL, OPT_SOCKET },
	{ "stream-port", required_argument, NULL, OPT_STREAM },
	{ "health-port", required_argument, NULL, OPT_HEALTH },
	{ "max-bytes", required_argument, NULL, OPT_MAX },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static uint64_t number(const char *name, const char *text, uint64_t max)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || v > max) {
		fprintf(stderr, "podmigration-agent: --%s: %s is not a number from 0 to %" PRIu64 "\n", name, text, max);
		exit(2);
	}
	return v;
}

static void take_option(struct agent_options *o, int opt, const char **sandbox, enum log_level *level)
{
	switch (opt) {
	case OPT_NODE:
		o->node = optarg;
		break;
	case OPT_KUBECONFIG:
		o->kubeconfig = optarg;
		break;
	case OPT_ROOT:
		o->host_root = !strcmp(optarg, "/") ? "" : optarg;
		break;
	case OPT_PID:
		o->host_pid = (pid_t)number("host-pid", optarg, 4194304);
		break;
	case OPT_RUNC:
		o->runc_root = optarg;
		break;
	case OPT_SOCKET:
		o->containerd_socket = optarg;
		break;
	case OPT_STREAM:
		o->stream_port = (uint16_t)number("stream-port", optarg, 65535);
		break;
	case OPT_HEALTH:
		o->health_port = (uint16_t)number("health-port", optarg, 65535);
		break;
	case OPT_MAX:
		o->max_bytes = number("max-bytes", optarg, INT64_MAX);
		break;
	case OPT_SANDBOX:
		*sandbox = optarg;
		break;
	case 'v':
		*level = LOG_DEBUG;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

/*
 * Memory of other people's processes passes through here, and through the CRIU we start: no core file may ever hold it.  One byte, since none at all would
 * still be piped to a handler such as systemd-coredump; one is the kernel's word for no core of either kind (fs/coredump.c, core(5)).
 */
static void forbid_cores(void)
{
	struct rlimit none = { 1, 1 };

	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
	struct agent_options o = { .node = getenv("NODE_NAME"), .host_root = "/proc/1/root", .host_pid = 1,
				   .runc_root = "/run/containerd/runc/k8s.io",
				   .containerd_socket = "/run/containerd/containerd.sock", .stream_port = PM_STREAM_PORT,
				   .health_port = 8081, .max_bytes = 64ull << 30 };
	const char *command = "", *sandbox = NULL;
	enum log_level level = LOG_INFO;
	int opt;

	if (argc > 1 && argv[1][0] != '-') {
		command = argv[1];
		argc--;
		argv++;
	}
	if (!strcmp(command, "install"))
		return agent_install(argc, argv);
	if (!strcmp(command, "uninstall"))
		return agent_uninstall(argc, argv);
	while ((opt = getopt_long(argc, argv, "hv", options, NULL)) != -1)
		take_option(&o, opt, &sandbox, &level);
	log_init(*command ? command : "agent", level, STDERR_FILENO);
	if (!o.node || !*o.node) {
		fputs("podmigration-agent: --node or NODE_NAME is needed\n", stderr);
		return 2;
	}
	forbid_cores();
	signal(SIGPIPE, SIG_IGN);
	if (!strcmp(command, "source"))
		return agent_source(&o, STDIN_FILENO);
	if (!strcmp(command, "destination") && sandbox)
		return agent_destination(&o, sandbox);
	if (!*command)
		return agent_daemon(&o);
	fputs(usage, stderr);
	return 2;
}
