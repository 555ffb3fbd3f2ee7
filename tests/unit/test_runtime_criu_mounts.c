/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/criu_rpc.h"

/* criu_req: type RESTORE; opts with log_level 4 and ext_mnt {key, val} for /data, /etc/hosts and one without a source. */
static const uint8_t request[] = {
	0x08, 2, 0x12, 46, 0x48, 4,
	0xba, 0x01, 11, 0x0a, 5, '/', 'd', 'a', 't', 'a', 0x12, 2, '/', 'k',
	0xba, 0x01, 17, 0x0a, 10, '/', 'e', 't', 'c', '/', 'h', 'o', 's', 't', 's', 0x12, 3, '/', 'e', 't',
	0xba, 0x01, 7, 0x0a, 2, '/', 'x', 0x12, 1, '/',
};

static const char *known(void *ctx, const char *source, char *path, size_t size)
{
	(*(int *)ctx)++;
	return strcmp(source, "/k") ? NULL : (snprintf(path, size, "/lent/0"), path);
}

static void a_known_source_is_replaced_by_one_more_of_its_name(void **state)
{
	static const uint8_t more[] = { 0x12, 19, 0xba, 0x01, 16, 0x0a, 5, '/', 'd', 'a', 't', 'a', 0x12, 7, '/', 'l', 'e', 'n', 't', '/', '0' };
	cleanup_buf struct buf b = BUF_INIT(4096);
	int asked = 0;

	(void)state;
	assert_int_equal(buf_append(&b, request, sizeof(request)), 0);
	assert_int_equal(criu_rpc_replace_mounts(&b, known, &asked), 0);
	assert_int_equal(asked, 3);
	assert_int_equal(b.len, sizeof(request) + sizeof(more));
	assert_memory_equal(b.data, request, sizeof(request));
	assert_memory_equal(b.data + sizeof(request), more, sizeof(more));
}

static void what_is_no_request_is_refused(void **state)
{
	(void)state;
	for (size_t len = 1; len < sizeof(request); len++) {
		cleanup_buf struct buf b = BUF_INIT(4096);
		int asked = 0, r;

		assert_int_equal(buf_append(&b, request, len), 0);
		r = criu_rpc_replace_mounts(&b, known, &asked);
		assert_true(len == 2 ? r == 0 : r == -EBADMSG);
		assert_int_equal(b.len, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_known_source_is_replaced_by_one_more_of_its_name),
		cmocka_unit_test(what_is_no_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
