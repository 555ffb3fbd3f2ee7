/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/room.h"

#define NODE "{\"metadata\":{\"name\":\"n\"},\"status\":{\"allocatable\":{\"cpu\":\"2\",\"memory\":\"1Gi\"}}}"
#define ASKS(cpu, memory) "{\"resources\":{\"requests\":{\"cpu\":\"" cpu "\",\"memory\":\"" memory "\"}}}"
#define SIDECAR "{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"memory\":\"1Mi\"}}}"
#define INIT "{\"resources\":{\"requests\":{\"memory\":\"9Gi\"}}}"
#define POD(containers, init) "{\"spec\":{\"containers\":[" containers "],\"initContainers\":[" init "]}}"

static void what_never_fits_is_named(void **state)
{
	static const struct {
		const char *pod, *node, *says;  /* NULL: it fits */
	} cases[] = {
		{ POD(ASKS("500m", "512Mi") "," ASKS("1500m", "512Mi"), ""), NODE, NULL },
		{ POD(ASKS("500m", "512Mi") "," ASKS("1501m", "512Mi"), ""), NODE, "2.001 cpu, node n has 2" },
		{ POD(ASKS("1", "1Gi"), SIDECAR), NODE, "memory, node n has 1Gi" },
		{ POD(ASKS("1", "1Gi"), INIT), NODE, NULL },
		{ POD("{}", ""), NODE, NULL },
		{ POD(ASKS("99", "1Gi"), ""), "{\"metadata\":{\"name\":\"n\"}}", NULL },
		{ POD(ASKS("much", "1Gi"), ""), NODE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *pod = cJSON_Parse(cases[i].pod), *node = cJSON_Parse(cases[i].node);
		char text[200] = "";

		assert_non_null(pod);
		assert_int_equal(room_fits(pod, node, text, sizeof(text)), !cases[i].says);
		if (cases[i].says && !strstr(text, cases[i].says))
			fail_msg("case %zu: %s", i, text);
		cJSON_Delete(pod);
		cJSON_Delete(node);
	}
}

static void pressure(void **state)
{
	cJSON *full = cJSON_Parse("{\"status\":{\"conditions\":[{\"type\":\"MemoryPressure\",\"status\":\"False\"},{\"type\":\"DiskPressure\",\"status\":\"True\"}]}}");
	cJSON *well = cJSON_Parse("{\"status\":{\"conditions\":[{\"type\":\"MemoryPressure\",\"status\":\"False\"},{\"type\":\"Ready\",\"status\":\"True\"}]}}");

	(void)state;
	assert_string_equal(room_pressure(full), "DiskPressure");
	assert_null(room_pressure(well));
	assert_null(room_pressure(NULL));
	cJSON_Delete(full);
	cJSON_Delete(well);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_never_fits_is_named),
		cmocka_unit_test(pressure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
