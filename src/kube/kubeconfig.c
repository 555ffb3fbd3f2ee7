/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/json.h"
#include "config_internal.h"

/* A kubeconfig is turned from YAML into JSON first, so that one set of getters reads everything. */

#define KUBECONFIG_MAX (1u << 20)
/* Aliases can make a small text huge: what comes out is bounded too. */
#define DEPTH_MAX 32
#define NODES_MAX 20000
#define TEXT_MAX (4u << 20)

struct conversion {
	yaml_document_t *doc;
	int nodes;
	size_t text;
	struct error *err;
};

static cJSON *to_json(struct conversion *v, yaml_node_t *n, int depth);

static bool is_null(const yaml_node_t *n)
{
	static const char *const null[] = { "", "~", "null", "Null", "NULL" };

	if (n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(null) / sizeof(null[0]); i++)
		if (!strcmp((const char *)n->data.scalar.value, null[i]))
			return true;
	return false;
}

static cJSON *scalar_to_json(struct conversion *v, yaml_node_t *n)
{
	v->text += n->data.scalar.length;
	if (v->text > TEXT_MAX) {
		error_set(v->err, -EINVAL, "kubeconfig: aliases make it larger than %u bytes", TEXT_MAX);
		return NULL;
	}
	if (strlen((const char *)n->data.scalar.value) != n->data.scalar.length) {
		error_set(v->err, -EINVAL, "kubeconfig: line %zu holds a NUL byte", n->start_mark.line + 1);
		return NULL;
	}
	return is_null(n) ? cJSON_CreateNull() : cJSON_CreateString((const char *)n->data.scalar.value);
}

static cJSON *sequence_to_json(struct conversion *v, yaml_node_t *n, int depth)
{
	cJSON *o = cJSON_CreateArray();

	for (yaml_node_item_t *i = n->data.sequence.items.start; o && i < n->data.sequence.items.top; i++) {
		cJSON *e = to_json(v, yaml_document_get_node(v->doc, *i), depth + 1);

		if (!e || !cJSON_AddItemToArray(o, e)) {
			cJSON_Delete(e);
			cJSON_Delete(o);
			return NULL;
		}
	}
	return o;
}

static cJSON *mapping_to_json(struct conversion *v, yaml_node_t *n, int depth)
{
	cJSON *o = cJSON_CreateObject(), *e = NULL;

	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; o && p < n->data.mapping.pairs.top; p++) {
		yaml_node_t *k = yaml_document_get_node(v->doc, p->key);
		const char *key;

		if (!k || k->type != YAML_SCALAR_NODE) {
			error_set(v->err, -EINVAL, "kubeconfig: line %zu: a key is not a name", n->start_mark.line + 1);
			goto bad;
		}
		key = (const char *)k->data.scalar.value;
		if (cJSON_GetObjectItemCaseSensitive(o, key)) {
			error_set(v->err, -EINVAL, "kubeconfig: line %zu: %.100s is there twice", k->start_mark.line + 1, key);
			goto bad;
		}
		e = to_json(v, yaml_document_get_node(v->doc, p->value), depth + 1);
		if (!e || !cJSON_AddItemToObject(o, key, e)) {
			cJSON_Delete(e);
			goto bad;
		}
	}
	return o;
bad:
	cJSON_Delete(o);
	return NULL;
}

static cJSON *to_json(struct conversion *v, yaml_node_t *n, int depth)
{
	if (!n || depth > DEPTH_MAX || ++v->nodes > NODES_MAX) {
		error_set(v->err, -EINVAL, "kubeconfig is empty, nested too deeply or has too many parts");
		return NULL;
	}
	if (n->type == YAML_SCALAR_NODE)
		return scalar_to_json(v, n);
	if (n->type == YAML_SEQUENCE_NODE)
		return sequence_to_json(v, n, depth);
	return mapping_to_json(v, n, depth);
}

