/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "kube_internal.h"

#define KUBECONFIG_MAX (1u << 20)
#define PEM_MAX (256u << 10)
#define TOKEN_MAX (64u << 10)
#define REREAD_US 60000000              /* the kubelet rotates token and CA files in place */
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

struct kube_config {
	char server[512], ns[254];
	char *ca_file, *token_file;             /* reread */
	struct buf ca, cert, key, token;        /* PEM texts and the bearer token; empty: none */
	bool insecure;
	pthread_mutex_t lock;
	int64_t read_us;
};

static void config_init(struct kube_config *c)
{
	static const struct buf pem = BUF_INIT(PEM_MAX), token = BUF_INIT(TOKEN_MAX);

	c->ca = c->cert = c->key = pem;
	c->token = token;
	pthread_mutex_init(&c->lock, NULL);
}

void kube_config_free(struct kube_config *c)
{
	struct buf *secret[2];

	if (!c)
		return;
	secret[0] = &c->key;
	secret[1] = &c->token;
	for (int i = 0; i < 2; i++)
		if (secret[i]->data)
			explicit_bzero(secret[i]->data, secret[i]->len);
	buf_free(&c->ca);
	buf_free(&c->cert);
	buf_free(&c->key);
	buf_free(&c->token);
	free(c->ca_file);
	free(c->token_file);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* --- kubeconfig: YAML to JSON first, so that one set of getters reads everything --- */

#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 20000

static cJSON *node_to_json(yaml_document_t *doc, yaml_node_t *n, int depth, int *count)
{
	cJSON *o;

	if (!n || depth > YAML_DEPTH_MAX || ++*count > YAML_NODES_MAX)
		return NULL;
	if (n->type == YAML_SCALAR_NODE)
		return cJSON_CreateString((const char *)n->data.scalar.value);
	if (n->type == YAML_SEQUENCE_NODE) {
		o = cJSON_CreateArray();
		for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
			cJSON *e = node_to_json(doc, yaml_document_get_node(doc, *i), depth + 1, count);

			if (!e || !cJSON_AddItemToArray(o, e))
				goto bad;
		}
		return o;
	}
	o = cJSON_CreateObject();
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);
		cJSON *e = node_to_json(doc, yaml_document_get_node(doc, p->value), depth + 1, count);

		if (!k || k->type != YAML_SCALAR_NODE || !e ||
		    cJSON_GetObjectItemCaseSensitive(o, (const char *)k->data.scalar.value)) {
			cJSON_Delete(e);
			goto bad;
		}
		cJSON_AddItemToObject(o, (const char *)k->data.scalar.value, e);
	}
	return o;
bad:
	cJSON_Delete(o);
	return NULL;
}

static int yaml_to_json(const char *text, size_t len, cJSON **ret, struct error *err)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	int count = 0;

	if (!yaml_parser_initialize(&parser))
		return error_set(err, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		error_set(err, -EINVAL, "kubeconfig is not YAML, line %zu: %s", parser.problem_mark.line + 1,
			  parser.problem ? parser.problem : "syntax");
		yaml_parser_delete(&parser);
		return -EINVAL;
	}
	*ret = node_to_json(&doc, yaml_document_get_root_node(&doc), 0, &count);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	if (!cJSON_IsObject(*ret)) {
		cJSON_Delete(*ret);
		*ret = NULL;
		return error_set(err, -EINVAL, "kubeconfig is empty, has a key twice, or is nested too deeply");
	}
	return 0;
}

/* The entry of this name in clusters, users or contexts; its inner object ("cluster", "user", "context"). */
static const cJSON *named(const cJSON *root, const char *list, const char *inner, const char *name, struct error *err)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(root, list))
		if (!strcmp(json_str_or(e, "name", ""), name) && json_at(e, inner))
			return json_at(e, inner);
	error_set(err, -EINVAL, "kubeconfig: %s has no entry named %s", list, name);
	return NULL;
}

static char *resolve(const char *path, const char *base_dir)
{
	char out[4096];

	if (path[0] == '/' || path_format(out, sizeof(out), "%s/%s", base_dir, path) < 0)
		return strdup(path);
	return strdup(out);
}

