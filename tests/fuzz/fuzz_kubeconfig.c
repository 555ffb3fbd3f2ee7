/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "kube/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_config *c = NULL;
	struct error err;

	/* A base folder without files: no name in the text opens anything of this machine but what it names from the root. */
	if (kube_config_parse((const char *)data, size, "/nonexistent", NULL, &c, &err) == 0)
		must(!strncmp(kube_config_server(c), "https://", 8) && kube_config_namespace(c)[0]);
	kube_config_free(c);
	return 0;
}
