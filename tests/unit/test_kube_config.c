/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kube/config.h"
#include "kube/config_internal.h"

/* A kubeconfig whose cluster and user are given; the rest is right. */
#define WITH(cluster, user)                                                                                          \
	"current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]\n"                   \
	"clusters: [{name: k, cluster: {" cluster "}}]\nusers: [{name: u, user: {" user "}}]\n"
#define SERVER "server: 'https://h:6443'"
#define PEM64 "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="

/* Each bad input is refused with a message that names the field. */
static const struct {
	const char *yaml;
	int code;
	const char *message;
} bad[] = {
	{ "", -EINVAL, "kubeconfig is empty" },
	{ "just text", -EINVAL, "not a mapping" },
	{ "a: [b", -EINVAL, "not YAML, line" },
	{ "a: 1\na: 2\n", -EINVAL, "line 2: a is there twice" },
	{ "? [x]\n: y\n", -EINVAL, "a key is not a name" },
	{ "clusters: []\n", -EINVAL, "current-context is not set" },
	{ "current-context: c\n", -EINVAL, "contexts is missing or not a list" },
	{ "current-context: c\ncontexts: null\n", -EINVAL, "contexts is missing or not a list" },
	{ "current-context: c\ncontexts: [{name: d, context: {}}]\n", -EINVAL, "contexts has no entry named c" },
	{ "current-context: c\ncontexts: [{name: c}]\n", -EINVAL, "contexts: c: context is missing" },
	{ "current-context: c\ncontexts: [{name: c, context: {user: u}}]\n", -EINVAL, "contexts: c: cluster is missing" },
	{ "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\nclusters: []\n", -EINVAL, "clusters has no entry named k" },
	{ "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {" SERVER "}}]\n", -EINVAL,
	  "users is missing" },
	{ WITH("a: b", ""), -EINVAL, "clusters: k: server is missing" },
	{ WITH("server: 'http://h'", ""), -EINVAL, "clusters: k: server must be an https:// URL" },
	{ WITH("server: 'https://u:p@h'", ""), -EINVAL, "server must not hold a user" },
	{ WITH("server: 'https://h/?q=1'", ""), -EINVAL, "server must not hold a query" },
	{ WITH(SERVER ", proxy-url: 'http://p'", ""), -ENOTSUP, "clusters: k: proxy-url is not supported" },
	{ WITH(SERVER ", certificate-authority-data: '!!'", ""), -EINVAL, "clusters: k: certificate-authority-data: " },
	{ WITH(SERVER ", certificate-authority-data: aGVsbG8=", ""), -EINVAL, "this is not PEM" },
	{ WITH(SERVER ", certificate-authority: /none/ca.crt", ""), -ENOENT, "certificate-authority: open /none/ca.crt" },
	{ WITH(SERVER ", insecure-skip-tls-verify: true, certificate-authority-data: " PEM64, ""), -EINVAL, "exclude each other" },
	{ WITH(SERVER, "exec: {command: x}"), -ENOTSUP, "users: u: exec is not supported" },
	{ WITH(SERVER, "auth-provider: {name: x}"), -ENOTSUP, "auth-provider is not supported" },
	{ WITH(SERVER, "username: x, password: y"), -ENOTSUP, "username is not supported" },
	{ WITH(SERVER, "as: somebody"), -ENOTSUP, "as is not supported" },
	{ WITH(SERVER, "client-certificate-data: " PEM64), -EINVAL, "client-key is missing" },
	{ WITH(SERVER, "client-key-data: " PEM64), -EINVAL, "client-certificate is missing" },
	{ WITH(SERVER, "token: \"a\\r\\nX-Evil: 1\""), -EINVAL, "a byte that no token has" },
	{ WITH(SERVER, "tokenFile: /none/token"), -ENOENT, "tokenFile: open /none/token" },
};

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kube_config *c = NULL;
		struct error err = { 0 };
		int r = kube_config_parse(bad[i].yaml, strlen(bad[i].yaml), "/etc/x", NULL, &c, &err);

		if (r != bad[i].code || !strstr(err.message, bad[i].message))
			print_error("%zu: %d, \"%s\"; wanted %d, \"%s\"\n", i, r, err.message, bad[i].code, bad[i].message);
		assert_int_equal(r, bad[i].code);
		assert_non_null(strstr(err.message, bad[i].message));
		assert_null(c);
	}
}

static struct kube_config *parse(const char *yaml)
{
	struct kube_config *c = NULL;
	struct error err = { 0 };

	if (kube_config_parse(yaml, strlen(yaml), "/etc/x", NULL, &c, &err) < 0)
		fail_msg("%s", err.message);
	return c;
}

static void takes(void **state)
{
	struct kube_config *c;

	(void)state;
	c = parse(WITH("server: 'https://h:6443/prefix/', certificate-authority-data: " PEM64,
		       "client-certificate-data: " PEM64 ", client-key-data: " PEM64 ", token: abc"));
	assert_string_equal(kube_config_server(c), "https://h:6443/prefix");
	assert_string_equal(kube_config_namespace(c), "n");
	assert_string_equal(c->url, "https://h:6443/prefix");
	assert_string_equal(c->cred[CRED_TOKEN].text.data, "abc");
	assert_memory_equal(c->cred[CRED_CA].text.data, "-----BEGIN CERTIFICATE", 22);
	assert_false(c->insecure);
	kube_config_free(c);
}

/* The certificate is checked against tls-server-name, the connection goes to server. */
static void server_name(void **state)
{
	struct kube_config *c;

	(void)state;
	c = parse(WITH("server: 'https://10.0.0.1:6443', tls-server-name: kube.test", ""));
	assert_string_equal(c->url, "https://kube.test:6443");
	assert_string_equal(c->connect_to, "kube.test:6443:10.0.0.1:6443");
	assert_string_equal(kube_config_server(c), "https://10.0.0.1:6443");
	kube_config_free(c);
	c = parse(WITH("server: 'https://[fd00::1]:6443'", ""));
	assert_string_equal(c->url, "https://[fd00::1]:6443");
	assert_string_equal(c->connect_to, "");
	kube_config_free(c);
}

/* "null", "~" and nothing are as absent; JSON is YAML. */
static void null_is_absent(void **state)
{
	struct kube_config *c;

	(void)state;
	c = parse(WITH(SERVER ", proxy-url: null, certificate-authority-data: ~", "exec: null, token: "));
	assert_int_equal(c->cred[CRED_CA].text.len, 0);
	kube_config_free(c);
	c = parse("{\"current-context\":\"c\",\"contexts\":[{\"name\":\"c\",\"context\":{\"cluster\":\"k\"}}],"
		  "\"clusters\":[{\"name\":\"k\",\"cluster\":{\"server\":\"https://h\"}}]}");
	assert_string_equal(kube_config_namespace(c), "default");
	kube_config_free(c);
}

/* Aliases that double at each level. */
static void alias_bomb(void **state)
{
	char yaml[2048] = "a0: &a0 [x, x]\n";
	struct kube_config *c = NULL;
	struct error err = { 0 };

	(void)state;
	for (int i = 1; i < 25; i++)
		snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
	assert_int_equal(kube_config_parse(yaml, strlen(yaml), "/", NULL, &c, &err), -EINVAL);
	assert_non_null(strstr(err.message, "too many parts"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses),
		cmocka_unit_test(takes),
		cmocka_unit_test(server_name),
		cmocka_unit_test(null_is_absent),
		cmocka_unit_test(alias_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
