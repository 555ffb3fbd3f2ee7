/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <strings.h>

#include "kube/config.h"
#include "kube/transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_config *c = NULL;
	struct error err;

	/* A base folder without files: no name in the text opens anything of this machine but what it names from the root. */
	if (kube_config_parse((const char *)data, size, "/nonexistent", NULL, &c, &err) == 0)
		/* A scheme may be written in capitals, and with one slash or three: what is dialled is made from the parts. */
		must(!strncasecmp(kube_config_server(c), "https:/", 7) && kube_config_namespace(c)[0] && !strncmp(kube_config_url(c), "https://", 8));
	kube_config_free(c);
	return 0;
}
