/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "migration/names.h"

#define PATH_SIZE 4096

void spec_free(struct spec *s)
{
	buf_free(&s->text);
}

/* RFC 4122 as Kubernetes writes it. */
static bool is_uid(const char *s)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(s) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
			return false;
	return true;
}

bool spec_is_migrated(const struct spec *s)
{
	return !strcmp(s->type, "container") && is_uid(s->migration);
}

/* containerd's CRI: pkg/annotations; PM_ANN_MIGRATION is let through by the runtime's pod_annotations. */
static int read_annotations(struct spec *s, struct error *err)
{
	const struct {
		const char *key;
		char *out;
		size_t size;
	} wanted[] = {
		{ "io.kubernetes.cri.container-type", s->type, sizeof(s->type) },
		{ "io.kubernetes.cri.container-name", s->name, sizeof(s->name) },
		{ "io.kubernetes.cri.sandbox-id", s->sandbox, sizeof(s->sandbox) },
		{ "io.kubernetes.cri.sandbox-namespace", s->pod_ns, sizeof(s->pod_ns) },
		{ "io.kubernetes.cri.sandbox-name", s->pod_name, sizeof(s->pod_name) },
		{ "io.kubernetes.cri.sandbox-uid", s->pod_uid, sizeof(s->pod_uid) },
		{ PM_ANN_MIGRATION, s->migration, sizeof(s->migration) },
	};
	struct span all, v;

	if (!json_member(s->root, "annotations", &all))
		return 0;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (json_member(all, wanted[i].key, &v) && json_copy(v, wanted[i].out, wanted[i].size) < 0)
			return error_set(err, -EINVAL, "config.json: annotation %s is not a short string", wanted[i].key);
	return 0;
}

static int read_linux(struct spec *s, struct error *err)
{
	const struct {
		const char *type;
		char *out;
		size_t size;
	} wanted[] = { { "network", s->netns, sizeof(s->netns) }, { "pid", s->pidns, sizeof(s->pidns) }, { "user", s->userns, sizeof(s->userns) } };
	struct span list, at, ns, type, path;

	if (json_copy_at(s->root, "linux.cgroupsPath", s->cgroups_path, sizeof(s->cgroups_path)) < 0 && s->cgroups_path[0])
		return error_set(err, -EINVAL, "config.json: linux.cgroupsPath is too long");
	if (!json_find(s->root, "linux.namespaces", &list))
		return 0;
	for (at = json_members(list); json_next(&at, NULL, &ns);)
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (json_member(ns, "type", &type) && json_equals(type, wanted[i].type) && json_member(ns, "path", &path) &&
			    json_copy(path, wanted[i].out, wanted[i].size) < 0)
				return error_set(err, -EINVAL, "config.json: path of the %s namespace is too long", wanted[i].type);
	return 0;
}

/* <kubelet>/pods/<uid>/.. is the source of some mount of every container (etc-hosts, volumes). */
static void find_pod_dir(struct spec *s, const char *source)
{
	char part[sizeof(s->pod_uid) + 8];
	const char *at;

	if (s->pod_dir[0] || !s->pod_uid[0] || path_format(part, sizeof(part), "/pods/%s/", s->pod_uid) < 0)
		return;
	at = source[0] == '/' ? strstr(source, part) : NULL;
	if (at && path_format(s->pod_dir, sizeof(s->pod_dir), "%.*s", (int)(at - source + (long)strlen(part) - 1), source) < 0)
		s->pod_dir[0] = '\0';
}

static char *own_volume(struct spec *s, const char *destination)
{
	return !strcmp(destination, PM_MOUNT_KEY) ? s->key_dir : !strcmp(destination, PM_MOUNT_ORDER) ? s->order_dir : NULL;
}

static int read_mounts(struct spec *s, struct error *err)
{
	struct span list, at, m;

	if (!json_member(s->root, "mounts", &list))
		return 0;
	for (at = json_members(list); json_next(&at, NULL, &m);) {
		char destination[PATH_SIZE], source[PATH_SIZE], *own;

		if (json_copy_at(m, "destination", destination, sizeof(destination)) < 0)
			return error_set(err, -EINVAL, "config.json: a mount has no destination");
		if (json_copy_at(m, "source", source, sizeof(source)) == -ENAMETOOLONG)
			return error_set(err, -EINVAL, "config.json: the source of mount %s is too long", destination);
		find_pod_dir(s, source);
		own = own_volume(s, destination);
		if (own && path_format(own, sizeof(s->key_dir), "%s", source) < 0)
			return error_set(err, -EINVAL, "config.json: the source of mount %s is too long", destination);
	}
	return 0;
}

