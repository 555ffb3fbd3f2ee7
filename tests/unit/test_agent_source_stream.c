/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/source_stream.c"

int source_answer(struct source *s, const struct wire_frame *f, struct error *err)
{
	(void)s;
	(void)f;
	return error_set(err, -EIO, "nothing is asked for here");
}

int control_check(struct control *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

int contents_add(const struct agent_options *o, const struct bundle *b, cJSON *out, struct error *err)
{
	(void)o;
	(void)b;
	(void)out;
	(void)err;
	return 0;
}

/* A node whose CRIU is being replaced. */
int node_facts(const struct agent_options *o, bool with_cpu, cJSON *out, struct error *err)
{
	(void)o;
	(void)with_cpu;
	(void)out;
	return error_set(err, -ENOENT, "no criu");
}

void node_words(const struct agent_options *o, cJSON *out)
{
	(void)o;
	cJSON_AddNumberToObject(out, "protocol", 1);
}

const char *lsm_of_label(const char *label)
{
	(void)label;
	return NULL;
}

int protocol_take(const cJSON *welcome, int *ret, struct error *err)
{
	(void)welcome;
	(void)ret;
	(void)err;
	return 0;
}

int source_ipc_owner(struct source *s)
{
	(void)s;
	return 0;
}

uint64_t source_state_bytes(struct source *s)
{
	(void)s;
	return 0;
}

static void who_dials_again_needs_no_criu(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	struct error err = { 0 };
	cJSON *hello;

	(void)state;
	assert_non_null(s);
	s->n = 1;
	snprintf(s->containers[0].info.name, sizeof(s->containers[0].info.name), "web");
	assert_null(hello_json(s, false, &err));
	assert_string_equal(err.message, "no criu");
	hello = hello_json(s, true, &err);
	assert_non_null(hello);
	assert_true(json_bool(hello, "resume"));
	assert_non_null(json_at(hello, "protocol"));
	cJSON_Delete(hello);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_dials_again_needs_no_criu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
