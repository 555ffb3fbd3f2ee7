/* SPDX-License-Identifier: Apache-2.0 */
#include "watch_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "status.h"

#define SLIM_KEEP_MAX 65536

static const struct json_want slim_metadata[] = { UNWANTED("managedFields"), WANT("*"), WANT_END };
static const struct json_want slim_object[] = { WANT_OF("metadata", slim_metadata), WANT("*"), WANT_END };

int watch_state_init(struct watch_state *s, const struct kube_watch_spec *spec, struct error *err)
{
	const struct json_want *want = spec->want ? spec->want : slim_object;

	*s = (struct watch_state){ .spec = spec, .known = known_new(), .slim = BUF_INIT(WATCH_LINE_MAX), .event = { WANT("type"), WANT_OF("object", want) },
				   .page = { WANT("apiVersion"), WANT("kind"), WANT("metadata"), WANT_OF("items", want) } };
	return s->known ? 0 : error_set(err, -ENOMEM, "out of memory");
}

void watch_state_free(struct watch_state *s)
{
	known_free(s->known);
	s->known = NULL;
	buf_free(&s->slim);
}

void watch_state_begin(struct watch_state *s, bool initial_events)
{
	s->rv[0] = '\0';
	s->initial = initial_events;
	known_mark(s->known);
}

/* --- objects --- */

static const char *meta(const cJSON *o, const char *key)
{
	return json_str_or(cJSON_GetObjectItemCaseSensitive(o, "metadata"), key, "");
}

/* An object that is gone, of which no more than this is known. */
static void report_gone(void *ctx, const char *ns, const char *name, const char *uid)
{
	struct watch_state *s = ctx;
	cleanup_json cJSON *o = cJSON_CreateObject();
	cJSON *m = cJSON_AddObjectToObject(o, "metadata");

	if (s->api_version[0])
		cJSON_AddStringToObject(o, "apiVersion", s->api_version);
	if (s->kind[0])
		cJSON_AddStringToObject(o, "kind", s->kind);
	if (*ns)
		cJSON_AddStringToObject(m, "namespace", ns);
	cJSON_AddStringToObject(m, "name", name);
	cJSON_AddStringToObject(m, "uid", uid);
	s->spec->on_delete(s->spec->ctx, o);
}

static void learn_kind(struct watch_state *s, const cJSON *o)
{
	const char *v = json_str_or(o, "apiVersion", ""), *k = json_str_or(o, "kind", "");

	if (strcmp(v, s->api_version) && strlen(v) < sizeof(s->api_version))
		snprintf(s->api_version, sizeof(s->api_version), "%s", v);
	if (strcmp(k, s->kind) && strlen(k) < sizeof(s->kind))
		snprintf(s->kind, sizeof(s->kind), "%s", k);
}

static int upsert(struct watch_state *s, const cJSON *o, struct error *err)
{
	const char *ns = meta(o, "namespace"), *name = meta(o, "name"), *uid = meta(o, "uid"), *old;

	if (!*name)
		return error_set(err, -EBADMSG, "an object without a name");
	/* Deleted and made again while we were not listening. */
	old = known_uid(s->known, ns, name);
	if (old && strcmp(old, uid))
		report_gone(s, ns, name, old);
	if (known_put(s->known, ns, name, uid) < 0)
		return error_set(err, -ENOMEM, "out of memory for the names of %zu objects", known_count(s->known));
	s->spec->on_upsert(s->spec->ctx, o);
	return 0;
}

static void complete(struct watch_state *s)
{
	s->initial = false;
	known_sweep(s->known, report_gone, s);
	s->just_synced = true;
	if (s->spec->on_synced)
		s->spec->on_synced(s->spec->ctx);
}

/* Versions are opaque; one that does not fit is as none. */
static void take_rv(struct watch_state *s, const cJSON *o)
{
	const char *rv = meta(o, "resourceVersion");

	if (*rv && strlen(rv) < sizeof(s->rv))
		snprintf(s->rv, sizeof(s->rv), "%s", rv);
}

/* --- events --- */

static int on_put(struct watch_state *s, const cJSON *o, struct error *err)
{
	int r;

	learn_kind(s, o);
	r = upsert(s, o, err);
	if (r == 0 && !s->initial)
		take_rv(s, o);
	return r;
}

static int on_deleted(struct watch_state *s, const cJSON *o, struct error *err)
{
	(void)err;
	learn_kind(s, o);
	known_remove(s->known, meta(o, "namespace"), meta(o, "name"));
	s->spec->on_delete(s->spec->ctx, o);
	/* It bears the version of the deletion. */
	if (!s->initial)
		take_rv(s, o);
	return 0;
}

static int on_bookmark(struct watch_state *s, const cJSON *o, struct error *err)
{
	bool last = !strcmp(json_str_or(o, "metadata/annotations/k8s.io~1initial-events-end", ""), "true");

	(void)err;
	if (s->initial && !last)
		return 0;
	take_rv(s, o);
	if (s->initial)
		complete(s);
	return 0;
}