int spec_load(const char *bundle, struct spec *ret, struct error *err)
{
	char path[PATH_SIZE];
	int r;

	*ret = (struct spec){ .text = BUF_INIT(SPEC_MAX) };
	if (!bundle || path_format(path, sizeof(path), "%s/config.json", bundle) < 0)
		return error_set(err, -EINVAL, "no --bundle, or one with too long a path");
	r = file_read(AT_FDCWD, path, &ret->text, err);
	if (r < 0)
		return r;
	if (json_scan(ret->text.data, ret->text.len, &ret->root) < 0 || !json_is(ret->root, "{"))
		return error_set(err, -EINVAL, "%s is not a JSON object", path);
	r = read_annotations(ret, err);
	if (r == 0)
		r = read_linux(ret, err);
	return r < 0 ? r : read_mounts(ret, err);
}

static bool is_own_mount(struct spec *s, struct span mount)
{
	char destination[PATH_SIZE];

	return json_copy_at(mount, "destination", destination, sizeof(destination)) == 0 && own_volume(s, destination);
}

/* The array without our mounts, each of the others as it was. */
static int put_kept(struct spec *s, struct span list, struct buf *out)
{
	struct span at = json_members(list), m;
	int r = buf_puts(out, "["), n = 0;

	while (r == 0 && json_next(&at, NULL, &m)) {
		if (is_own_mount(s, m))
			continue;
		r = n++ ? buf_puts(out, ",") : 0;
		if (r == 0)
			r = buf_append(out, m.p, (size_t)(m.end - m.p));
	}
	return r < 0 ? r : buf_puts(out, "]");
}

int spec_cut_mounts(struct spec *s, const char *bundle, struct error *err)
{
	struct buf out = BUF_INIT(SPEC_MAX);
	char path[PATH_SIZE];
	struct span list;
	struct stat st;
	int r;

	if ((!s->key_dir[0] && !s->order_dir[0]) || !json_member(s->root, "mounts", &list))
		return 0;
	r = buf_append(&out, s->text.data, (size_t)(list.p - s->text.data));
	if (r == 0)
		r = put_kept(s, list, &out);
	if (r == 0)
		r = buf_append(&out, list.end, (size_t)(s->text.data + s->text.len - list.end));
	if (r < 0 || path_format(path, sizeof(path), "%s/config.json", bundle) < 0 || stat(path, &st) < 0) {
		buf_free(&out);
		return error_set(err, r < 0 ? r : -EINVAL, "config.json cannot be edited");
	}
	r = file_write(AT_FDCWD, path, out.data, out.len, st.st_mode & 0777, false, err);
	buf_free(&s->text);
	s->text = out;
	if (r == 0 && json_scan(s->text.data, s->text.len, &s->root) < 0)
		r = error_set(err, -EINVAL, "config.json was damaged");
	return r;
}

bool spec_is_bind(struct span mount)
{
	struct span v, at, option;

	if (json_member(mount, "type", &v) && json_equals(v, "bind"))
		return true;
	if (!json_member(mount, "options", &v))
		return false;
	for (at = json_members(v); json_next(&at, NULL, &option);)
		if (json_equals(option, "bind") || json_equals(option, "rbind"))
			return true;
	return false;
}

int spec_put_mounts(const struct spec *s, struct buf *out)
{
	struct span list, at, m;
	int r = buf_puts(out, "["), n = 0;

	if (r == 0 && json_member(s->root, "mounts", &list))
		for (at = json_members(list); r == 0 && json_next(&at, NULL, &m);) {
			char destination[PATH_SIZE], source[PATH_SIZE];

			if (!spec_is_bind(m) || json_copy_at(m, "destination", destination, sizeof(destination)) < 0 ||
			    json_copy_at(m, "source", source, sizeof(source)) < 0)
				continue;
			r = buf_puts(out, n++ ? ",{" : "{");
			if (r == 0)
				r = json_put_member(out, "destination", destination);
			if (r == 0)
				r = json_put_member(out, "source", source);
			if (r == 0)
				r = buf_puts(out, "}");
		}
	return r < 0 ? r : buf_puts(out, "]");
}

/* Every container of the pod looks there, also those that do not mount the volume.  The kubelet's layout: pkg/kubelet/config/defaults.go, pkg/volume/downwardapi. */
bool spec_may_start_cold(const struct spec *s)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	char path[PATH_SIZE];

	return s->pod_dir[0] &&
	       path_format(path, sizeof(path), "%s/volumes/kubernetes.io~downward-api/%s/%s", s->pod_dir, PM_VOLUME_ORDER, PM_START_COLD_FILE) == 0 &&
	       file_read(AT_FDCWD, path, &b, NULL) == 0 && !strcmp(b.data, "true");
}
