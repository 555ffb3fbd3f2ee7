/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "container/cri.h"
#include "install.h"
#include "migration/names.h"

#define CONFIG_MAX (4u << 20)
#define DUMP_TIMEOUT_US (30ll * 1000000)
#define RESTART_TIMEOUT_US (120ll * 1000000)
#define DEFAULT_CONFIG "/etc/containerd/config.toml"

/*
 * The entry, in the syntax of the main file: containerd merges a drop-in before it brings the main file to the newest version, so a drop-in of a
 * newer version would leave the main file as it is, its settings unread (containerd#12891).
 */
static int entry_sections(int version, bool systemd_cgroup, struct buf *out)
{
	const char *plugin = version >= 3 ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri";

	return buf_printf(out,
			  "[plugins.'%s'.containerd.runtimes.%s]\n"
			  "  runtime_type = 'io.containerd.runc.v2'\n"
			  "  pod_annotations = ['%s']\n"
			  "  [plugins.'%s'.containerd.runtimes.%s.options]\n"
			  "    BinaryName = '%s'\n"
			  "    SystemdCgroup = %s\n",
			  plugin, PM_RUNTIME_CLASS, PM_ANN_MIGRATION, plugin, PM_RUNTIME_CLASS, INSTALL_RUNTIME_PATH, systemd_cgroup ? "true" : "false");
}

/* As a file of its own. */
static int entry_text(int version, bool systemd_cgroup, struct buf *out)
{
	int r = buf_printf(out,
			   "# Written by podmigration-agent install. Do not edit: changes are overwritten.\n"
			   "version = %d\n"
			   "\n",
			   version);

	return r < 0 ? r : entry_sections(version, systemd_cgroup, out);
}

/* --- how the running containerd was started --- */

struct command_line {
	char text[4096];
	const char *program, *config;
};

