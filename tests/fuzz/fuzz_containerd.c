/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of containerd, one after the other as calls ask for them.  First byte: which question is asked; then parts, each one answer. */
#include "container/containerd.c"

#include "container/cri.h"
#include "fuzz.h"

static struct parts answers;

int grpc_open(const char *socket, const char *const *headers, struct grpc **ret, struct error *err)
{
	(void)socket;
	(void)headers;
	(void)err;
	*ret = NULL;
	return 0;
}

void grpc_close(struct grpc *g)
{
	(void)g;
}

int grpc_call(struct grpc *g, const char *method, const void *request, size_t len, struct buf *reply, int *ret_status, struct error *err)
{
	const uint8_t *part;
	size_t n;

	(void)g;
	(void)request;
	(void)len;
	buf_reset(reply);
	if (ret_status)
		*ret_status = 0;
	if (answers.left == 0)
		return error_set(err, -ENOENT, "%s: no more", method);
	n = parts_next(&answers, &part);
	return buf_append(reply, part, n) < 0 || buf_reserve(reply, 0) < 0 ? error_set(err, -ENOMEM, "%s", method) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pod_containers pod;
	struct cri_runtime runtime;
	struct containerd *c = NULL;
	char version[16];
	struct error err;

	if (size == 0)
		return 0;
	answers = (struct parts){ data + 1, size - 1 };
	must(containerd_open("/none", &c, &err) == 0);
	if (data[0] % 3 == 0 && containerd_pod(c, "u-1", &pod, &err) == -EINVAL)
		must(containerd_pod(c, "abc-1", &pod, &err) < 0 || (pod.n >= 0 && pod.n <= CONTAINERS_MAX));
	if (data[0] % 3 == 1 && containerd_version(c, version, sizeof(version), &err) == 0)
		must(memchr(version, '\0', sizeof(version)) != NULL);
	if (data[0] % 3 == 2 && cri_runtime("/none", "podmigration", &runtime, &err) == 0)
		must(runtime.n_annotations >= 0 && runtime.n_annotations <= CRI_ANNOTATIONS_MAX);
	containerd_close(c);
	return 0;
}