/* KEY-data (base64) wins over KEY (a file), as in client-go. */
static int take_pem(const cJSON *o, const char *key, const char *base_dir, struct buf *out, char **ret_file, struct error *err)
{
	char data_key[64];
	const char *data, *file = json_str(o, key);

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	data = json_str(o, data_key);
	if (data && *data) {
		if (base64_decode(data, strlen(data), out) < 0)
			return error_set(err, -EINVAL, "kubeconfig: %s is not base64", data_key);
		return 0;
	}
	if (file && *file) {
		char *path = resolve(file, base_dir);
		int r = path ? file_read(AT_FDCWD, path, out, err) : -ENOMEM;

		if (r == 0 && ret_file)
			*ret_file = path;
		else
			free(path);
		return r < 0 ? error_wrap(err, r, "kubeconfig: %s", key) : 0;
	}
	return 0;
}

static int refuse_unsupported(const cJSON *cluster, const cJSON *user, struct error *err)
{
	static const char *const not_cluster[] = { "proxy-url", "tls-server-name" };
	static const char *const not_user[] = { "exec", "auth-provider", "username", "as" };

	for (size_t i = 0; i < sizeof(not_cluster) / sizeof(not_cluster[0]); i++)
		if (json_at(cluster, not_cluster[i]))
			return error_set(err, -ENOTSUP, "kubeconfig: clusters: %s is not supported", not_cluster[i]);
	for (size_t i = 0; i < sizeof(not_user) / sizeof(not_user[0]); i++)
		if (json_at(user, not_user[i]))
			return error_set(err, -ENOTSUP, "kubeconfig: users: %s is not supported; use a certificate or a token", not_user[i]);
	return 0;
}

static int take_user(struct kube_config *c, const cJSON *user, const char *base_dir, struct error *err)
{
	const char *token = json_str(user, "token"), *file = json_str(user, "tokenFile");
	int r = take_pem(user, "client-certificate", base_dir, &c->cert, NULL, err);

	if (r == 0)
		r = take_pem(user, "client-key", base_dir, &c->key, NULL, err);
	if (r < 0)
		return r;
	if ((c->cert.len == 0) != (c->key.len == 0))
		return error_set(err, -EINVAL, "kubeconfig: client-certificate and client-key go together");
	if (file && *file) {
		c->token_file = resolve(file, base_dir);
		return 0;
	}
	return token && buf_puts(&c->token, token) < 0 ? error_set(err, -EINVAL, "kubeconfig: token is too long") : 0;
}

static int take_context(struct kube_config *c, const cJSON *root, const char *base_dir, const char *context, struct error *err)
{
	const char *name = context ? context : json_str_or(root, "current-context", ""), *server;
	const cJSON *ctx, *cluster, *user;
	int r;

	if (!*name)
		return error_set(err, -EINVAL, "kubeconfig: current-context is not set");
	ctx = named(root, "contexts", "context", name, err);
	cluster = ctx ? named(root, "clusters", "cluster", json_str_or(ctx, "cluster", ""), err) : NULL;
	user = cluster ? named(root, "users", "user", json_str_or(ctx, "user", ""), err) : NULL;
	if (!user)
		return -EINVAL;
	r = refuse_unsupported(cluster, user, err);
	if (r < 0)
		return r;
	server = json_str_or(cluster, "server", "");
	if (strncmp(server, "https://", 8) || path_format(c->server, sizeof(c->server), "%s", server) < 0)
		return error_set(err, -EINVAL, "kubeconfig: clusters: server must be an https:// URL");
	while (strlen(c->server) > 8 && c->server[strlen(c->server) - 1] == '/')
		c->server[strlen(c->server) - 1] = '\0';
	if (path_format(c->ns, sizeof(c->ns), "%s", json_str_or(ctx, "namespace", "default")) < 0)
		return error_set(err, -EINVAL, "kubeconfig: namespace is too long");
	c->insecure = !strcmp(json_str_or(cluster, "insecure-skip-tls-verify", "false"), "true");
	r = take_pem(cluster, "certificate-authority", base_dir, &c->ca, &c->ca_file, err);
	return r == 0 ? take_user(c, user, base_dir, err) : r;
}

