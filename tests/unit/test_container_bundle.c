/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/bundle.h"
#include "migration/reason.h"

static int setup(void **state)
{
	char *dir = strdup("/tmp/test-bundle-XXXXXX");

	assert_non_null(mkdtemp(dir));
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	tree_remove(AT_FDCWD, *state, NULL);
	free(*state);
	return 0;
}

static int load(const char *dir, const char *text, size_t len, struct bundle **b, struct error *e)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_int_equal(file_write(AT_FDCWD, path, text, len, 0600, false, NULL), 0);
	*e = (struct error){ 0 };
	*b = NULL;
	return bundle_load(AT_FDCWD, dir, b, e);
}

static const char kubelet[] =
	"{\"ociVersion\":\"1.2.0\",\"process\":{\"terminal\":true,\"args\":[\"/app\"]},\"root\":{\"path\":\"rootfs\"},\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/d\",\"options\":[\"rbind\",\"rw\"]},"
	"{\"destination\":\"/etc/hosts\",\"type\":\"none\",\"source\":\"/var/lib/kubelet/pods/u/etc-hosts\",\"options\":[\"bind\"]},"
	"{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"/y\"},{\"destination\":\"/sys\",\"type\":\"sysfs\"}],"
	"\"annotations\":{\"io.kubernetes.cri.sandbox-uid\":\"u\",\"a/b~c\":\"d\",\"number\":1},\"linux\":{\"cgroupsPath\":\"/kubepods/podu/c\","
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/var/run/netns/cni-1\"}]}}";

static void a_kubelets_config_is_read(void **state)
{
	struct bundle *b;
	struct error e;

	assert_int_equal(load(*state, kubelet, strlen(kubelet), &b, &e), 0);
	assert_int_equal(b->n_mounts, 5);
	assert_string_equal(b->mounts[1].destination, "/data");
	assert_string_equal(b->mounts[1].source, "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/d");
	assert_false(b->mounts[0].bind);
	assert_true(b->mounts[1].bind);
	assert_true(b->mounts[2].bind);
	assert_true(b->mounts[3].bind);
	assert_string_equal(b->mounts[4].source, "");
	assert_string_equal(b->cgroups_path, "/kubepods/podu/c");
	assert_string_equal(b->netns, "/var/run/netns/cni-1");
	assert_true(b->terminal);
	assert_string_equal(bundle_annotation(b, "io.kubernetes.cri.sandbox-uid"), "u");
	assert_string_equal(bundle_annotation(b, "a/b~c"), "d");
	assert_null(bundle_annotation(b, "number"));
	assert_null(bundle_annotation(b, "Io.kubernetes.cri.sandbox-uid"));
	bundle_free(b);
	bundle_free(NULL);
}

static void what_may_be_absent_is_empty(void **state)
{
	struct bundle *b;
	struct error e;

	assert_int_equal(load(*state, "{}", 2, &b, &e), 0);
	assert_int_equal(b->n_mounts, 0);
	assert_string_equal(b->cgroups_path, "");
	assert_string_equal(b->netns, "");
	assert_false(b->terminal);
	assert_int_equal(b->ids.count, 0);
	assert_null(bundle_annotation(b, "x"));
	bundle_free(b);
}

static const char users[] =
	"{\"mounts\":[{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/d\",\"uidMappings\":[{\"containerID\":0,\"hostID\":%u,\"size\":65536}]},"
	"{\"destination\":\"/dev/shm\",\"type\":\"bind\",\"source\":\"/s\"}],"
	"\"linux\":{\"uidMappings\":[{\"containerID\":0,\"hostID\":%u,\"size\":65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":%u,\"size\":%u}]}}";

