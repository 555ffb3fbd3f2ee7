/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_TRANSPORT_H
#define KUBE_TRANSPORT_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "kube/config.h"

/*
 * What both unary requests and watches need of libcurl: who we are, whom we trust, how a dead connection is noticed, what an
 * answer means.
 */

#define KUBE_RETRY_AFTER_MAX 60         /* seconds; a server that asks for more is asked again then */

/* Lists of one easy handle; they must outlive its transfer. */
struct kube_lists {
	struct curl_slist *headers, *connect_to;
};

void kube_lists_free(struct kube_lists *l);

/* Sets all options that do not depend on the request, on a new or reset handle. */
int kube_easy_setup(CURL *easy, struct kube_config *config, const char *user_agent, struct kube_lists *lists, struct error *err);
int kube_add_header(struct kube_lists *l, const char *line, struct error *err);

/* The start of every request URL. */
const char *kube_config_url(const struct kube_config *c);
/* Server verification, client certificate and Authorization header. */
int kube_config_apply(struct kube_config *c, CURL *easy, struct curl_slist **headers, struct error *err);
/* For CURLOPT_CONNECT_TO; NULL when there is none. */
struct curl_slist *kube_config_connect_to(const struct kube_config *c);
/* Our credentials were refused: reads their files at once.  True when they have changed, so that another try makes sense. */
bool kube_config_refresh(struct kube_config *c);

struct kube_answer {
	CURLcode rc;
	const char *curl_error;         /* CURLOPT_ERRORBUFFER's */
	long status;                    /* HTTP; 0: none came */
	const struct buf *body;
};

/* Turns an answer into the codes of kube/client.h, with the server's own message. what: "GET /api/..". */
int kube_result(const struct kube_answer *a, const char *what, struct error *err);

/* Seconds the server asked to wait, 1..KUBE_RETRY_AFTER_MAX; 0: it did not. */
int kube_retry_after(CURL *easy);

#endif
