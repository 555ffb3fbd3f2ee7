/* SPDX-License-Identifier: Apache-2.0 */
#include "contents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "migration/names.h"
#include "migration/reason.h"
#include "volumes.h"

#define DEPTH_MAX 16
#define FILE_MAX (4u << 20)     /* a ConfigMap or Secret holds at most 1 MiB (core/validation, MaxSecretSize) */
#define CURRENT "..data"        /* the kubelet's link to the folder that holds the present version (pkg/volume/util/atomic_writer.go) */

static const struct {
	const char *folder, *kind;
} kinds[] = { { "kubernetes.io~configmap", "configmap" }, { "kubernetes.io~secret", "secret" } };

static int add_tree(EVP_MD_CTX *md, int dir, int depth, struct error *err);

/* Length and bytes of each part, so that nothing can run into what follows it. */
static int add_part(EVP_MD_CTX *md, const void *data, size_t len, struct error *err)
{
	uint64_t n = len;

	if (EVP_DigestUpdate(md, &n, sizeof(n)) != 1 || EVP_DigestUpdate(md, data, len) != 1)
		return error_set(err, -EIO, "digest of a volume");
	return 0;
}

static int add_entry(EVP_MD_CTX *md, int dir, const char *name, int depth, struct error *err)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_buf struct buf content = BUF_INIT(FILE_MAX);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "open %s", name);
	r = add_part(md, name, strlen(name), err);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return add_tree(md, fd, depth + 1, err);
	r = file_read(dir, name, &content, err);
	return r < 0 ? r : add_part(md, content.len ? content.data : "", content.len, err);
}

static int add_tree(EVP_MD_CTX *md, int dir, int depth, struct error *err)
{
	struct dirent **list = NULL;
	int n, r = 0;

	if (depth > DEPTH_MAX)
		return error_set(err, -ELOOP, "a volume has too many levels of folders");
	n = scandirat(dir, ".", &list, NULL, alphasort);
	if (n < 0)
		return error_errno(err, "list a volume");
	for (int i = 0; i < n; i++) {
		if (r == 0 && strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, ".."))
			r = add_entry(md, dir, list[i]->d_name, depth, err);
		free(list[i]);
	}
	free(list);
	return r;
}

static int digest(int volume, char *hex, size_t size, struct error *err)
{
	cleanup_close int dir = openat(volume, CURRENT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char out[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	int r = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? 0 : error_set(err, -ENOMEM, "digest of a volume");

	/* An optional one that does not exist has no present version: empty. */
	if (r == 0 && dir >= 0)
		r = add_tree(md, dir, 0, err);
	if (r == 0 && EVP_DigestFinal_ex(md, out, &len) != 1)
		r = error_set(err, -EIO, "digest of a volume");
	EVP_MD_CTX_free(md);
	for (unsigned int i = 0; i < len && 2 * i + 2 < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", out[i]);
	return r;
}

/* Ours; and the token that admission adds under a new name to each pod (plugin/pkg/admission/serviceaccount), which Liqo may have made a Secret of. */
static bool is_others(const char *volume)
{
	static const char token[] = "kube-api-access-";

	return volume[0] == '.' || !strcmp(volume, PM_VOLUME_KEY) || !strncmp(volume, token, sizeof(token) - 1);
}

static int add_volumes(const struct agent_options *o, const char *pod_dir, size_t kind, cJSON *out, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	char path[4096], name[300], hex[2 * EVP_MAX_MD_SIZE + 1];
	struct dirent *e;

	if (agent_host_path(o, path, sizeof(path), "%s/volumes/%s", pod_dir, kinds[kind].folder) < 0)
		return error_set(err, -ENAMETOOLONG, "pod folder too long");
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "open %s", path);
	while ((e = readdir(d))) {
		cleanup_close int volume = -1;
		int r;

		if (is_others(e->d_name) || path_format(name, sizeof(name), "%s:%s", kinds[kind].kind, e->d_name) < 0)
			continue;
		volume = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (volume < 0)
			return error_errno(err, "open volume %s", e->d_name);
		r = digest(volume, hex, sizeof(hex), err);
		if (r < 0)
			return error_wrap(err, r, "volume %s", e->d_name);
		cJSON_AddStringToObject(out, name, hex);
	}
	return 0;
}

int contents_add(const struct agent_options *o, const struct bundle *b, cJSON *out, struct error *err)
{
	char pod_dir[1024];

	/* Every mount leads to the same pod; every container to all of its volumes. */
	for (int i = 0; i < b->n_mounts; i++) {
		int r = 0;

		if (!b->mounts[i].bind || volumes_pod_dir(b->mounts[i].source, pod_dir, sizeof(pod_dir)) < 0)
			continue;
		for (size_t k = 0; r == 0 && k < sizeof(kinds) / sizeof(kinds[0]); k++)
			r = add_volumes(o, pod_dir, k, out, err);
		return r;
	}
	return 0;
}

void contents_compare(const cJSON *there, const cJSON *here, struct obstacles *out)
{
	const cJSON *e;

	/* The elements of an array have no names. */
	if (there && !cJSON_IsObject(there)) {
		obstacles_add(out, REASON_ProtocolError, "HELLO: the digests of the volumes are no object");
		return;
	}
	cJSON_ArrayForEach(e, there) {
		const cJSON *own = cJSON_GetObjectItemCaseSensitive(here, e->string);

		if (!cJSON_IsString(e))
			obstacles_add(out, REASON_ProtocolError, "HELLO: the digest of a volume is no string");
		else if (!cJSON_IsString(own))
			obstacles_add(out, REASON_UnsupportedVolume, "volume %.250s is not there at the destination", e->string);
		else if (strcmp(own->valuestring, e->valuestring))
			obstacles_add(out, REASON_UnsupportedVolume,
				      "volume %.250s holds something else at the destination; bring both in line, or wait until the kubelets have (a minute or two after an edit)", e->string);
	}
}
