/* SPDX-License-Identifier: Apache-2.0 */
#include "container/containerd.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "grpc.h"
#include "proto/containerd.pb-c.h"

/* The kubelet's containers live in this containerd namespace (containerd internal/cri/constants). */
#define NAMESPACE "k8s.io"
/* containerd's default state folder (config.toml `state`) and its runtime v2 plugin below it. */
#define BUNDLE_ROOT "/run/containerd/io.containerd.runtime.v2.task/" NAMESPACE

/* The type of what the CRI plugin says to the shims of runc's kind (containerd api/types/runc/options; typeurl registers it without a host). */
#define RUNC_OPTIONS "containerd.runc.v1.Options"

/* containerd's own cap on a received message (config.toml [grpc] max_recv_message_size). */
#define REPLY_MAX (16u << 20)

struct containerd {
	struct grpc *grpc;
	struct buf reply;
};

int containerd_open(const char *socket, struct containerd **ret, struct error *err)
{
	static const char *const headers[] = { "containerd-namespace: " NAMESPACE, NULL };
	struct containerd *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return error_set(err, -ENOMEM, "containerd client: out of memory");
	c->reply = (struct buf)BUF_INIT(REPLY_MAX);
	r = grpc_open(socket, headers, &c->grpc, err);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void containerd_close(struct containerd *c)
{
	if (!c)
		return;
	grpc_close(c->grpc);
	buf_free(&c->reply);
	free(c);
}

/* One call: packs request, unpacks the answer as `type`.  The caller frees *ret by protobuf_c_message_free_unpacked. */
static int call(struct containerd *c, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
		ProtobufCMessage **ret, struct error *err)
{
	size_t len = protobuf_c_message_get_packed_size(request);
	cleanup_free uint8_t *packed = malloc(len + 1);
	int r;

	if (!packed)
		return error_set(err, -ENOMEM, "containerd: out of memory");
	protobuf_c_message_pack(request, packed);
	r = grpc_call(c->grpc, method, packed, len, &c->reply, NULL, err);
	if (r < 0)
		return error_wrap(err, r, "containerd");
	*ret = protobuf_c_message_unpack(type, NULL, c->reply.len, (const uint8_t *)c->reply.data);
	if (!*ret)
		return error_set(err, -EBADMSG, "containerd: %s: the answer is not the message expected", method);
	return 0;
}

static void message_freep(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}
#define cleanup_message cleanup_with(message_freep)

int containerd_version(struct containerd *c, char *out, size_t size, struct error *err)
{
	Containerd__VersionRequest request = CONTAINERD__VERSION_REQUEST__INIT;
	cleanup_message ProtobufCMessage *m = NULL;
	int r;

	r = call(c, "containerd.services.version.v1.Version/Version", &request.base, &containerd__version_response__descriptor,
		 &m, err);
	if (r < 0)
		return r;
	if (path_format(out, size, "%s", ((Containerd__VersionResponse *)m)->version) < 0)
		return error_set(err, -ENAMETOOLONG, "containerd: its version is longer than %zu bytes", size);
	return 0;
}

/*
 * A shim that does not answer within two seconds (a busy node, memory that runs out) is no error to containerd: it says UNKNOWN, and no pid (services/tasks/local.go, getProcessState).  One shim serves all
 * containers of a pod.  Taken for a pod that is gone, a frozen one would be left frozen for ever.
 */
static int judge_task(const char *id, const Containerd__Task *task, pid_t *ret_pid, struct error *err)
{
	if (task && (task->status == CONTAINERD__TASK_STATUS__CREATED || task->status == CONTAINERD__TASK_STATUS__STOPPED))
		return 0;
	if (!task || (task->status != CONTAINERD__TASK_STATUS__RUNNING && task->status != CONTAINERD__TASK_STATUS__PAUSED && task->status != CONTAINERD__TASK_STATUS__PAUSING) || task->pid == 0 ||
	    task->pid > INT_MAX)
		return error_set(err, -EAGAIN, "containerd does not know whether container %s runs: its shim does not answer", id);
	*ret_pid = (pid_t)task->pid;
	return 1;
}

/* 1 and *ret_pid when the container has a live task, 0 when not. */
static int live_task(struct containerd *c, const char *id, pid_t *ret_pid, struct error *err)
{
	Containerd__GetTaskRequest request = CONTAINERD__GET_TASK_REQUEST__INIT;
	cleanup_message ProtobufCMessage *m = NULL;
	int r;

	request.container_id = (char *)(uintptr_t)id;
	r = call(c, "containerd.services.tasks.v1.Tasks/Get", &request.base, &containerd__get_task_response__descriptor, &m, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return judge_task(id, ((Containerd__GetTaskResponse *)m)->process, ret_pid, err);
}

static const char *mount_upperdir(const Containerd__Mount *m)
{
	static const char option[] = "upperdir=";

	if (strcmp(m->type, "overlay"))
		return "";
	for (size_t i = 0; i < m->n_options; i++)
		if (!strncmp(m->options[i], option, sizeof(option) - 1))
			return m->options[i] + sizeof(option) - 1;
	return "";
}

/* A snapshotter that is no overlayfs (or a container without snapshot) leaves upperdir "". */
static int fill_upperdir(struct containerd *c, const Containerd__Container *in, struct pod_container *out, struct error *err)
{
	Containerd__MountsRequest request = CONTAINERD__MOUNTS_REQUEST__INIT;
	cleanup_message ProtobufCMessage *m = NULL;
	const Containerd__MountsResponse *answer;
	int r;

	if (!in->snapshot_key[0])
		return 0;
	request.snapshotter = in->snapshotter;
	request.key = in->snapshot_key;
	r = call(c, "containerd.services.snapshots.v1.Snapshots/Mounts", &request.base, &containerd__mounts_response__descriptor,
		 &m, err);
	if (r < 0)
		return error_wrap(err, r, "root file system of container %s", in->id);
	answer = (const Containerd__MountsResponse *)m;
	if (answer->n_mounts == 1 &&
	    path_format(out->upperdir, sizeof(out->upperdir), "%s", mount_upperdir(answer->mounts[0])) < 0)
		return error_set(err, -ENAMETOOLONG, "containerd: upperdir of container %s is too long", in->id);
	return 0;
}

static const char *label(const Containerd__Container *c, const char *key)
{
	for (size_t i = 0; i < c->n_labels; i++)
		if (!strcmp(c->labels[i]->key, key))
			return c->labels[i]->value;
	return "";
}

/* Other shims' options are of other types; theirs are of no use to us. */
static int fill_runtime(const Containerd__Runtime *in, struct pod_container *out, struct error *err)
{
	Containerd__RuncOptions *o = NULL;
	int r = 0;

	if (!in)
		return 0;
	if (in->options && !strcmp(in->options->type_url, RUNC_OPTIONS)) {
		o = containerd__runc_options__unpack(NULL, in->options->value.len, in->options->value.data);
		if (!o)
			return error_set(err, -EBADMSG, "containerd: runtime options of container %s cannot be read", out->id);
	}
	if (path_format(out->shim, sizeof(out->shim), "%s", in->name) < 0 || (o && path_format(out->binary, sizeof(out->binary), "%s", o->binary_name) < 0) ||
	    (o && path_format(out->root, sizeof(out->root), "%s", o->root) < 0))
		r = error_set(err, -ENAMETOOLONG, "containerd: the runtime's name of container %s is too long", out->id);
	if (o)
		containerd__runc_options__free_unpacked(o, NULL);
	return r;
}

static int fill_container(struct containerd *c, const Containerd__Container *in, pid_t pid, struct pod_container *out,
			  struct error *err)
{
	*out = (struct pod_container){ .task_pid = pid };
	out->sandbox = !strcmp(label(in, "io.cri-containerd.kind"), "sandbox");
	if (path_format(out->id, sizeof(out->id), "%s", in->id) < 0 ||
	    path_format(out->bundle, sizeof(out->bundle), "%s/%s", BUNDLE_ROOT, in->id) < 0 ||
	    path_format(out->image, sizeof(out->image), "%s", in->image) < 0 ||
	    path_format(out->name, sizeof(out->name), "%s", out->sandbox ? "" : label(in, "io.kubernetes.container.name")) < 0)
		return error_set(err, -ENAMETOOLONG, "containerd: a name of container %s is too long", in->id);
	if (!out->sandbox && !out->name[0])
		return error_set(err, -EBADMSG, "containerd: container %s has no io.kubernetes.container.name", in->id);
	if (fill_runtime(in->runtime, out, err) < 0)
		return -EBADMSG;
	return out->sandbox ? 0 : fill_upperdir(c, in, out, err);
}

/* The UID goes into containerd's filter language between quotes. */
static bool uid_is_plain(const char *uid)
{
	size_t n = strspn(uid, "0123456789abcdefABCDEF-");

	return n > 0 && n <= 64 && uid[n] == '\0';
}

static int fill_pod(struct containerd *c, const Containerd__ListContainersResponse *list, bool live, struct pod_containers *pod, struct error *err)
{
	for (size_t i = 0; i < list->n_containers; i++) {
		const Containerd__Container *in = list->containers[i];
		pid_t pid = 0;
		int r;

		if (!name_is_safe(in->id))
			return error_set(err, -EBADMSG, "containerd: a container id is not a plain name");
		r = live_task(c, in->id, &pid, err);
		if (r == !live)
			continue;
		if (r >= 0 && pod->n == CONTAINERS_MAX)
			r = error_set(err, -E2BIG, "the pod has more than %d containers", CONTAINERS_MAX);
		if (r >= 0)
			r = fill_container(c, in, pid, &pod->items[pod->n++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int list_pod(struct containerd *c, const char *pod_uid, bool live, struct pod_containers *ret, struct error *err)
{
	Containerd__ListContainersRequest request = CONTAINERD__LIST_CONTAINERS_REQUEST__INIT;
	cleanup_message ProtobufCMessage *m = NULL;
	cleanup_free struct pod_containers *pod = calloc(1, sizeof(*pod));
	char filter[160];
	char *filters[] = { filter };
	int r;

	if (!pod)
		return error_set(err, -ENOMEM, "containerd: out of memory");
	if (!uid_is_plain(pod_uid) ||
	    path_format(filter, sizeof(filter), "labels.\"io.kubernetes.pod.uid\"==\"%s\"", pod_uid) < 0)
		return error_set(err, -EINVAL, "not the UID of a pod: %.80s", pod_uid);
	request.n_filters = 1;
	request.filters = filters;
	r = call(c, "containerd.services.containers.v1.Containers/List", &request.base,
		 &containerd__list_containers_response__descriptor, &m, err);
	if (r == 0)
		r = fill_pod(c, (const Containerd__ListContainersResponse *)m, live, pod, err);
	if (r == 0)
		*ret = *pod;
	return r;
}

int containerd_pod(struct containerd *c, const char *pod_uid, struct pod_containers *ret, struct error *err)
{
	return list_pod(c, pod_uid, true, ret, err);
}

int containerd_pod_dead(struct containerd *c, const char *pod_uid, struct pod_containers *ret, struct error *err)
{
	return list_pod(c, pod_uid, false, ret, err);
}
