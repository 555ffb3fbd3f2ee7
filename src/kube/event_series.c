/* SPDX-License-Identifier: Apache-2.0 */
#include "event_series.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/text.h"

#define NAME_KEPT 220           /* of 253, with a dot and 16 digits behind it */

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* Two independent 64-bit hashes of the chain of strings. */
static void hash_string(uint64_t key[2], const char *s)
{
	size_t n = strlen(or_empty(s)) + 1;

	for (int i = 0; i < 2; i++)
		key[i] = XXH3_64bits_withSeed(or_empty(s), n, key[i]);
}

static void hash_ref(uint64_t key[2], const struct kube_object_ref *r)
{
	static const struct kube_object_ref none = { 0 };
	const struct kube_object_ref *v = r ? r : &none;

	hash_string(key, v->api_version);
	hash_string(key, v->kind);
	hash_string(key, v->ns);
	hash_string(key, v->name);
	hash_string(key, v->uid);
}

/* client-go leaves the note out; with it, no sentence is lost in a count. */
static void key_of(const struct event_text *e, uint64_t key[2])
{
	key[0] = 1;
	key[1] = 2;
	hash_ref(key, e->regarding);
	hash_ref(key, e->related);
	hash_string(key, e->type);
	hash_string(key, e->reason);
	hash_string(key, e->action);
	hash_string(key, e->note);
}

static bool has_key(const struct series *s, const uint64_t key[2])
{
	return s->used && s->key[0] == key[0] && s->key[1] == key[1];
}

/* Its entry, or the one to use for it: a free one, else the one that was quiet for longest. */
static struct series *find(struct series_table *t, const uint64_t key[2])
{
	struct series *best = &t->entry[0];

	for (int i = 0; i < SERIES_MAX; i++) {
		struct series *s = &t->entry[i];

		if (has_key(s, key))
			return s;
		if (best->used && (!s->used || s->last_us < best->last_us))
			best = s;
	}
	return best;
}

/* Cuts at a character's start: the API server makes three bytes of one that is no UTF-8, and the note too long. */
static void cut_note(const char *note, char out[EVENT_NOTE_MAX + 1])
{
	size_t n = strlen(note);

	if (n > EVENT_NOTE_MAX)
		for (n = EVENT_NOTE_MAX; n && ((unsigned char)note[n] & 0xc0) == 0x80; n--)
			continue;
	memcpy(out, note, n);
	out[n] = '\0';
	text_clean(out);
}

static void add_ref(cJSON *o, const char *key, const struct kube_object_ref *r)
{
	cJSON *ref = cJSON_AddObjectToObject(o, key);
	const char *const field[][2] = { { "apiVersion", r->api_version }, { "kind", r->kind }, { "namespace", r->ns }, { "name", r->name },
					 { "uid", r->uid } };

	for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++)
		if (field[i][1] && *field[i][1])
			cJSON_AddStringToObject(ref, field[i][0], field[i][1]);
}

static cJSON *event_object(const struct series *s, const struct event_source *src, const struct event_text *e, int64_t real_us)
{
	char now[CLOCK_RFC3339_SIZE], note[EVENT_NOTE_MAX + 1];
	cJSON *o = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(o, "metadata");
	const char *const field[][2] = { { "apiVersion", "events.k8s.io/v1" }, { "kind", "Event" }, { "eventTime", now },
					 { "reportingController", src->controller }, { "reportingInstance", src->instance },
					 { "type", e->type }, { "reason", e->reason }, { "action", e->action }, { "note", note } };

	clock_rfc3339(real_us, 0, now);
	cut_note(e->note, note);
	cJSON_AddStringToObject(meta, "name", s->name);
	cJSON_AddStringToObject(meta, "namespace", s->ns);
	for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++)
		cJSON_AddStringToObject(o, field[i][0], field[i][1]);
	add_ref(o, "regarding", e->regarding);
	if (e->related)
		add_ref(o, "related", e->related);
	return o;
}

/* As client-go names them: the object's name and a number that does not come twice.  A long name is cut where a name may end. */
static void name_event(char *out, size_t size, const char *object, unsigned long long number)
{
	size_t n = strnlen(object, NAME_KEPT);

	while (n && (object[n - 1] == '-' || object[n - 1] == '.'))
		n--;
	snprintf(out, size, "%.*s.%llx", (int)n, object, number);
}

cJSON *series_note(struct series_table *t, const struct event_source *src, const struct event_text *e, uint64_t serial, int64_t now_us,
		   int64_t real_us, const char **ret_ns)
{
	uint64_t key[2];
	struct series *s;

	key_of(e, key);
	s = find(t, key);
	if (has_key(s, key) && now_us - s->last_us <= SERIES_WINDOW_US) {
		s->count++;
		s->last_us = now_us;
		s->last_real_us = real_us;
		return NULL;
	}
	*s = (struct series){ .used = true, .key = { key[0], key[1] }, .count = 1, .written = 1, .last_us = now_us, .last_real_us = real_us };
	/* Events of objects outside namespaces live in "default", as client-go's do. */
	snprintf(s->ns, sizeof(s->ns), "%s", *or_empty(e->regarding->ns) ? e->regarding->ns : "default");
	name_event(s->name, sizeof(s->name), e->regarding->name, (unsigned long long)real_us + serial);
	*ret_ns = s->ns;
	return event_object(s, src, e, real_us);
}

struct series *series_due(struct series_table *t, bool all, int64_t now_us, int64_t *ret_at)
{
	*ret_at = INT64_MAX;
	for (int i = 0; i < SERIES_MAX; i++) {
		struct series *s = &t->entry[i];
		int64_t at = s->written_us ? s->written_us + SERIES_PATCH_US : now_us;

		if (!s->used || s->written == s->count)
			continue;
		if (all || at <= now_us)
			return s;
		if (at < *ret_at)
			*ret_at = at;
	}
	return NULL;
}

cJSON *series_patch(const struct series *s)
{
	cJSON *o = cJSON_CreateObject(), *series = cJSON_AddObjectToObject(o, "series");
	char last[CLOCK_RFC3339_SIZE];

	clock_rfc3339(s->last_real_us, 0, last);
	cJSON_AddNumberToObject(series, "count", s->count);
	cJSON_AddStringToObject(series, "lastObservedTime", last);
	return o;
}