static int yaml_to_json(const char *text, size_t len, cJSON **ret, struct error *err)
{
	yaml_document_t doc;
	yaml_parser_t parser;
	struct conversion v = { &doc, 0, 0, err };

	if (!yaml_parser_initialize(&parser))
		return error_set(err, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		error_set(err, -EINVAL, "kubeconfig is not YAML, line %zu: %s", parser.problem_mark.line + 1,
			  parser.problem ? parser.problem : "syntax");
		yaml_parser_delete(&parser);
		return -EINVAL;
	}
	*ret = to_json(&v, yaml_document_get_root_node(&doc), 0);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	if (!*ret)
		return -EINVAL;
	return cJSON_IsObject(*ret) ? 0 : error_set(err, -EINVAL, "kubeconfig is not a mapping");
}

/* --- the parts of a kubeconfig --- */

static const char *str(const cJSON *o, const char *key)
{
	const char *s = json_str(o, key);

	return s && *s ? s : NULL;
}

/* The inner object ("cluster", "user", "context") of the entry of this name. */
static int named(const cJSON *root, const char *list, const char *inner, const char *name, const cJSON **ret, struct error *err)
{
	const cJSON *all = json_at(root, list), *e;

	if (!cJSON_IsArray(all))
		return error_set(err, -EINVAL, "kubeconfig: %s is missing or not a list", list);
	cJSON_ArrayForEach(e, all)
	{
		if (strcmp(json_str_or(e, "name", ""), name))
			continue;
		*ret = json_at(e, inner);
		if (!cJSON_IsObject(*ret))
			return error_set(err, -EINVAL, "kubeconfig: %s: %s: %s is missing or not a mapping", list, name, inner);
		return 0;
	}
	return error_set(err, -EINVAL, "kubeconfig: %s has no entry named %s", list, name);
}

static int take_data(struct kube_config *c, int which, const char *key, const char *data, struct error *err)
{
	struct buf text = BUF_INIT(KUBECONFIG_MAX), pem = BUF_INIT(KUBECONFIG_MAX);
	int r = 0;

	/* Folded over lines in block scalars. */
	for (const char *p = data; *p && r == 0; p++)
		if (!strchr(" \t\r\n", *p))
			r = buf_append(&text, p, 1);
	if (r < 0 || !text.len || base64_decode(text.data, text.len, &pem) < 0)
		r = error_set(err, -EINVAL, "%s-data is not base64", key);
	else
		r = kube_config_set_text(c, which, pem.data ? pem.data : "", pem.len, err);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	if (pem.data)
		explicit_bzero(pem.data, pem.cap);
	buf_free(&text);
	buf_free(&pem);
	return r;
}

static int take_file(struct kube_config *c, int which, const char *path, const char *base_dir, struct error *err)
{
	char full[4096];
	int r = path[0] == '/' ? path_format(full, sizeof(full), "%s", path) : path_format(full, sizeof(full), "%s/%s", base_dir, path);

	return r < 0 ? error_set(err, r, "path too long") : kube_config_set_file(c, which, full, err);
}

/* KEY-data (base64) wins over KEY (a file), as in client-go. */
static int take_pem(struct kube_config *c, int which, const cJSON *o, const char *key, const char *base_dir, struct error *err)
{
	char data_key[64];
	const char *data, *file = str(o, key);
	int r = 0;

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	data = str(o, data_key);
	if (data)
		r = take_data(c, which, key, data, err);
	else if (file)
		r = take_file(c, which, file, base_dir, err);
	return r < 0 ? error_wrap(err, r, "%s", data ? data_key : key) : 0;
}

static int refuse_unsupported(const cJSON *o, const char *const *keys, const char *instead, struct error *err)
{
	for (; *keys; keys++)
		if (json_at(o, *keys) && !cJSON_IsNull(json_at(o, *keys)))
			return error_set(err, -ENOTSUP, "%s is not supported; %s", *keys, instead);
	return 0;
}