int kube_config_parse(const char *yaml, size_t len, const char *base_dir, const char *context, struct kube_config **ret, struct error *err)
{
	cleanup_json cJSON *root = NULL;
	struct kube_config *c;
	int r;

	if (len > KUBECONFIG_MAX)
		return error_set(err, -EFBIG, "kubeconfig is larger than %u bytes", KUBECONFIG_MAX);
	r = yaml_to_json(yaml, len, &root, err);
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	config_init(c);
	r = take_context(c, root, base_dir, context, err);
	if (r < 0) {
		kube_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static int load_file(const char *path, const char *context, struct kube_config **ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(KUBECONFIG_MAX);
	char dir[4096];
	const char *slash = strrchr(path, '/');
	int r = file_read(AT_FDCWD, path, &b, err);

	if (r < 0)
		return error_wrap(err, r, "kubeconfig");
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	r = kube_config_parse(b.data, b.len, dir, context, ret, err);
	return r < 0 ? error_wrap(err, r, "%s", path) : 0;
}

static int load_in_cluster(struct kube_config **ret, struct error *err)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	cleanup_buf struct buf ns = BUF_INIT(253);
	struct kube_config *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	config_init(c);
	c->ca_file = strdup(SERVICE_ACCOUNT "/ca.crt");
	c->token_file = strdup(SERVICE_ACCOUNT "/token");
	snprintf(c->server, sizeof(c->server), strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port ? port : "443");
	snprintf(c->ns, sizeof(c->ns), "%s", file_read(AT_FDCWD, SERVICE_ACCOUNT "/namespace", &ns, NULL) == 0 ? ns.data : "default");
	*ret = c;
	return 0;
}

/* The first file of $KUBECONFIG's list that exists. */
static int first_of_list(const char *list, char *out, size_t size)
{
	while (*list) {
		size_t n = strcspn(list, ":");

		if (n && path_format(out, size, "%.*s", (int)n, list) == 0 && access(out, R_OK) == 0)
			return 0;
		list += n + (list[n] == ':');
	}
	return -ENOENT;
}

int kube_config_load(const char *path, const char *context, struct kube_config **ret, struct error *err)
{
	const char *list = getenv("KUBECONFIG"), *home = getenv("HOME");
	char file[4096];

	if (path)
		return load_file(path, context, ret, err);
	if (list && *list) {
		if (first_of_list(list, file, sizeof(file)) < 0)
			return error_set(err, -ENOENT, "KUBECONFIG=%s: no such file", list);
		return load_file(file, context, ret, err);
	}
	if (getenv("KUBERNETES_SERVICE_HOST"))
		return load_in_cluster(ret, err);
	if (!home || path_format(file, sizeof(file), "%s/.kube/config", home) < 0)
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

static void reread_one(const char *path, struct buf *b)
{
	struct buf fresh = BUF_INIT(0);

	fresh.max = b->max;
	/* A file that cannot be read just now leaves the last good content in force. */
	if (!path || file_read(AT_FDCWD, path, &fresh, NULL) < 0 || fresh.len == 0) {
		buf_free(&fresh);
		return;
	}
	while (fresh.len && (fresh.data[fresh.len - 1] == '\n' || fresh.data[fresh.len - 1] == '\r') && path && b->max == TOKEN_MAX)
		fresh.data[--fresh.len] = '\0';
	buf_free(b);
	*b = fresh;
}

static void reread(struct kube_config *c)
{
	int64_t now = clock_mono_us();

	if (c->read_us && now - c->read_us < REREAD_US)
		return;
	reread_one(c->ca_file, &c->ca);
	reread_one(c->token_file, &c->token);
	c->read_us = now;
}

void kube_config_refresh(struct kube_config *c)
{
	pthread_mutex_lock(&c->lock);
	c->read_us = 0;
	pthread_mutex_unlock(&c->lock);
}

static void set_blob(CURL *easy, CURLoption option, const struct buf *b)
{
	struct curl_blob blob = { b->data, b->len, CURL_BLOB_COPY };

	if (b->len)
		curl_easy_setopt(easy, option, &blob);
}

static int add_token(const struct kube_config *c, struct curl_slist **headers, struct error *err)
{
	cleanup_buf struct buf h = BUF_INIT(TOKEN_MAX + 64);
	struct curl_slist *l;

	if (!c->token.len)
		return 0;
	if (buf_printf(&h, "Authorization: Bearer %s", c->token.data) < 0)
		return error_set(err, -ENOMEM, "token too long");
	l = curl_slist_append(*headers, h.data);
	explicit_bzero(h.data, h.len);
	if (!l)
		return error_set(err, -ENOMEM, "out of memory");
	*headers = l;
	return 0;
}

int kube_config_apply(struct kube_config *c, CURL *easy, struct curl_slist **headers, struct error *err)
{
	int r;

	pthread_mutex_lock(&c->lock);
	reread(c);
	/* As blobs: libcurl keeps CA stores for a day by file name and would not see a rotated file. */
	set_blob(easy, CURLOPT_CAINFO_BLOB, &c->ca);
	set_blob(easy, CURLOPT_SSLCERT_BLOB, &c->cert);
	set_blob(easy, CURLOPT_SSLKEY_BLOB, &c->key);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, c->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, c->insecure ? 0L : 2L);
	r = add_token(c, headers, err);
	pthread_mutex_unlock(&c->lock);
	return r;
}