static int on_error(struct watch_state *s, const cJSON *o, struct error *err)
{
	int64_t code = 500, seconds = 0;
	int r;

	json_int(o, "code", 100, 999, &code);
	json_int(o, "details/retryAfterSeconds", 0, 3600, &seconds);
	s->retry_after = (int)seconds;
	r = kube_status_error((long)code, o, NULL, "error event", err);
	if (r == -ESTALE)
		s->rv[0] = '\0';
	return r;
}

static const struct {
	const char *type;
	int (*run)(struct watch_state *s, const cJSON *o, struct error *err);
} event_table[] = {
	{ "ADDED", on_put }, { "MODIFIED", on_put }, { "DELETED", on_deleted }, { "BOOKMARK", on_bookmark }, { "ERROR", on_error },
};

/* What is wanted of an object says nothing of bookmarks and errors.  A server that wrote these lines in another way would be understood all the same. */
static bool is_about_object(const char *line, size_t len)
{
	static const char *const begins[] = { "{\"type\":\"ADDED\",", "{\"type\":\"MODIFIED\",", "{\"type\":\"DELETED\"," };

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (len > strlen(begins[i]) && !memcmp(line, begins[i], strlen(begins[i])))
			return true;
	return false;
}

/* What cannot be cut down is parsed as it is, which tells what is wrong with it. */
static int parse(struct watch_state *s, const struct json_want *want, const char *text, size_t len, size_t max, cJSON **ret, struct error *err)
{
	bool slim = want && json_pick(text, len, want, &s->slim) == 0;
	int r = json_parse(slim ? s->slim.data : text, slim ? s->slim.len : len, max, ret, err);

	/* One large event should not keep its memory for the life of a watch. */
	if (s->slim.cap > SLIM_KEEP_MAX)
		buf_free(&s->slim);
	return r;
}

int watch_state_line(struct watch_state *s, const char *line, size_t len, struct error *err)
{
	cleanup_json cJSON *e = NULL;
	const cJSON *o;
	const char *type;
	int r = parse(s, is_about_object(line, len) ? s->event : NULL, line, len, WATCH_LINE_MAX, &e, err);

	if (r < 0)
		return error_wrap(err, r == -ENOMEM ? r : -EBADMSG, "watch event");
	type = json_str(e, "type");
	o = json_at(e, "object");
	if (!type || !cJSON_IsObject(o))
		return error_set(err, -EBADMSG, "watch event without type and object");
	s->events++;
	for (size_t i = 0; i < sizeof(event_table) / sizeof(event_table[0]); i++)
		if (!strcmp(event_table[i].type, type))
			return event_table[i].run(s, o, err);
	/* A type from the future is not for us. */
	log_debug("unknown watch event", LOG_S("watch", s->spec->name), LOG_S("type", type));
	return 0;
}

/* --- lists --- */

int watch_state_parse_page(struct watch_state *s, const char *text, size_t len, size_t max, cJSON **ret, struct error *err)
{
	int r = parse(s, s->page, text, len, max, ret, err);

	return r < 0 ? error_wrap(err, r == -ENOMEM ? r : -EBADMSG, "list") : 0;
}

/* Items of a list of built-in objects bear no kind: it is the list's, without "List". */
static void learn_list_kind(struct watch_state *s, const cJSON *page)
{
	const char *k = json_str_or(page, "kind", "");
	size_t n = strlen(k);

	if (n <= 4 || n >= sizeof(s->kind) || strcmp(k + n - 4, "List"))
		return;
	snprintf(s->kind, sizeof(s->kind), "%.*s", (int)(n - 4), k);
	snprintf(s->api_version, sizeof(s->api_version), "%.127s", json_str_or(page, "apiVersion", ""));
}

static void add_kind(const struct watch_state *s, cJSON *o)
{
	if (!cJSON_HasObjectItem(o, "kind") && s->kind[0])
		cJSON_AddStringToObject(o, "kind", s->kind);
	if (!cJSON_HasObjectItem(o, "apiVersion") && s->api_version[0])
		cJSON_AddStringToObject(o, "apiVersion", s->api_version);
}

int watch_state_page(struct watch_state *s, cJSON *page, char *ret_continue, size_t size, struct error *err)
{
	const char *next = meta(page, "continue");
	cJSON *item, *items = cJSON_GetObjectItemCaseSensitive(page, "items");
	int r = 0;

	if (!cJSON_IsObject(page) || !(cJSON_IsArray(items) || cJSON_IsNull(items)))
		return error_set(err, -EBADMSG, "list without items");
	if (strlen(next) >= size)
		return error_set(err, -EBADMSG, "list: the token of the next page is longer than %zu bytes", size - 1);
	learn_list_kind(s, page);
	cJSON_ArrayForEach(item, items)
	{
		add_kind(s, item);
		r = upsert(s, item, err);
		if (r < 0)
			return r;
	}
	snprintf(ret_continue, size, "%s", next);
	if (*next)
		return 0;
	take_rv(s, page);
	if (!s->rv[0])
		return error_set(err, -EBADMSG, "list without resourceVersion");
	complete(s);
	return 0;
}