static void a_user_namespace_is_one_range(void **state)
{
	struct bundle *b;
	struct error e;
	char text[1024];
	int n = snprintf(text, sizeof(text), users, 2971729920u, 2971729920u, 2971729921u, 65536u);

	assert_int_equal(load(*state, text, (size_t)n, &b, &e), 0);
	assert_int_equal(b->ids.uid, 2971729920u);
	assert_int_equal(b->ids.gid, 2971729921u);
	assert_int_equal(b->ids.count, 65536);
	assert_true(b->mounts[0].mapped);
	assert_false(b->mounts[1].mapped);
	bundle_free(b);
	/* Fewer groups than users; and the node's own root. */
	n = snprintf(text, sizeof(text), users, 1u, 100000u, 100000u, 1000u);
	assert_int_equal(load(*state, text, (size_t)n, &b, &e), -ENOTSUP);
	assert_int_equal(e.reason, REASON_UnsupportedContainer);
	n = snprintf(text, sizeof(text), users, 1u, 0u, 0u, 65536u);
	assert_int_equal(load(*state, text, (size_t)n, &b, &e), -ENOTSUP);
}

static void bundles_are_found_below_a_node_s_root(void **state)
{
	struct bundle *b;
	struct error e = { 0 };
	int root = open(*state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(mkdirat(root, "run", 0700), 0);
	assert_int_equal(file_write(root, "run/config.json", "{}", 2, 0600, false, NULL), 0);
	assert_int_equal(bundle_load(root, "/run", &b, &e), 0);
	bundle_free(b);
	assert_int_equal(bundle_load(root, "run", &b, &e), 0);
	bundle_free(b);
	assert_int_equal(bundle_load(root, "/", &b, &e), -ENOENT);
	close(root);
}

static void bad_configs_are_refused(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {
		{ "", -EINVAL },
		{ "[]", -EINVAL },
		{ "{\"mounts\":{}}", -EINVAL },
		{ "{\"mounts\":[{\"source\":\"/x\"}]}", -EINVAL },
		{ "{\"mounts\":[{\"destination\":1}]}", -EINVAL },
		{ "{\"mounts\":[null]}", -EINVAL },
		{ "{} {}", -EINVAL },
		{ "{\"mounts\":[{\"destination\":\"/a\"}", -EINVAL },
	};
	struct bundle *b;
	struct error e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(load(*state, cases[i].text, strlen(cases[i].text), &b, &e), cases[i].result);
		assert_null(b);
		assert_true(e.message[0]);
	}
}

static void limits_hold(void **state)
{
	struct buf t = BUF_INIT(4u << 20);
	struct bundle *b;
	struct error e;

	assert_int_equal(buf_puts(&t, "{\"mounts\":[{\"destination\":\"/0\"}"), 0);
	for (int i = 1; i < BUNDLE_MOUNTS_MAX; i++)
		assert_int_equal(buf_printf(&t, ",{\"destination\":\"/%d\"}", i), 0);
	assert_int_equal(buf_puts(&t, "]}"), 0);
	assert_int_equal(load(*state, t.data, t.len, &b, &e), 0);
	assert_int_equal(b->n_mounts, BUNDLE_MOUNTS_MAX);
	bundle_free(b);
	t.len -= 2;
	assert_int_equal(buf_puts(&t, ",{\"destination\":\"/more\"}]}"), 0);
	assert_int_equal(load(*state, t.data, t.len, &b, &e), -E2BIG);
	buf_reset(&t);
	assert_int_equal(buf_printf(&t, "{\"mounts\":[{\"destination\":\"/%01100d\"}]}", 0), 0);
	assert_int_equal(load(*state, t.data, t.len, &b, &e), -ENAMETOOLONG);
	buf_reset(&t);
	assert_int_equal(buf_printf(&t, "{\"linux\":{\"cgroupsPath\":\"/%01100d\"}}", 0), 0);
	assert_int_equal(load(*state, t.data, t.len, &b, &e), -ENAMETOOLONG);
	buf_reset(&t);
	assert_int_equal(buf_printf(&t, "{\"x\":\"%01048576d\"}", 0), 0);
	assert_int_equal(load(*state, t.data, t.len, &b, &e), -EFBIG);
	buf_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_kubelets_config_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(what_may_be_absent_is_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(a_user_namespace_is_one_range, setup, teardown),
		cmocka_unit_test_setup_teardown(bundles_are_found_below_a_node_s_root, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_configs_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_hold, setup, teardown),
	};

	return cmocka_run_group_tests_name("container bundle", tests, NULL, NULL);
}
