/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "container/containerd.h"
#include "migration/reason.h"

/* containerd's shims that call an OCI runtime as a program; Kata and gVisor have others of their own. */
#define SHIM "io.containerd.runc."

/*
 * Programs that such a shim can call as well, by the beginning of their name.  They keep their state in another form, and what they have made runc does not know.  What wraps runc, as
 * nvidia-container-runtime does, is not among them: runc knows its containers.
 */
static const char *const others[] = { "crun", "krun", "youki", "runsc", "kata" };

static bool is_other(const char *binary)
{
	const char *slash = strrchr(binary, '/'), *name = slash ? slash + 1 : binary;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!strncmp(name, others[i], strlen(others[i])))
			return true;
	return false;
}

int containerd_check_runtime(const struct pod_container *c, const char *runc_root, struct error *err)
{
	char root[sizeof(c->root) + 16];

	if (c->shim[0] && strncmp(c->shim, SHIM, sizeof(SHIM) - 1))
		return error_reason(err, -ENOTSUP, REASON_UnsupportedRuntime, "it runs with %s", c->shim);
	if (is_other(c->binary))
		return error_reason(err, -ENOTSUP, REASON_UnsupportedRuntime, "it was made by %s, the default runtime of its node or that of its RuntimeClass", c->binary);
	/* The shim adds containerd's namespace. */
	if (c->root[0] && (path_format(root, sizeof(root), "%s/k8s.io", c->root) < 0 || strcmp(root, runc_root)))
		return error_reason(err, -ENOTSUP, REASON_UnsupportedRuntime, "runc keeps its state below %s; the agent looks in %s (its option --runc-root)", c->root,
				    runc_root);
	return 0;
}
