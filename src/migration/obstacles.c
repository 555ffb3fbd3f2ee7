/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/obstacles.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "migration/reason.h"

#define NAME_ROOM 32                    /* for "; REASON: " */
#define MORE_ROOM 64                    /* for "; and N more of REASON" */

void obstacles_at(struct obstacles *o, const char *kind, const char *name)
{
	o->place = o->n;
	o->prefix[0] = '\0';
	if (kind)
		snprintf(o->prefix, sizeof(o->prefix), "%s %s: ", kind, name);
}

/* The last one of this reason in the present place when there are as many as are kept; -1: one more may be kept. */
static int full(const struct obstacles *o, int reason)
{
	int alike = 0, last = -1;

	for (int i = o->place; i < o->n; i++)
		if (o->items[i].reason == reason) {
			alike++;
			last = i;
		}
	return alike < OBSTACLES_ALIKE_MAX ? -1 : last;
}

static int first_of(const struct obstacles *o, int reason)
{
	for (int i = 0; i < o->n; i++)
		if (o->items[i].reason == reason)
			return i;
	return -1;
}

static bool is_first(const struct obstacles *o, int i)
{
	return first_of(o, o->items[i].reason) == i;
}

/* The last one whose reason has another one before it; -1: each has a reason of its own. */
static int last_alike(const struct obstacles *o)
{
	int i = o->n - 1;

	while (i >= 0 && is_first(o, i))
		i--;
	return i;
}

/* No place is left for another one: a reason that is new takes that of the last one that can be counted with the first of its own. */
static void make_room(struct obstacles *o, int reason)
{
	int first = first_of(o, reason), out = last_alike(o);

	if (first >= 0) {
		o->more[first]++;
		return;
	}
	if (out < 0)
		return;
	o->more[first_of(o, o->items[out].reason)] += 1 + o->more[out];
	o->n--;
	memmove(&o->items[out], &o->items[out + 1], (size_t)(o->n - out) * sizeof(o->items[0]));
	memmove(&o->more[out], &o->more[out + 1], (size_t)(o->n - out) * sizeof(o->more[0]));
	if (out < o->place)
		o->place--;
}

/* Where the next one of this reason goes; NULL: it was only counted. */
static struct obstacle *next_place(struct obstacles *o, int reason)
{
	int last = full(o, reason);

	if (last >= 0) {
		o->more[last]++;
		return NULL;
	}
	if (o->n == OBSTACLES_MAX)
		make_room(o, reason);
	return o->n == OBSTACLES_MAX ? NULL : &o->items[o->n];
}

static bool said(const struct obstacles *o, const struct obstacle *one)
{
	for (int i = 0; i < o->n; i++)
		if (o->items[i].reason == one->reason && !strcmp(o->items[i].text, one->text))
			return true;
	return false;
}

void obstacles_add(struct obstacles *o, int reason, const char *fmt, ...)
{
	struct obstacle one = { .reason = reason }, *next;
	size_t n = (size_t)snprintf(one.text, sizeof(one.text), "%s", o->prefix);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(one.text + n, sizeof(one.text) - n, fmt, ap);
	va_end(ap);
	/* The same sentence a second time tells nothing. */
	next = said(o, &one) ? NULL : next_place(o, reason);
	if (!next)
		return;
	*next = one;
	o->more[o->n++] = 0;
}

void obstacles_take(struct obstacles *o, int code, const struct error *found)
{
	if (code < 0)
		obstacles_add(o, found->reason, "%s", found->message);
}

/* --- all as one --- */

/* Which are told, and how much of each text. */
struct told {
	bool shown[OBSTACLES_MAX];
	int width;
};

static size_t cost(const struct obstacles *o, int i)
{
	return strlen(o->items[i].text) + NAME_ROOM + (is_first(o, i) ? MORE_ROOM : 0);
}

/* Of each reason the first, whatever it takes, and then as many of the others as fit, in their order. */
static void choose(const struct obstacles *o, size_t room, struct told *t)
{
	size_t sum = 0, reasons = 0;

	for (int i = 0; i < o->n; i++)
		if (is_first(o, i)) {
			t->shown[i] = true;
			sum += cost(o, i);
			reasons++;
		}
	t->width = OBSTACLE_TEXT;
	if (sum > room) {
		t->width = room / reasons > NAME_ROOM + MORE_ROOM ? (int)(room / reasons - NAME_ROOM - MORE_ROOM) : 0;
		return;
	}
	for (int i = 0; i < o->n; i++)
		if (!t->shown[i] && sum + cost(o, i) <= room) {
			t->shown[i] = true;
			sum += cost(o, i);
		}
}

static int hidden(const struct obstacles *o, const struct told *t, int reason)
{
	int n = 0;

	for (int i = 0; i < o->n; i++)
		if (o->items[i].reason == reason)
			n += o->more[i] + !t->shown[i];
	return n;
}

static void __attribute__((format(printf, 2, 3))) append(struct error *err, const char *fmt, ...)
{
	size_t len = strlen(err->message);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->message + len, sizeof(err->message) - len, fmt, ap);
	va_end(ap);
}

static void append_one(const struct obstacles *o, int i, int width, struct error *err)
{
	if (i)
		append(err, "; ");
	if (i && o->items[i].reason != REASON_NONE)
		append(err, "%s: ", reason_name(o->items[i].reason));
	append(err, "%.*s", width, o->items[i].text);
}

int obstacles_error(const struct obstacles *o, struct error *err)
{
	struct told t = { 0 };

	if (!o->n)
		return 0;
	*err = (struct error){ .reason = o->items[0].reason };
	choose(o, sizeof(err->message) - 1, &t);
	for (int i = 0; i < o->n; i++)
		if (t.shown[i])
			append_one(o, i, t.width, err);
	for (int i = 0; i < o->n; i++) {
		int n = is_first(o, i) ? hidden(o, &t, o->items[i].reason) : 0;

		if (n)
			append(err, "; and %d more of %s", n, o->items[i].reason == REASON_NONE ? "the kind" : reason_name(o->items[i].reason));
	}
	/* It may have been cut within a character. */
	text_clean(err->message);
	return -ENOTSUP;
}
