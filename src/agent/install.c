/* SPDX-License-Identifier: Apache-2.0 */
#include "install.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* containerd's bundles of the kubelet's containers; the shim notes the runtime of each in a file of that name (containerd cmd/containerd-shim-runc-v2). */
#define BUNDLES "/run/containerd/io.containerd.runtime.v2.task/k8s.io"

static const char usage[] =
	"podmigration-agent install [options]     puts podmigration-runtime on this node and makes it known to containerd\n"
	"podmigration-agent uninstall [options]   takes both away; refused while containers run with it\n"
	"\n"
	"  --host-root DIR           the node's root (default: /proc/1/root)\n"
	"  --host-pid PID            a process in the node's namespaces (default: 1; 0: we run on the node itself)\n"
	"  --files DIR               holds the folders bin and libexec that are to be installed (default: /usr/lib/podmigration/node)\n"
	"  --containerd-socket PATH  on the node (default: /run/containerd/containerd.sock)\n"
	"  --containerd-config PATH  on the node (default: the one containerd was started with)\n"
	"  --drop-in PATH            on the node (default: /etc/containerd/conf.d/podmigration.toml)\n"
	"  --service NAME            containerd's systemd unit (default: containerd.service)\n"
	"  --no-restart              leave restarting containerd to somebody else\n";

enum { ROOT, PID, FILES, SOCKET, CONFIG, DROP_IN, SERVICE, VALUES, NO_RESTART, HELP };

static const struct option options[] = {
	{ "host-root", required_argument, NULL, ROOT },
	{ "host-pid", required_argument, NULL, PID },
	{ "files", required_argument, NULL, FILES },
	{ "containerd-socket", required_argument, NULL, SOCKET },
	{ "containerd-config", required_argument, NULL, CONFIG },
	{ "drop-in", required_argument, NULL, DROP_IN },
	{ "service", required_argument, NULL, SERVICE },
	{ "no-restart", no_argument, NULL, NO_RESTART },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

struct arguments {
	const char *value[VALUES];
	bool restart;
};

static const struct arguments defaults = {
	.value = { [ROOT] = "/proc/1/root",
		   [PID] = "1",
		   [FILES] = "/usr/lib/podmigration/node",
		   [SOCKET] = "/run/containerd/containerd.sock",
		   [DROP_IN] = "/etc/containerd/conf.d/podmigration.toml",
		   [SERVICE] = "containerd.service" },
	.restart = true,
};

/* False: the usage was printed, and the program is to end with *ret_status. */
static bool parse(int argc, char **argv, struct arguments *a, int *ret_status)
{
	int opt;

	*a = defaults;
	*ret_status = 2;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == HELP)
			*ret_status = 0;
		if (opt == HELP || opt == '?')
			break;
		if (opt == NO_RESTART)
			a->restart = false;
		else
			a->value[opt] = optarg;
	}
	if (opt == -1 && optind == argc && a->value[DROP_IN][0] == '/' && a->value[SERVICE][0] != '-')
		return true;
	fputs(usage, *ret_status ? stderr : stdout);
	return false;
}

static int open_node(const struct arguments *a, struct node *n, struct error *err)
{
	char *end;
	long pid = strtol(a->value[PID], &end, 10);

	*n = (struct node){ .drop_in = a->value[DROP_IN], .config = a->value[CONFIG], .service = a->value[SERVICE], .restart = a->restart };
	if (end == a->value[PID] || *end || pid < 0 || pid > 4194304)
		return error_set(err, -EINVAL, "--host-pid: %s is not a process number", a->value[PID]);
	n->host_pid = (pid_t)pid;
	if (path_format(n->socket, sizeof(n->socket), "%s%s", strcmp(a->value[ROOT], "/") ? a->value[ROOT] : "", a->value[SOCKET]) < 0)
		return error_set(err, -ENAMETOOLONG, "the path of containerd's socket is too long");
	n->root_fd = open(a->value[ROOT], O_PATH | O_DIRECTORY | O_CLOEXEC);
	return n->root_fd < 0 ? error_errno(err, "open the node's root %s", a->value[ROOT]) : 0;
}

static int install_files(const struct node *n, const char *from, struct error *err)
{
	cleanup_close int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return error_errno(err, "open %s", from);
	r = node_install(n, fd, err);
	if (r > 0)
		log_info("runtime written to the node", LOG_S("in", INSTALL_DIR));
	return r < 0 ? r : 0;
}

/* True when the bundle's container was made by our runtime: it is needed to stop and delete it. */
static bool bundle_is_ours(const struct node *n, const char *id)
{
	cleanup_buf struct buf runtime = BUF_INIT(4096);
	char path[4096];

	if (path_format(path, sizeof(path), "%s/%s/runtime", BUNDLES, id) < 0 || node_read(n, path, &runtime, NULL) < 0)
		return false;
	return runtime.data && !strncmp(runtime.data, INSTALL_RUNTIME_PATH, strlen(INSTALL_RUNTIME_PATH));
}

static int check_unused(const struct node *n, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	int fd = node_dir(n, BUNDLES, false, err), used = 0;
	struct dirent *e;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	while ((e = readdir(d)))
		used += e->d_name[0] != '.' && bundle_is_ours(n, e->d_name);
	if (used)
		return error_set(err, -EBUSY, "%d container(s) on this node run with podmigration-runtime: delete or move their pods first", used);
	return 0;
}

static int install(const struct arguments *a, const struct node *n, struct error *err)
{
	int r = install_files(n, a->value[FILES], err);

	return r < 0 ? r : containerd_entry_install(n, err);
}

static int uninstall(const struct arguments *a, const struct node *n, struct error *err)
{
	int r = check_unused(n, err);

	(void)a;
	if (r == 0)
		r = containerd_entry_remove(n, err);
	return r < 0 ? r : node_uninstall(n, err);
}

static int run(int argc, char **argv, const char *what, int (*fn)(const struct arguments *a, const struct node *n, struct error *err))
{
	struct error err = { 0 };
	struct arguments a;
	struct node n;
	int r;

	if (!parse(argc, argv, &a, &r))
		return r;
	log_init(what, LOG_INFO, STDERR_FILENO);
	umask(022);
	r = open_node(&a, &n, &err);
	if (r == 0)
		r = fn(&a, &n, &err);
	if (n.root_fd >= 0)
		close(n.root_fd);
	if (r < 0) {
		log_error("not done", LOG_S("err", err.message));
		return 1;
	}
	log_info("done");
	return 0;
}

int agent_install(int argc, char **argv)
{
	return run(argc, argv, "install", install);
}

int agent_uninstall(int argc, char **argv)
{
	return run(argc, argv, "uninstall", uninstall);
}
