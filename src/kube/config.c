/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/config.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "config_internal.h"
#include "transport.h"

#define KUBECONFIG_MAX (1u << 20)
/* client-go reads the token again each minute; the kubelet replaces it at 80 % of its life, at least 2 minutes before its end. */
#define REREAD_US 60000000
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

static const struct {
	const char *name;
	size_t max;
} cred_kind[CRED_N] = {
	[CRED_CA] = { "CA certificates", 1u << 20 },
	[CRED_CERT] = { "client certificate", 256u << 10 },
	[CRED_KEY] = { "client key", 256u << 10 },
	[CRED_TOKEN] = { "token", 64u << 10 },
};

struct kube_config *kube_config_alloc(void)
{
	struct kube_config *c;

	/*
	 * Counted and safe between threads since libcurl 7.84; each config holds one count, so that libcurl outlives its users.
	 */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c) {
		curl_global_cleanup();
		return NULL;
	}
	for (int i = 0; i < CRED_N; i++)
		c->cred[i].text.max = cred_kind[i].max;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_free(b);
}

void kube_config_free(struct kube_config *c)
{
	if (!c)
		return;
	for (int i = 0; i < CRED_N; i++) {
		wipe(&c->cred[i].text);
		free(c->cred[i].file);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
	curl_global_cleanup();
}

/* --- the server --- */

/* One part of a URL; "" when it has none. */
static void url_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t size)
{
	char *s = NULL;

	out[0] = '\0';
	if (curl_url_get(u, part, &s, flags) == CURLUE_OK)
		snprintf(out, size, "%s", s);
	curl_free(s);
}

static int check_parts(CURLU *u, struct error *err)
{
	static const struct {
		CURLUPart part;
		const char *name;
	} unwanted[] = { { CURLUPART_USER, "a user" }, { CURLUPART_QUERY, "a query" }, { CURLUPART_FRAGMENT, "a fragment" } };
	char s[512];

	url_part(u, CURLUPART_SCHEME, 0, s, sizeof(s));
	if (strcmp(s, "https"))
		return error_set(err, -EINVAL, "server must be an https:// URL");
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++) {
		url_part(u, unwanted[i].part, 0, s, sizeof(s));
		if (s[0])
			return error_set(err, -EINVAL, "server must not hold %s", unwanted[i].name);
	}
	return 0;
}

/*
 * The certificate is checked against the URL's host: with tls-server-name that name is the host, and CONNECT_TO leads it to the
 * server.
 */
static int take_parts(struct kube_config *c, CURLU *u, const char *tls_server_name, struct error *err)
{
	char host[300], port[16], *s = NULL;
	size_t n;

	url_part(u, CURLUPART_HOST, 0, host, sizeof(host));
	url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof(port));
	c->connect_to[0] = '\0';
	if (tls_server_name && curl_url_set(u, CURLUPART_HOST, tls_server_name, 0) != CURLUE_OK)
		return error_set(err, -EINVAL, "tls-server-name is not a host name");
	if (tls_server_name && path_format(c->connect_to, sizeof(c->connect_to), "%s:%s:%s:%s", tls_server_name, port, host, port) < 0)
		return error_set(err, -EINVAL, "tls-server-name is too long");
	if (curl_url_get(u, CURLUPART_URL, &s, 0) != CURLUE_OK || strlen(s) >= sizeof(c->url)) {
		curl_free(s);
		return error_set(err, -EINVAL, "server is too long");
	}
	snprintf(c->url, sizeof(c->url), "%s", s);
	curl_free(s);
	for (n = strlen(c->url); n > 8 && c->url[n - 1] == '/'; n--)
		c->url[n - 1] = '\0';
	return 0;
}

int kube_config_set_server(struct kube_config *c, const char *server, const char *tls_server_name, struct error *err)
{
	CURLU *u = curl_url();
	CURLUcode uc;
	size_t n;
	int r;

	if (!u)
		return error_set(err, -ENOMEM, "out of memory");
	uc = curl_url_set(u, CURLUPART_URL, server, CURLU_NON_SUPPORT_SCHEME);
	if (uc != CURLUE_OK)
		r = error_set(err, -EINVAL, "server is not a URL: %s", curl_url_strerror(uc));
	else if (path_format(c->server, sizeof(c->server), "%s", server) < 0)
		r = error_set(err, -EINVAL, "server is longer than %zu bytes", sizeof(c->server) - 1);
	else
		r = check_parts(u, err);
	if (r == 0)
		r = take_parts(c, u, tls_server_name && *tls_server_name ? tls_server_name : NULL, err);
	for (n = strlen(c->server); n > 8 && c->server[n - 1] == '/'; n--)
		c->server[n - 1] = '\0';
	curl_url_cleanup(u);
	return r;
}

