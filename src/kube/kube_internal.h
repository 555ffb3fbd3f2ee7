/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_INTERNAL_H
#define KUBE_INTERNAL_H

#include <curl/curl.h>
#include <stdint.h>

#include "base/buf.h"
#include "kube/config.h"

/* Sets server verification, client certificate and the Authorization header of one easy handle; *headers is appended to. */
int kube_config_apply(struct kube_config *c, CURL *easy, struct curl_slist **headers, struct error *err);
/* The token was refused: read it anew before the next request. */
void kube_config_refresh(struct kube_config *c);

/* Turns curl's result and the HTTP status into the codes of kube/client.h, with the server's own message. */
int kube_result(CURLcode rc, const char *curl_error, long status, const struct buf *body, const char *what, struct error *err);

/* Options every request to an API server has. */
int kube_easy_init(CURL *easy, struct kube_config *config, const char *user_agent, struct error *err);

#endif
