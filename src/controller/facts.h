/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_FACTS_H
#define CONTROLLER_FACTS_H

#include "controller.h"

/* Reads what preflight_check() looks at from the API server; *ret is the caller's.  An error only when it is worth trying again. */
int facts_read(struct worker *w, const cJSON *migration, cJSON **ret, struct error *err);

#endif