/* --- credentials --- */

static bool is_space(char ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

/* A token becomes part of a header line: bytes that would end the line, or that no token has, are refused. */
static int check_text(int which, struct buf *b, struct error *err)
{
	if (which != CRED_TOKEN) {
		if (b->len && memchr(b->data, '\0', b->len) == NULL && strstr(b->data, "-----BEGIN "))
			return 0;
		return error_set(err, -EINVAL, "%s: this is not PEM", cred_kind[which].name);
	}
	while (b->len && is_space(b->data[b->len - 1]))
		b->data[--b->len] = '\0';
	if (!b->len)
		return error_set(err, -EINVAL, "token is empty");
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] <= ' ' || b->data[i] > '~')
			return error_set(err, -EINVAL, "token holds a byte that no token has");
	return 0;
}

int kube_config_set_text(struct kube_config *c, int which, const char *text, size_t len, struct error *err)
{
	struct buf *b = &c->cred[which].text;
	int r = buf_append(b, text, len);

	if (r < 0)
		return error_set(err, r == -ENOSPC ? -EFBIG : r, "%s: larger than %zu bytes", cred_kind[which].name, b->max);
	return check_text(which, b, err);
}

static int read_text(int which, const char *path, struct buf *ret, struct error *err)
{
	struct buf b = BUF_INIT(cred_kind[which].max);
	int r = file_read(AT_FDCWD, path, &b, err);

	if (r == 0) {
		r = check_text(which, &b, err);
		if (r < 0)
			error_wrap(err, r, "%s", path);
	}
	if (r < 0) {
		wipe(&b);
		return r;
	}
	*ret = b;
	return 0;
}