static int socket_peer(const char *path, pid_t *ret, struct error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (path_format(a.sun_path, sizeof(a.sun_path), "%s", path) < 0)
		return error_set(err, -ENAMETOOLONG, "containerd's socket has too long a path: %s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return error_errno(err, "connect to containerd at %s", path);
	*ret = peer.pid;
	return 0;
}

/* argv[0] and --config of the process behind the socket. systemd's socket activation would show systemd here: then the defaults are used. */
static int command_line(const struct node *n, struct command_line *ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(sizeof(ret->text) - 1);
	char path[64];
	pid_t pid = 0;
	int r = socket_peer(n->socket, &pid, err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	r = file_read(AT_FDCWD, path, &b, err);
	if (r < 0)
		return r;
	*ret = (struct command_line){ .program = "containerd", .config = n->config ? n->config : DEFAULT_CONFIG };
	memcpy(ret->text, b.data, b.len);
	if (strstr(ret->text, "containerd"))
		ret->program = ret->text;
	for (const char *a = ret->text; a < ret->text + b.len && !n->config; a += strlen(a) + 1) {
		const char *next = a + strlen(a) + 1;

		if (!strncmp(a, "--config=", 9))
			ret->config = a + 9;
		else if ((!strcmp(a, "--config") || !strcmp(a, "-c")) && next < ret->text + b.len)
			ret->config = next;
	}
	return 0;
}

/* The configuration as a containerd started now would see it, all files merged. */
static int config_dump(const struct node *n, const struct command_line *c, struct buf *out, struct error *err)
{
	const char *argv[] = { c->program, "--config", c->config, "config", "dump", NULL };
	cleanup_close int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = null, .host_root_pid = n->host_pid };
	int r = process_run(&spec, DUMP_TIMEOUT_US, out, err);

	if (r == 0)
		return 0;
	/* Once more, for what it says: its warnings must stay out of the text above. */
	spec.stderr_fd = -1;
	r = process_run(&spec, DUMP_TIMEOUT_US, NULL, err);
	return error_wrap(err, r < 0 ? r : -EIO, "containerd cannot read its configuration");
}

/* --- may the drop-in stay? --- */

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Splits text (which is written to) into its lines without white space around; sorted. */
static char **sorted_lines(struct buf *text, size_t *ret_n)
{
	size_t n = 0, max = 1;
	char **lines, *save = NULL;

	for (size_t i = 0; i < text->len; i++)
		max += text->data[i] == '\n';
	lines = calloc(max, sizeof(*lines));
	for (char *l = lines && text->data ? strtok_r(text->data, "\n", &save) : NULL; l && n < max; l = strtok_r(NULL, "\n", &save)) {
		size_t len;

		l += strspn(l, " \t");
		len = strlen(l);
		while (len && isspace((unsigned char)l[len - 1]))
			l[--len] = '\0';
		lines[n++] = l;
	}
	if (lines)
		qsort(lines, n, sizeof(*lines), compare_lines);
	*ret_n = n;
	return lines;
}

/* The list of files that were read: containerd 1.7 prints it in the place of the setting, in any order, the drop-in with it. */
static bool names_files(const char *line)
{
	static const char key[] = "imports";

	return !strncmp(line, key, sizeof(key) - 1) && strchr(" =", line[sizeof(key) - 1]);
}

/* The first line that was there before and is not any more; NULL when the drop-in only added something. */
static const char *lost_line(char **before, size_t n_before, char **after, size_t n_after)
{
	size_t a = 0;

	for (size_t b = 0; b < n_before; b++) {
		if (names_files(before[b]))
			continue;
		while (a < n_after && strcmp(after[a], before[b]) < 0)
			a++;
		if (a == n_after || strcmp(after[a], before[b]))
			return before[b];
		a++;
	}
	return NULL;
}

/*
 * containerd 1.x replaces a whole plugin's section by the one of an imported file (containerd#5837), and versions must not be mixed: so what the
 * node's configuration says without the drop-in must all be there with it.
 */
static int check_added_only(const struct node *n, const struct command_line *c, struct buf *before, struct buf *after, struct error *err)
{
	bool found = after->data && strstr(after->data, INSTALL_RUNTIME_PATH);
	cleanup_free char **b = NULL, **a = NULL;
	size_t n_b, n_a;
	const char *lost;

	if (!found)
		return error_set(err, -ENOENT,
				 "containerd does not read %s: add the line  imports = [\"%.*s/*.toml\"]  to %s, above its first [section]",
				 n->drop_in, (int)(strrchr(n->drop_in, '/') - n->drop_in), n->drop_in, c->config);
	b = sorted_lines(before, &n_b);
	a = sorted_lines(after, &n_a);
	if (!b || !a)
		return error_set(err, -ENOMEM, "out of memory");
	lost = lost_line(b, n_b, a, n_a);
	if (lost)
		return error_set(err, -ENOTSUP,
				 "this containerd would lose its setting  %s  if it read %s; add the lines that are printed above to %s instead, and restart it",
				 lost, n->drop_in, c->config);
	return 0;
}

/* 3 for "version = 3"; 0 for another line. */
static int line_version(const char *line)
{
	line += strspn(line, " \t");
	if (strncmp(line, "version", 7))
		return 0;
	line += 7 + strspn(line + 7, " \t=");
	return *line >= '1' && *line <= '9' ? *line - '0' : 0;
}

/* Version that the main file names, 0 when there is no such file. */
static int config_version(const struct node *n, const struct command_line *c)
{
	cleanup_buf struct buf file = BUF_INIT(CONFIG_MAX);
	char *save = NULL;

	if (node_read(n, c->config, &file, NULL) < 0 || !file.data)
		return 0;
	for (char *l = strtok_r(file.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		int version = line_version(l);

		if (version)
			return version;
		if (l[strspn(l, " \t")] == '[')
			break;
	}
	return 2;
}

/* containerd prints its newest version, on the first line. */
static int dump_version(const struct buf *dump)
{
	int version = dump->data ? line_version(dump->data) : 0;

	return version ? version : 2;
}

static bool names_ours(const struct buf *dump)
{
	return dump->data && strstr(dump->data, INSTALL_RUNTIME_PATH);
}

/* The drop-in is there as it would be written now, and containerd would read it. */
static bool is_written(const struct node *n, const struct command_line *c, int version, bool systemd_cgroup)
{
	cleanup_buf struct buf text = BUF_INIT(4096), old = BUF_INIT(4096), dump = BUF_INIT(CONFIG_MAX);

	return version && entry_text(version, systemd_cgroup, &text) == 0 && node_read(n, n->drop_in, &old, NULL) == 0 && old.len == text.len &&
	       !memcmp(old.data, text.data, text.len) && config_dump(n, c, &dump, NULL) == 0 && names_ours(&dump);
}

/* Writes the drop-in, and takes it back when containerd would not be well with it: then -ENOTSUP, or 0 when a person has put the entry elsewhere. */
static int try_entry(const struct node *n, const struct command_line *c, int version, bool systemd_cgroup, struct buf *before, struct error *err)
{
	cleanup_buf struct buf after = BUF_INIT(CONFIG_MAX), text = BUF_INIT(4096), sections = BUF_INIT(4096);
	bool by_hand = names_ours(before);
	struct error ignored;
	int r;

	if (entry_text(version, systemd_cgroup, &text) < 0 || entry_sections(version, systemd_cgroup, &sections) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = node_write(n, n->drop_in, &text, 0644, err);
	if (r < 0)
		return r;
	r = config_dump(n, c, &after, err);
	if (r == 0)
		r = check_added_only(n, c, before, &after, err);
	if (r < 0)
		node_remove(n, n->drop_in, &ignored);
	if (r == -ENOTSUP && by_hand)
		return 0;
	/* As lines, which an error is not. */
	if (r == -ENOTSUP)
		fputs(sections.data, stderr);
	return r < 0 ? r : 1;
}

/* 1 written, 0 was there.  known: the running containerd has an entry of this name already, which is not as it must be. */
static int write_entry(const struct node *n, const struct command_line *c, bool systemd_cgroup, bool known, struct error *err)
{
	cleanup_buf struct buf before = BUF_INIT(CONFIG_MAX);
	int version = config_version(n, c), r;

	if (is_written(n, c, version, systemd_cgroup))
		return 0;
	r = node_remove(n, n->drop_in, err);
	if (r == 0)
		r = config_dump(n, c, &before, err);
	if (r == 0)
		r = try_entry(n, c, version ? version : dump_version(&before), systemd_cgroup, &before, err);
	/* Reading its file once more would not change it. */
	if (r == 0 && known && !node_exists(n, n->drop_in))
		return error_set(err, -EEXIST, "the entry of the runtime %s in %s is not as it must be; docs/install.md has it", PM_RUNTIME_CLASS, c->config);
	return r;
}

/* --- the whole --- */

static int restart_containerd(const struct node *n, struct error *err)
{
	const char *argv[] = { "systemctl", "restart", n->service, NULL };
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .host_root_pid = n->host_pid };

	/* What sd_booted(3) tests. */
	if (!n->restart || !node_exists(n, "/run/systemd/system")) {
		log_warning("containerd was not restarted; the agent stays unready until it is", LOG_S("dropIn", n->drop_in));
		return 0;
	}
	log_info("restarting containerd; running pods are not touched by that", LOG_S("service", n->service));
	return process_run(&spec, RESTART_TIMEOUT_US, NULL, err);
}

static bool is_ours(const struct cri_runtime *r, bool systemd_cgroup)
{
	bool annotation = false;

	for (int i = 0; i < r->n_annotations; i++)
		annotation |= !strcmp(r->annotations[i], PM_ANN_MIGRATION);
	return annotation && r->systemd_cgroup == systemd_cgroup && !strcmp(r->binary, INSTALL_RUNTIME_PATH);
}

int containerd_entry_install(const struct node *n, struct error *err)
{
	struct cri_runtime usual = { 0 }, ours = { 0 };
	struct command_line c;
	bool known;
	int r = cri_runtime(n->socket, NULL, &usual, err);

	/* The cgroup driver must be the kubelet's, which the node's usual runtime has already. */
	if (r < 0)
		return r;
	r = cri_runtime(n->socket, PM_RUNTIME_CLASS, &ours, err);
	if (r == 0 && is_ours(&ours, usual.systemd_cgroup)) {
		log_info("containerd knows the runtime already");
		return 0;
	}
	if (r < 0 && r != -ENOENT)
		return r;
	known = r == 0;
	r = command_line(n, &c, err);
	if (r == 0)
		r = write_entry(n, &c, usual.systemd_cgroup, known, err);
	if (r == 0)
		log_info("the entry was there, but containerd has not read it yet", LOG_S("dropIn", n->drop_in));
	return r < 0 ? r : restart_containerd(n, err);
}

int containerd_entry_remove(const struct node *n, struct error *err)
{
	bool was_there = node_exists(n, n->drop_in);
	struct cri_runtime ours;
	int r = node_remove(n, n->drop_in, err);

	if (r == 0 && !was_there && cri_runtime(n->socket, PM_RUNTIME_CLASS, &ours, NULL) == 0)
		log_warning("the runtime's entry is in a file of the node's own, where it was added by hand: remove it there", LOG_S("runtime", PM_RUNTIME_CLASS));
	return r < 0 || !was_there ? r : restart_containerd(n, err);
}