static int take_cluster(struct kube_config *c, const cJSON *cluster, const char *base_dir, struct error *err)
{
	static const char *const unsupported[] = { "proxy-url", NULL };
	const char *server = str(cluster, "server");
	int r = refuse_unsupported(cluster, unsupported, "name a server that is reached directly", err);

	if (r < 0)
		return r;
	if (!server)
		return error_set(err, -EINVAL, "server is missing");
	r = kube_config_set_server(c, server, str(cluster, "tls-server-name"), err);
	if (r < 0)
		return r;
	c->insecure = !strcmp(json_str_or(cluster, "insecure-skip-tls-verify", "false"), "true");
	r = take_pem(c, CRED_CA, cluster, "certificate-authority", base_dir, err);
	if (r == 0 && c->insecure && c->cred[CRED_CA].text.len)
		r = error_set(err, -EINVAL, "certificate-authority and insecure-skip-tls-verify exclude each other");
	return r;
}

static int take_user(struct kube_config *c, const cJSON *user, const char *base_dir, struct error *err)
{
	static const char *const unsupported[] = { "exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups",
						   "as-user-extra", NULL };
	const char *token = str(user, "token"), *file = str(user, "tokenFile");
	int r = refuse_unsupported(user, unsupported, "use a client certificate or a token", err);

	if (r == 0)
		r = take_pem(c, CRED_CERT, user, "client-certificate", base_dir, err);
	if (r == 0)
		r = take_pem(c, CRED_KEY, user, "client-key", base_dir, err);
	if (r < 0)
		return r;
	if ((c->cred[CRED_CERT].text.len == 0) != (c->cred[CRED_KEY].text.len == 0))
		return error_set(err, -EINVAL, "client-certificate and client-key go together; %s is missing",
				 c->cred[CRED_KEY].text.len ? "client-certificate" : "client-key");
	if (file) {
		r = take_file(c, CRED_TOKEN, file, base_dir, err);
		return r < 0 ? error_wrap(err, r, "tokenFile") : 0;
	}
	return token ? kube_config_set_text(c, CRED_TOKEN, token, strlen(token), err) : 0;
}

static int take_context(struct kube_config *c, const cJSON *root, const char *base_dir, const char *context, struct error *err)
{
	const char *name = context ? context : str(root, "current-context"), *cluster_name, *user_name;
	const cJSON *ctx = NULL, *cluster = NULL, *user = NULL;
	int r;

	if (!name)
		return error_set(err, -EINVAL, "kubeconfig: current-context is not set");
	r = named(root, "contexts", "context", name, &ctx, err);
	if (r < 0)
		return r;
	cluster_name = str(ctx, "cluster");
	user_name = str(ctx, "user");
	if (!cluster_name)
		return error_set(err, -EINVAL, "kubeconfig: contexts: %s: cluster is missing", name);
	if (path_format(c->ns, sizeof(c->ns), "%s", str(ctx, "namespace") ? str(ctx, "namespace") : "default") < 0)
		return error_set(err, -EINVAL, "kubeconfig: contexts: %s: namespace is too long", name);
	r = named(root, "clusters", "cluster", cluster_name, &cluster, err);
	if (r < 0)
		return r;
	r = take_cluster(c, cluster, base_dir, err);
	if (r < 0)
		return error_wrap(err, r, "kubeconfig: clusters: %s", cluster_name);
	if (!user_name)
		return 0;
	r = named(root, "users", "user", user_name, &user, err);
	if (r < 0)
		return r;
	r = take_user(c, user, base_dir, err);
	return r < 0 ? error_wrap(err, r, "kubeconfig: users: %s", user_name) : 0;
}

int kube_config_parse(const char *yaml, size_t len, const char *base_dir, const char *context, struct kube_config **ret, struct error *err)
{
	cleanup_json cJSON *root = NULL;
	struct kube_config *c;
	int r;

	if (len > KUBECONFIG_MAX)
		return error_set(err, -EFBIG, "kubeconfig is larger than %u bytes", KUBECONFIG_MAX);
	r = yaml_to_json(yaml ? yaml : "", yaml ? len : 0, &root, err);
	if (r < 0)
		return r;
	c = kube_config_alloc();
	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	r = take_context(c, root, base_dir, context, err);
	if (r < 0) {
		kube_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}
