/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migration/obstacles.h"
#include "migration/reason.h"

static struct obstacles found;
static struct error all;

static void nothing_is_nothing(void **state)
{
	const struct error none = { 0 };

	(void)state;
	memset(&found, 0, sizeof(found));
	obstacles_take(&found, 0, &none);
	assert_int_equal(obstacles_error(&found, &all), 0);
}

static void all_of_it_with_its_reasons(void **state)
{
	const struct error other = { .reason = REASON_NONE, .message = "the rest could not be looked at" };

	(void)state;
	memset(&found, 0, sizeof(found));
	obstacles_add(&found, REASON_IOUringInUse, "process %d uses it", 7);
	obstacles_at(&found, "container", "web");
	obstacles_add(&found, REASON_DeviceInUse, "process 8 has /dev/kvm open");
	obstacles_add(&found, REASON_IOUringInUse, "process 9 uses it");
	obstacles_add(&found, REASON_DeviceInUse, "process 8 has /dev/kvm open");
	obstacles_at(&found, NULL, NULL);
	obstacles_take(&found, -EIO, &other);
	assert_int_equal(obstacles_error(&found, &all), -ENOTSUP);
	assert_int_equal(all.reason, REASON_IOUringInUse);
	assert_string_equal(all.message, "process 7 uses it; DeviceInUse: container web: process 8 has /dev/kvm open; IOUringInUse: container web: process 9 uses it; the rest could not be looked at");
}

static int count(const char *text, const char *word)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, word)); p++)
		n++;
	return n;
}

/* The workers of one program are all alike; a second container, and another reason, are told all the same. */
static void alike_ones_are_counted(void **state)
{
	(void)state;
	memset(&found, 0, sizeof(found));
	for (int c = 0; c < 2; c++) {
		obstacles_at(&found, "container", c ? "b" : "a");
		for (int i = 0; i < 20; i++)
			obstacles_add(&found, REASON_IOUringInUse, "worker %d", i);
		obstacles_add(&found, REASON_DeviceInUse, "a device");
	}
	assert_int_equal(found.n, 2 * OBSTACLES_ALIKE_MAX + 2);
	obstacles_error(&found, &all);
	assert_int_equal(count(all.message, "container a: worker"), OBSTACLES_ALIKE_MAX);
	assert_int_equal(count(all.message, "container b: worker"), OBSTACLES_ALIKE_MAX);
	assert_int_equal(count(all.message, "DeviceInUse: container"), 2);
	assert_non_null(strstr(all.message, "; and 24 more of IOUringInUse"));
	assert_null(strstr(all.message, "more of DeviceInUse"));
}

static int number_before(const char *word)
{
	const char *p = strstr(all.message, word);
	int n = 0;

	for (; p && p > all.message && p[-1] != ' ';)
		p--;
	return p && sscanf(p, "%d", &n) == 1 ? n : 0;
}

/* However long the texts are and however many reasons there are, each reason is there, and what is not told is counted. */
static void no_reason_is_lost(void **state)
{
	char text[OBSTACLE_TEXT];

	(void)state;
	for (int length = 20; length < OBSTACLE_TEXT; length += 150)
		for (int reasons = 1; reasons <= 20; reasons++) {
			memset(&found, 0, sizeof(found));
			memset(text, 'x', sizeof(text));
			text[length] = '\0';
			for (int i = 0; i < 10; i++)
				for (int k = 0; k < reasons; k++)
					obstacles_add(&found, REASON_PodNotFound + k, "%.*s%d", length - 1, text, i);
			assert_in_range(found.n, reasons, OBSTACLES_MAX);
			assert_int_equal(obstacles_error(&found, &all), -ENOTSUP);
			assert_true(strlen(all.message) < sizeof(all.message));
			for (int k = 0; k < reasons; k++) {
				const char *name = reason_name(REASON_PodNotFound + k);
				char told[64], more[64];
				int n;

				snprintf(told, sizeof(told), "; %s: x", name);
				snprintf(more, sizeof(more), " more of %s", name);
				n = count(all.message, told) + (k == 0);
				assert_true(n >= 1);
				if (n + number_before(more) != 10)
					fail_msg("%d reasons, %d bytes each: not ten of %s: %s", reasons, length, name, all.message);
			}
		}
}

/* A pod of more containers than can be kept: a reason that comes last has a place. */
static void the_last_reason_has_a_place(void **state)
{
	(void)state;
	memset(&found, 0, sizeof(found));
	for (int c = 0; c < 20; c++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", c);
		obstacles_at(&found, "container", name);
		for (int i = 0; i < 8; i++)
			obstacles_add(&found, REASON_IOUringInUse, "w%d", i);
	}
	obstacles_add(&found, REASON_DeviceInUse, "a device");
	obstacles_error(&found, &all);
	assert_non_null(strstr(all.message, "; DeviceInUse: container c19: a device"));
	assert_int_equal(count(all.message, ": w") + number_before(" more of IOUringInUse"), 160);
}

/* Two that are new and come last, each once: neither takes the other's place. */
static void who_is_alone_keeps_its_place(void **state)
{
	static const int reasons[] = { REASON_UnsupportedFile, REASON_UnsupportedContainer };

	(void)state;
	memset(&found, 0, sizeof(found));
	for (int c = 0; c < 4; c++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", c);
		obstacles_at(&found, "container", name);
		for (int i = 0; i < 16; i++)
			obstacles_add(&found, reasons[i / 8], "w%d", i);
	}
	obstacles_at(&found, "container", "last");
	obstacles_add(&found, REASON_TerminalAttached, "a terminal");
	obstacles_add(&found, REASON_DeviceInUse, "a device");
	for (int i = 0; i < 12; i++)
		obstacles_add(&found, REASON_IOUringInUse, "ring %d", i);
	assert_int_equal(found.n, OBSTACLES_MAX);
	obstacles_error(&found, &all);
	assert_int_equal(all.reason, REASON_UnsupportedFile);
	assert_non_null(strstr(all.message, "; TerminalAttached: container last: a terminal"));
	assert_non_null(strstr(all.message, "; DeviceInUse: container last: a device"));
	assert_non_null(strstr(all.message, "; IOUringInUse: container last: ring 0"));
	assert_int_equal(count(all.message, ": ring") + number_before(" more of IOUringInUse"), 12);
	assert_int_equal(count(all.message, ": w") + number_before(" more of UnsupportedFile") + number_before(" more of UnsupportedContainer"), 64);
}

/* With as many reasons as there are places none can be put aside. */
static void more_reasons_than_places(void **state)
{
	(void)state;
	memset(&found, 0, sizeof(found));
	for (int i = 0; i < OBSTACLES_MAX; i++)
		obstacles_add(&found, 1000 + i, "x");
	obstacles_add(&found, REASON_DeviceInUse, "a device");
	assert_int_equal(found.n, OBSTACLES_MAX);
	assert_int_equal(found.items[OBSTACLES_MAX - 1].reason, 1000 + OBSTACLES_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_nothing), cmocka_unit_test(all_of_it_with_its_reasons), cmocka_unit_test(alike_ones_are_counted), cmocka_unit_test(no_reason_is_lost),
		cmocka_unit_test(the_last_reason_has_a_place), cmocka_unit_test(who_is_alone_keeps_its_place), cmocka_unit_test(more_reasons_than_places),
	};

	return cmocka_run_group_tests_name("obstacles", tests, NULL, NULL);
}