int kube_config_set_file(struct kube_config *c, int which, const char *path, struct error *err)
{
	int r = read_text(which, path, &c->cred[which].text, err);

	if (r < 0)
		return r;
	c->cred[which].file = strdup(path);
	c->read_us = clock_mono_us();
	return c->cred[which].file ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/*
 * Takes the n credentials from first on anew, all or none: a certificate without its key is of no use.  Files that cannot be
 * read just now (they are being replaced) leave the last good texts in force.
 */
static bool reread_group(struct kube_config *c, int first, int n)
{
	struct buf fresh[CRED_N] = { { 0 } };
	bool ok = true, changed = false;

	for (int i = 0; i < n; i++)
		ok = ok && c->cred[first + i].file && read_text(first + i, c->cred[first + i].file, &fresh[i], NULL) == 0;
	for (int i = 0; i < n; i++) {
		struct buf *now = &c->cred[first + i].text;

		if (ok && (fresh[i].len != now->len || memcmp(fresh[i].data, now->data, now->len))) {
			struct buf old = *now;

			*now = fresh[i];
			fresh[i] = old;
			changed = true;
		}
		wipe(&fresh[i]);
	}
	return changed;
}

/* With the lock held; true when anything changed. */
static bool reread(struct kube_config *c)
{
	bool changed = reread_group(c, CRED_CA, 1);

	changed = reread_group(c, CRED_CERT, 2) || changed;
	changed = reread_group(c, CRED_TOKEN, 1) || changed;
	c->read_us = clock_mono_us();
	return changed;
}

bool kube_config_refresh(struct kube_config *c)
{
	bool changed;

	pthread_mutex_lock(&c->lock);
	changed = reread(c);
	pthread_mutex_unlock(&c->lock);
	return changed;
}

/* --- loading --- */

static int load_file(const char *path, const char *context, struct kube_config **ret, struct error *err)
{
	struct buf b = BUF_INIT(KUBECONFIG_MAX);
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int r = file_read(AT_FDCWD, path, &b, err);

	if (r == 0)
		r = path_format(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	if (r == 0) {
		r = kube_config_parse(b.data, b.len, slash == path ? "/" : dir, context, ret, err);
		if (r < 0)
			error_wrap(err, r, "%s", path);
	}
	wipe(&b);
	return r;
}

static int fill_in_cluster(struct kube_config *c, struct error *err)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	cleanup_buf struct buf ns = BUF_INIT(253);
	char server[400];
	int r = path_format(server, sizeof(server), strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port ? port : "443");

	if (r < 0)
		return error_set(err, r, "KUBERNETES_SERVICE_HOST is too long");
	r = kube_config_set_server(c, server, NULL, err);
	/* Without its CA we would trust the machine's: that is an error here, not a default. */
	if (r == 0)
		r = kube_config_set_file(c, CRED_CA, SERVICE_ACCOUNT "/ca.crt", err);
	if (r == 0)
		r = kube_config_set_file(c, CRED_TOKEN, SERVICE_ACCOUNT "/token", err);
	if (r < 0)
		return error_wrap(err, r, "service account");
	snprintf(c->ns, sizeof(c->ns), "default");
	if (file_read(AT_FDCWD, SERVICE_ACCOUNT "/namespace", &ns, NULL) == 0 && ns.len)
		snprintf(c->ns, sizeof(c->ns), "%.*s", (int)strcspn(ns.data, " \r\n"), ns.data);
	return 0;
}

static int load_in_cluster(struct kube_config **ret, struct error *err)
{
	struct kube_config *c = kube_config_alloc();
	int r = c ? fill_in_cluster(c, err) : error_set(err, -ENOMEM, "out of memory");

	if (r < 0) {
		kube_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* The first file of $KUBECONFIG's list that exists. */
static int first_of_list(const char *list, char *out, size_t size)
{
	while (*list) {
		size_t n = strcspn(list, ":");

		if (n && path_format(out, size, "%.*s", (int)n, list) == 0 && access(out, F_OK) == 0)
			return 0;
		list += n + (list[n] == ':');
	}
	return -ENOENT;
}

int kube_config_load(const char *path, const char *context, struct kube_config **ret, struct error *err)
{
	const char *list = getenv("KUBECONFIG"), *home = getenv("HOME"), *host = getenv("KUBERNETES_SERVICE_HOST");
	char file[4096];

	if (path)
		return load_file(path, context, ret, err);
	if (list && *list) {
		if (first_of_list(list, file, sizeof(file)) < 0)
			return error_set(err, -ENOENT, "KUBECONFIG=%s: no such file", list);
		return load_file(file, context, ret, err);
	}
	if (host && *host)
		return load_in_cluster(ret, err);
	if (!home || path_format(file, sizeof(file), "%s/.kube/config", home) < 0 || access(file, F_OK) < 0)
		return error_set(err, -ENOENT, "no kubeconfig: set --kubeconfig or KUBECONFIG, or run in a pod");
	return load_file(file, context, ret, err);
}

const char *kube_config_server(const struct kube_config *c)
{
	return c->server;
}

const char *kube_config_namespace(const struct kube_config *c)
{
	return c->ns;
}

/* --- using it --- */

const char *kube_config_url(const struct kube_config *c)
{
	return c->url;
}

static int add_token(const struct buf *token, struct curl_slist **headers, struct error *err)
{
	struct buf h = BUF_INIT(token->max + 64);
	int r = buf_printf(&h, "Authorization: Bearer %s", token->data);
	struct curl_slist *l = r == 0 ? curl_slist_append(*headers, h.data) : NULL;

	wipe(&h);
	if (!l)
		return error_set(err, -ENOMEM, "out of memory");
	*headers = l;
	return 0;
}

int kube_config_apply(struct kube_config *c, CURL *easy, struct curl_slist **headers, struct error *err)
{
	/*
	 * As blobs, not by name: libcurl keeps CA stores for a day by file name and would not see a rotated file.  It compares
	 * blobs before it uses a pooled connection again, so new credentials mean new connections.
	 */
	static const CURLoption blob_option[CRED_N] = { [CRED_CA] = CURLOPT_CAINFO_BLOB, [CRED_CERT] = CURLOPT_SSLCERT_BLOB,
							[CRED_KEY] = CURLOPT_SSLKEY_BLOB };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (c->read_us && clock_mono_us() - c->read_us > REREAD_US)
		reread(c);
	for (int i = CRED_CA; i <= CRED_KEY; i++) {
		struct curl_blob blob = { c->cred[i].text.data, c->cred[i].text.len, CURL_BLOB_COPY };

		if (blob.len && curl_easy_setopt(easy, blob_option[i], &blob) != CURLE_OK)
			r = error_set(err, -ENOMEM, "out of memory for credentials");
	}
	if (r == 0 && c->cred[CRED_TOKEN].text.len)
		r = add_token(&c->cred[CRED_TOKEN].text, headers, err);
	pthread_mutex_unlock(&c->lock);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, c->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, c->insecure ? 0L : 2L);
	return r;
}

struct curl_slist *kube_config_connect_to(const struct kube_config *c)
{
	return c->connect_to[0] ? curl_slist_append(NULL, c->connect_to) : NULL;
}
