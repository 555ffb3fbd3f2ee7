/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "status.h"

#define ERROR_BODY_MAX (1u << 20)
/* As Go's HTTP/2 health check, which client-go relies on: 30 s of silence, then 15 s for an answer. */
#define KEEP_IDLE_S 30
#define KEEP_INTERVAL_S 5
#define UNACKED_MS 45000
/* An API server behind a load balancer that gets new replicas is found by new connections only. */
#define CONNECTION_LIFE_S 900

void kube_lists_free(struct kube_lists *l)
{
	curl_slist_free_all(l->headers);
	curl_slist_free_all(l->connect_to);
	*l = (struct kube_lists){ 0 };
}

int kube_add_header(struct kube_lists *l, const char *line, struct error *err)
{
	struct curl_slist *n = curl_slist_append(l->headers, line);

	if (!n)
		return error_set(err, -ENOMEM, "out of memory");
	l->headers = n;
	return 0;
}

/* Unacknowledged data is given up by the kernel after 15 minutes otherwise. */
static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = UNACKED_MS;

	(void)ctx;
	(void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

int kube_easy_setup(CURL *easy, struct kube_config *config, const char *user_agent, struct kube_lists *lists, struct error *err)
{
	static const struct {
		CURLoption option;
		long value;
	} number[] = {
		{ CURLOPT_NOSIGNAL, 1 },
		{ CURLOPT_FOLLOWLOCATION, 0 },
		/* libcurl sends no HTTP/2 PINGs of itself: a dead idle connection would not be noticed. */
		{ CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1 },
		{ CURLOPT_CONNECTTIMEOUT_MS, 5000 },
		{ CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2 },
		{ CURLOPT_TCP_KEEPALIVE, 1 },
		{ CURLOPT_TCP_KEEPIDLE, KEEP_IDLE_S },
		{ CURLOPT_TCP_KEEPINTVL, KEEP_INTERVAL_S },
		{ CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S },
		{ CURLOPT_QUICK_EXIT, 1 },      /* do not wait for a stuck resolver thread */
	};

	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		curl_easy_setopt(easy, number[i].option, number[i].value);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
	lists->connect_to = kube_config_connect_to(config);
	curl_easy_setopt(easy, CURLOPT_CONNECT_TO, lists->connect_to);
	return kube_config_apply(config, easy, &lists->headers, err);
}

int kube_retry_after(CURL *easy)
{
	curl_off_t s = 0;

	curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &s);
	return s <= 0 ? 0 : s > KUBE_RETRY_AFTER_MAX ? KUBE_RETRY_AFTER_MAX : (int)s;
}

static int transport_error(const struct kube_answer *a, const char *what, struct error *err)
{
	int code = a->rc == CURLE_COULDNT_CONNECT ? -ECONNREFUSED : a->rc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;

	if (a->rc == CURLE_SEND_FAIL_REWIND)
		return error_set(err, code, "%s: the connection broke; the server may or may not have done it", what);
	return error_set(err, code, "%s: %s", what, a->curl_error[0] ? a->curl_error : curl_easy_strerror(a->rc));
}

int kube_result(const struct kube_answer *a, const char *what, struct error *err)
{
	cleanup_json cJSON *o = NULL;

	if (a->rc != CURLE_OK)
		return transport_error(a, what, err);
	if (a->status >= 200 && a->status < 300)
		return 0;
	if (a->body->len)
		json_parse(a->body->data, a->body->len, ERROR_BODY_MAX, &o, NULL);
	return kube_status_error(a->status, o, a->body->data, what, err);
}
