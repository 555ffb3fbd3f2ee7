/* SPDX-License-Identifier: Apache-2.0 */
#include "container/cri.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "grpc.h"
#include "proto/cri.pb-c.h"

#define REPLY_MAX (16u << 20)

/* The verbose status of containerd's CRI plugin holds its whole configuration (containerd internal/cri/server/status.go, 1.7 and 2.x alike). */
static int parse_config(const struct buf *reply, cJSON **ret, struct error *err)
{
	Cri__StatusResponse *r = cri__status_response__unpack(NULL, reply->len, (const uint8_t *)reply->data);
	int e = error_set(err, -EBADMSG, "containerd: the CRI status holds no configuration");

	for (size_t i = 0; r && i < r->n_info; i++)
		if (!strcmp(r->info[i]->key, "config"))
			e = json_parse(r->info[i]->value, strlen(r->info[i]->value), REPLY_MAX, ret, err);
	if (r)
		cri__status_response__free_unpacked(r, NULL);
	return e;
}

static int load_config(const char *socket, cJSON **ret, struct error *err)
{
	static const char *const headers[] = { NULL };
	Cri__StatusRequest request = CRI__STATUS_REQUEST__INIT;
	uint8_t packed[8];
	cleanup_buf struct buf reply = BUF_INIT(REPLY_MAX);
	struct grpc *g = NULL;
	int r = grpc_open(socket, headers, &g, err);

	if (r < 0)
		return r;
	request.verbose = 1;
	r = grpc_call(g, "runtime.v1.RuntimeService/Status", packed, cri__status_request__pack(&request, packed), &reply, NULL, err);
	grpc_close(g);
	return r < 0 ? error_wrap(err, r, "containerd") : parse_config(&reply, ret, err);
}

static int take_annotations(const cJSON *runtime, struct cri_runtime *ret)
{
	const cJSON *a;

	cJSON_ArrayForEach(a, json_at(runtime, "PodAnnotations")) {
		if (ret->n_annotations == CRI_ANNOTATIONS_MAX || !cJSON_IsString(a) ||
		    path_format(ret->annotations[ret->n_annotations], sizeof(ret->annotations[0]), "%s", a->valuestring) < 0)
			return -E2BIG;
		ret->n_annotations++;
	}
	return 0;
}

int cri_runtime(const char *socket, const char *handler, struct cri_runtime *ret, struct error *err)
{
	cleanup_json cJSON *config = NULL;
	struct cri_runtime found = { 0 };
	const cJSON *runtime;
	int r = load_config(socket, &config, err);

	if (r < 0)
		return r;
	if (!handler)
		handler = json_str_or(config, "containerd/defaultRuntimeName", "runc");
	runtime = cJSON_GetObjectItemCaseSensitive(json_at(config, "containerd/runtimes"), handler);
	if (!runtime)
		return error_set(err, -ENOENT, "containerd does not know the runtime %s", handler);
	found.systemd_cgroup = json_bool(runtime, "options/SystemdCgroup");
	if (path_format(found.binary, sizeof(found.binary), "%s", json_str_or(runtime, "options/BinaryName", "")) < 0 ||
	    take_annotations(runtime, &found) < 0)
		return error_set(err, -E2BIG, "containerd's entry of the runtime %s is too large", handler);
	*ret = found;
	return 0;
}
