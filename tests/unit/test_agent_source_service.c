/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/source_service.c"

#define POD_PATH "/api/v1/namespaces/shop/pods/web/status"
#define GATE "example.com/warm"
#define MS 1000ll               /* of them in microseconds */
#define BUSY_MS 1500            /* how late a thread may be on a busy machine */
#define LONG_US (20000 * MS)    /* a test that needs it has failed */

struct kube_config {
	int unused;
};

struct kube_client {
	int unused;
};

/* The API server: one pod's status, in the rules of a strategic merge patch that matter here.  The service's thread asks it, the tests look and play the kubelet. */
struct server {
	cJSON *pod;                     /* NULL: gone */
	int64_t version;
	int refuses;                    /* negative errno of all requests */
	int no_config;                  /* negative errno of kube_config_load */
	bool silent;
	int interrupted;                /* so many times somebody else writes between a read and the write that goes by it */
	int64_t timeout_ms;
	int asked, outs, reads, backs;  /* requests, whatever was answered */
	int64_t out_us, over_us;        /* clock_mono_us: when one of them made it not Ready first, and last */
	char since[CLOCK_RFC3339_SIZE]; /* of the first */
	bool since_varies, strange;     /* another lastTransitionTime; another path or manager */
	int open, warnings;             /* clients and configs that are not freed; what was logged */
};
static struct server server;            /* the functions below have no context of their own */
static struct kube_config the_config;
static struct kube_client the_client;
static pthread_mutex_t server_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t server_changed;   /* by CLOCK_MONOTONIC */

static const struct agent_options options = { 0 };

void log_emit(enum log_level level, const char *msg, const struct log_field *fields, size_t n)
{
	(void)msg;
	(void)fields;
	(void)n;
	pthread_mutex_lock(&server_lock);
	server.warnings += level >= LOG_WARNING;
	pthread_mutex_unlock(&server_lock);
}

int kube_config_load(const char *path, const char *context, struct kube_config **ret, struct error *err)
{
	int r;

	(void)path;
	(void)context;
	pthread_mutex_lock(&server_lock);
	r = server.no_config;
	server.asked++;
	server.open += r == 0;
	pthread_cond_broadcast(&server_changed);
	pthread_mutex_unlock(&server_lock);
	if (r < 0)
		return error_set(err, r, "no config");
	*ret = &the_config;
	return 0;
}

void kube_config_free(struct kube_config *c)
{
	server.open -= c != NULL;
}

int kube_client_new(struct kube_config *config, const char *user_agent, struct kube_client **ret, struct error *err)
{
	(void)config;
	(void)user_agent;
	(void)err;
	pthread_mutex_lock(&server_lock);
	server.open++;
	pthread_mutex_unlock(&server_lock);
	*ret = &the_client;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	server.open -= c != NULL;
}

void kube_set_timeout(struct kube_client *c, int64_t ms)
{
	(void)c;
	server.timeout_ms = ms;
}

static void merge(cJSON *to, const cJSON *patch);

static cJSON *element(cJSON *list, const char *type)
{
	cJSON *c;

	cJSON_ArrayForEach(c, list) {
		if (!strcmp(json_str_or(c, "type", ""), type))
			return c;
	}
	c = cJSON_CreateObject();
	cJSON_AddItemToArray(list, c);
	return c;
}

static void merge_field(cJSON *to, const cJSON *field)
{
	cJSON *old = cJSON_GetObjectItemCaseSensitive(to, field->string);
	const cJSON *c;

	if (cJSON_IsNull(field)) {
		cJSON_DeleteItemFromObjectCaseSensitive(to, field->string);
	} else if (cJSON_IsObject(field) && old) {
		merge(old, field);
	} else if (cJSON_IsArray(field) && old) {
		cJSON_ArrayForEach(c, field)
			merge(element(old, json_str_or(c, "type", "")), c);
	} else {
		cJSON_DeleteItemFromObjectCaseSensitive(to, field->string);
		cJSON_AddItemToObject(to, field->string, cJSON_Duplicate(field, 1));
	}
}

static void merge(cJSON *to, const cJSON *patch)
{
	const cJSON *field;

	cJSON_ArrayForEach(field, patch)
		merge_field(to, field);
}

/* With the lock held.  What changes nothing is not written. */
static void write_status(const cJSON *status)
{
	cJSON *old = cJSON_GetObjectItemCaseSensitive(server.pod, "status"), *was = cJSON_Duplicate(old, 1);
	char version[24];

	merge(old, status);
	if (!cJSON_Compare(was, old, 1)) {
		snprintf(version, sizeof(version), "%lld", (long long)++server.version);
		cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(server.pod, "metadata"), "resourceVersion", cJSON_CreateString(version));
	}
	cJSON_Delete(was);
}

static const cJSON *ready_in(const cJSON *o)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, json_at(o, "status/conditions")) {
		if (!strcmp(json_str_or(c, "type", ""), "Ready"))
			return c;
	}
	return NULL;
}

/* With the lock held. */
static void somebody_writes(void)
{
	cJSON *status = cJSON_CreateObject();

	cJSON_AddNumberToObject(status, "written", (double)server.version);
	write_status(status);
	cJSON_Delete(status);
}

static bool is_leaving(const cJSON *patch)
{
	return !strcmp(json_str_or(ready_in(patch), "reason", ""), "Migrating");
}

/* With the lock held. */
static void count(const cJSON *patch)
{
	const char *since = json_str_or(ready_in(patch), "lastTransitionTime", "");

	server.asked++;
	if (!ready_in(patch)) {
		server.reads++;
	} else if (!is_leaving(patch)) {
		server.backs++;
	} else {
		if (server.outs++ == 0)
			snprintf(server.since, sizeof(server.since), "%s", since);
		server.since_varies |= strcmp(server.since, since) != 0;
	}
}

/* With the lock held. */
static int answer(const cJSON *patch, cJSON **ret, struct error *err)
{
	const char *version = json_str(patch, "metadata/resourceVersion");
	bool was_out = is_leaving(server.pod);

	if (server.refuses)
		return error_set(err, server.refuses, "refused");
	if (!server.pod)
		return error_set(err, -ENOENT, "not found");
	if (strcmp(json_str_or(patch, "metadata/uid", ""), json_str_or(server.pod, "metadata/uid", "?")))
		return error_set(err, -EINVAL, "metadata.uid: field is immutable");
	if (version && server.interrupted && server.interrupted--)
		somebody_writes();
	if (version && strcmp(version, json_str_or(server.pod, "metadata/resourceVersion", "")))
		return error_set(err, -EAGAIN, "the object has been modified");
	if (json_at(patch, "status"))
		write_status(json_at(patch, "status"));
	if (!was_out && is_leaving(server.pod)) {
		server.over_us = clock_mono_us();
		server.out_us = server.out_us ? server.out_us : server.over_us;
	}
	if (ret)
		*ret = cJSON_Duplicate(server.pod, 1);
	return 0;
}

static struct timespec moment(int64_t us)
{
	return (struct timespec){ us / 1000000, us % 1000000 * 1000 };
}

int kube_strategic_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err)
{
	struct timespec until = moment(clock_mono_us() + server.timeout_ms * MS);
	int r;

	(void)c;
	pthread_mutex_lock(&server_lock);
	count(patch);
	server.strange |= strcmp(path, POD_PATH) || !manager || strcmp(manager, PM_MANAGER_AGENT);
	pthread_cond_broadcast(&server_changed);
	for (r = 0; server.silent && r == 0;)
		r = pthread_cond_timedwait(&server_changed, &server_lock, &until);
	r = r ? error_set(err, -ETIMEDOUT, "no answer") : answer(patch, ret, err);
	pthread_cond_broadcast(&server_changed);
	pthread_mutex_unlock(&server_lock);
	return r;
}

/* --- what the tests say and see --- */

static cJSON *quoted(const char *text)
{
	char copy[2048];
	cJSON *o;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *p = copy; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	o = cJSON_Parse(copy);
	if (!o)
		fail_msg("not JSON: %s", text);
	return o;
}

#define CONDITION(type, status) "{'type':'" type "','status':'" status "','lastTransitionTime':'2026-11-01T00:00:00Z'}"
#define POD(gates, conditions) "{'metadata':{'name':'web','uid':'u-1','resourceVersion':'7'},'spec':{" gates "},'status':{'phase':'Running','conditions':[" conditions "]}}"
#define SERVES POD("", CONDITION("PodScheduled", "True") "," CONDITION("Ready", "True") "," CONDITION("ContainersReady", "True"))

static void server_begins(const char *pod)
{
	cJSON *o = pod ? quoted(pod) : NULL;

	pthread_mutex_lock(&server_lock);
	cJSON_Delete(server.pod);
	server = (struct server){ .pod = o, .version = 7 };
	pthread_mutex_unlock(&server_lock);
}

static struct server seen(void)
{
	struct server copy;

	pthread_mutex_lock(&server_lock);
	copy = server;
	pthread_mutex_unlock(&server_lock);
	return copy;
}

static cJSON *pod_now(void)
{
	cJSON *o;

	pthread_mutex_lock(&server_lock);
	o = cJSON_Duplicate(server.pod, 1);
	pthread_mutex_unlock(&server_lock);
	return o;
}

/* reason "": none. */
static void assert_ready(const char *status, const char *reason)
{
	cleanup_json cJSON *pod = pod_now();

	assert_string_equal(json_str_or(ready_in(pod), "status", ""), status);
	assert_string_equal(json_str_or(ready_in(pod), "reason", ""), reason);
	assert_int_equal(json_at(ready_in(pod), "message") != NULL, !strcmp(reason, "Migrating"));
}

/* Until so many requests of a kind have come. */
static void await_count(const int *of, int n)
{
	struct timespec until = moment(clock_mono_us() + LONG_US);
	bool came;

	pthread_mutex_lock(&server_lock);
	while (*of < n && pthread_cond_timedwait(&server_changed, &server_lock, &until) == 0)
		;
	came = *of >= n;
	pthread_mutex_unlock(&server_lock);
	assert_true(came);
}

static void kubelet_writes(const char *status)
{
	cJSON *o = quoted(status);

	pthread_mutex_lock(&server_lock);
	write_status(o);
	pthread_mutex_unlock(&server_lock);
	cJSON_Delete(o);
}

static void await_out(void)
{
	struct timespec until = moment(clock_mono_us() + LONG_US);
	bool out;

	pthread_mutex_lock(&server_lock);
	while (!is_leaving(server.pod) && pthread_cond_timedwait(&server_changed, &server_lock, &until) == 0)
		;
	out = is_leaving(server.pod);
	pthread_mutex_unlock(&server_lock);
	assert_true(out);
}

static struct source_service *begin(void)
{
	struct source_service *v = source_service_new(&options, "shop", "web", "u-1");

	assert_non_null(v);
	return v;
}

/* It was of this pod only, and nothing is left of it. */
static void end(struct source_service *v)
{
	source_service_free(v);
	assert_false(server.strange);
	assert_int_equal(server.open, 0);
}

static int64_t ms_since(int64_t mono_us)
{
	return (clock_mono_us() - mono_us) / MS;
}

/* --- the tests --- */

static void it_leaves_and_nothing_else_of_the_pod_changes(void **state)
{
	struct source_service *v;
	cleanup_json cJSON *before = NULL, *after = NULL;

	(void)state;
	server_begins(SERVES);
	before = pod_now();
	v = begin();
	assert_int_equal(seen().asked, 0);
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	assert_ready("False", "Migrating");
	end(v);
	after = pod_now();
	assert_int_equal(cJSON_GetArraySize(json_at(after, "status/conditions")), 3);
	assert_true(cJSON_Compare(json_at(after, "status/conditions/0"), json_at(before, "status/conditions/0"), 1));
	assert_true(cJSON_Compare(json_at(after, "status/conditions/2"), json_at(before, "status/conditions/2"), 1));
	assert_string_equal(json_str_or(after, "status/phase", ""), "Running");
	assert_string_not_equal(json_str_or(ready_in(after), "lastTransitionTime", ""), json_str_or(ready_in(before), "lastTransitionTime", ""));
	assert_int_equal(server.warnings, 0);
}

static void a_pod_that_has_no_conditions_yet_gets_one(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(POD("", ""));
	v = begin();
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	assert_ready("False", "Migrating");
	source_service_return(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	assert_ready("False", "ContainersNotReady");
	end(v);
}

static void who_waits_does_so_until_it_has_settled(void **state)
{
	struct source_service *v;
	int64_t settle_us = 2 * AGAIN_US + 100 * MS, start;

	(void)state;
	server_begins(SERVES);
	v = begin();
	assert_false(source_service_wait(v, 0, LONG_US));       /* for nothing */
	source_service_leave(v);
	/* It is said again meanwhile, by which nothing begins anew. */
	assert_true(source_service_wait(v, settle_us, LONG_US));
	assert_true(clock_mono_us() >= seen().out_us + settle_us);
	/* That is over: who comes later need not wait again. */
	start = clock_mono_us();
	assert_true(source_service_wait(v, settle_us, LONG_US));
	assert_in_range(ms_since(start), 0, BUSY_MS);
	/* The time counts from when it was said. */
	assert_false(source_service_wait(v, 2 * LONG_US, settle_us));
	assert_in_range(ms_since(start), 0, 2 * BUSY_MS);
	end(v);
}

static void what_the_kubelet_writes_meanwhile_is_written_over(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	v = begin();
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	/* For longer than a second, so that another time would show. */
	for (int i = 0; i < 25; i++) {
		int64_t said = clock_mono_us();

		kubelet_writes("{'conditions':[{'type':'Ready','status':'True','reason':null,'message':null,'lastTransitionTime':'2026-11-01T00:00:00Z'}]}");
		await_out();
		assert_in_range((seen().over_us - said) / MS, 0, AGAIN_US / MS + BUSY_MS);
	}
	assert_ready("False", "Migrating");
	assert_in_range(seen().over_us - seen().out_us, 1000 * MS, LONG_US);
	end(v);
	assert_false(server.since_varies);
}

/* Whoever watches pods hears nothing of it. */
static void saying_it_again_changes_nothing(void **state)
{
	struct source_service *v;
	int64_t version;

	(void)state;
	server_begins(SERVES);
	v = begin();
	source_service_leave(v);
	await_count(&server.outs, 2);
	version = seen().version;
	await_count(&server.outs, 6);
	assert_int_equal(seen().version, version);
	assert_false(seen().since_varies);
	/* Who is asked every 50 ms is not asked all the time. */
	assert_in_range(ms_since(seen().out_us), 4 * AGAIN_US / MS, LONG_US / MS);
	end(v);
}

static const struct {
	const char *pod, *status, *reason;
} back[] = {
	{ POD("", CONDITION("Ready", "True") "," CONDITION("ContainersReady", "True")), "True", "" },
	{ POD("", CONDITION("Ready", "False") "," CONDITION("ContainersReady", "False")), "False", "ContainersNotReady" },
	{ POD("", CONDITION("Ready", "True")), "False", "ContainersNotReady" },
	{ POD("'readinessGates':[{'conditionType':'" GATE "'}]", CONDITION("Ready", "True") "," CONDITION("ContainersReady", "True") "," CONDITION(GATE, "True")), "True", "" },
	{ POD("'readinessGates':[{'conditionType':'" GATE "'}]", CONDITION("Ready", "True") "," CONDITION("ContainersReady", "True") "," CONDITION(GATE, "False")), "False",
	  "ContainersNotReady" },
	{ POD("'readinessGates':[{'conditionType':'" GATE "'}]", CONDITION("Ready", "True") "," CONDITION("ContainersReady", "True")), "False", "ContainersNotReady" },
	{ POD("'readinessGates':[{'conditionType':'PodScheduled'},{'conditionType':'" GATE "'}]",
	      CONDITION("PodScheduled", "True") "," CONDITION("ContainersReady", "True") "," CONDITION(GATE, "Unknown")), "False", "ContainersNotReady" },
	{ POD("'readinessGates':[{'conditionType':'" GATE "'}]", CONDITION("Ready", "True") "," CONDITION("ContainersReady", "False") "," CONDITION(GATE, "True")), "False",
	  "ContainersNotReady" },
};

static void it_comes_back_as_its_containers_and_gates_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++) {
		struct source_service *v;

		server_begins(back[i].pod);
		v = begin();
		source_service_leave(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		assert_ready("False", "Migrating");
		source_service_return(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		assert_ready(back[i].status, back[i].reason);
		end(v);
		assert_ready(back[i].status, back[i].reason);
		assert_int_equal(server.backs, 1);
	}
}

/* The worker before this one crashed. */
static void who_did_not_take_it_out_puts_it_back(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(POD("", "{'type':'Ready','status':'False','reason':'Migrating','message':'x'}," CONDITION("ContainersReady", "True")));
	v = begin();
	source_service_return(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	assert_ready("True", "");
	end(v);
	assert_int_equal(server.outs, 0);
}

static void what_others_say_of_it_is_left_alone(void **state)
{
	static const char *const word[] = {
		CONDITION("Ready", "True"), "{'type':'Ready','status':'False','reason':'PodFailed'}", "{'type':'Ready','status':'False','reason':'ReadinessGatesNotReady'}",
		CONDITION("Initialized", "True"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++) {
		struct source_service *v;
		char pod[1024];

		snprintf(pod, sizeof(pod), POD("", "%s," CONDITION("ContainersReady", "True")), word[i]);
		server_begins(pod);
		v = begin();
		source_service_return(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		end(v);
		assert_int_equal(server.reads, 1);
		assert_int_equal(server.backs, 0);
		assert_int_equal(server.version, 7);
	}
}

static void it_is_put_back_although_others_write(void **state)
{
	/* More often than is tried at once. */
	static const int times[] = { 1, TRIES - 1, TRIES, 2 * TRIES + 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct source_service *v;

		server_begins(SERVES);
		v = begin();
		source_service_leave(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		pthread_mutex_lock(&server_lock);
		server.interrupted = times[i];
		pthread_mutex_unlock(&server_lock);
		source_service_return(v);
		await_count(&server.backs, times[i] + 1);
		end(v);
		assert_ready("True", "");
		assert_int_equal(server.backs, times[i] + 1);
		assert_int_equal(server.reads, times[i] + 1);
		assert_int_equal(server.warnings, times[i] >= TRIES);
	}
}

static void who_is_refused_waits_for_nothing(void **state)
{
	struct source_service *v;
	int64_t start = clock_mono_us();

	(void)state;
	server_begins(SERVES);
	server.refuses = -EACCES;
	v = begin();
	source_service_leave(v);
	assert_false(source_service_wait(v, 0, LONG_US));
	assert_in_range(ms_since(start), 0, BUSY_MS);
	await_count(&server.outs, 3);
	assert_int_equal(seen().warnings, 1);
	/* It gets the right, and is not asked to say it again. */
	pthread_mutex_lock(&server_lock);
	server.refuses = 0;
	pthread_mutex_unlock(&server_lock);
	await_out();
	await_count(&server.outs, seen().outs + 1);
	assert_true(source_service_wait(v, 0, LONG_US));
	/* And loses it. */
	pthread_mutex_lock(&server_lock);
	server.refuses = -EACCES;
	pthread_mutex_unlock(&server_lock);
	source_service_return(v);
	assert_false(source_service_wait(v, 0, LONG_US));
	start = clock_mono_us();
	end(v);
	assert_in_range(ms_since(start), 0, BUSY_MS);
	assert_ready("False", "Migrating");
}

static void who_is_not_answered_waits_no_longer_than_was_said(void **state)
{
	struct source_service *v;
	int64_t start;

	(void)state;
	server_begins(SERVES);
	server.silent = true;
	v = begin();
	start = clock_mono_us();
	source_service_leave(v);
	await_count(&server.outs, 1);
	assert_int_equal(seen().timeout_ms, REQUEST_MS);
	assert_false(source_service_wait(v, 30 * MS, 300 * MS));
	assert_in_range(ms_since(start), 300, 300 + BUSY_MS);
	/* What is under way is waited for, and nothing is asked that was not told to it. */
	start = clock_mono_us();
	end(v);
	assert_in_range(ms_since(start), 0, REQUEST_MS + BUSY_MS);
	assert_ready("True", "");
}

static void an_answer_that_comes_late_counts(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	server.silent = true;
	v = begin();
	source_service_leave(v);
	assert_false(source_service_wait(v, 30 * MS, 100 * MS));
	pthread_mutex_lock(&server_lock);
	server.silent = false;
	pthread_cond_broadcast(&server_changed);
	pthread_mutex_unlock(&server_lock);
	assert_true(source_service_wait(v, 30 * MS, LONG_US));
	assert_ready("False", "Migrating");
	end(v);
}

static void a_pod_that_is_gone_needs_nothing(void **state)
{
	struct source_service *v;
	int64_t start = clock_mono_us();

	(void)state;
	server_begins(NULL);
	v = begin();
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	source_service_return(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	end(v);
	assert_in_range(ms_since(start), 0, BUSY_MS);
	assert_int_equal(server.reads, 1);
	assert_int_equal(server.warnings, 0);
}

static void another_pod_of_that_name_is_left_alone(void **state)
{
	struct source_service *v;
	int64_t start = clock_mono_us();

	(void)state;
	server_begins("{'metadata':{'name':'web','uid':'u-2','resourceVersion':'7'},'spec':{},'status':{'conditions':[{'type':'Ready','status':'False','reason':'Migrating'}]}}");
	v = begin();
	source_service_leave(v);
	assert_false(source_service_wait(v, 0, LONG_US));
	source_service_return(v);
	assert_false(source_service_wait(v, 0, LONG_US));
	end(v);
	assert_in_range(ms_since(start), 0, BUSY_MS);
	assert_int_equal(server.version, 7);
	assert_int_equal(server.backs, 0);
	assert_int_equal(server.warnings, 1);
}

/* A file that is not there is no pod that is gone. */
static void without_a_config_it_is_tried_again(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	server.no_config = -ENOENT;
	v = begin();
	source_service_leave(v);
	assert_false(source_service_wait(v, 0, LONG_US));
	await_count(&server.asked, 2);
	pthread_mutex_lock(&server_lock);
	server.no_config = 0;
	pthread_mutex_unlock(&server_lock);
	await_out();
	end(v);
	assert_int_equal(server.warnings, 1);
}

static void who_ends_right_after_its_return_is_back(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) {
		struct source_service *v;

		server_begins(SERVES);
		v = begin();
		source_service_leave(v);
		if (i % 2)
			assert_true(source_service_wait(v, i % 4 * MS, LONG_US));
		source_service_return(v);
		end(v);
		assert_ready("True", "");
	}
}

/* The request to leave is under way meanwhile. */
static void what_leaves_late_is_back_all_the_same(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	server.silent = true;
	v = begin();
	source_service_leave(v);
	await_count(&server.outs, 1);
	source_service_return(v);
	pthread_mutex_lock(&server_lock);
	server.silent = false;
	pthread_cond_broadcast(&server_changed);
	pthread_mutex_unlock(&server_lock);
	end(v);
	assert_true(server.out_us != 0);
	assert_int_equal(server.backs, 1);
	assert_ready("True", "");
}

static void who_ends_without_a_return_stays_out(void **state)
{
	struct source_service *v;
	int64_t start;

	(void)state;
	server_begins(SERVES);
	v = begin();
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	start = clock_mono_us();
	end(v);
	assert_in_range(ms_since(start), 0, BUSY_MS);
	assert_ready("False", "Migrating");
}

static void what_is_done_is_not_asked_again_at_the_end(void **state)
{
	struct source_service *v;
	int n;

	(void)state;
	server_begins(SERVES);
	v = begin();
	source_service_leave(v);
	source_service_return(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	n = seen().asked;
	end(v);
	assert_int_equal(server.asked, n);
	/* Nor is anything asked by one that was never told to. */
	server_begins(SERVES);
	end(begin());
	assert_int_equal(server.asked, 0);
}

static void saying_it_twice_asks_once(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	v = begin();
	source_service_leave(v);
	source_service_leave(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	source_service_leave(v);
	pthread_mutex_lock(&v->lock);
	assert_int_equal(v->asked, 1);
	assert_int_equal(v->tried, 1);
	pthread_mutex_unlock(&v->lock);
	source_service_return(v);
	source_service_return(v);
	assert_true(source_service_wait(v, 0, LONG_US));
	source_service_return(v);
	end(v);
	assert_int_equal(server.reads, 1);
	assert_int_equal(server.backs, 1);
}

static void out_and_back_and_out_again(void **state)
{
	struct source_service *v;

	(void)state;
	server_begins(SERVES);
	v = begin();
	for (int i = 0; i < 3; i++) {
		source_service_leave(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		assert_ready("False", "Migrating");
		source_service_return(v);
		assert_true(source_service_wait(v, 0, LONG_US));
		assert_ready("True", "");
	}
	end(v);
}

static void none_is_fine(void **state)
{
	int64_t start = clock_mono_us();

	(void)state;
	server_begins(SERVES);
	source_service_leave(NULL);
	assert_false(source_service_wait(NULL, LONG_US, LONG_US));
	source_service_return(NULL);
	source_service_free(NULL);
	assert_in_range(ms_since(start), 0, BUSY_MS);
	/* Names that are none. */
	assert_null(source_service_new(&options, "", "web", "u-1"));
	assert_null(source_service_new(&options, "shop", "../web", "u-1"));
	assert_int_equal(server.warnings, 2);
	assert_int_equal(server.asked, 0);
}

static int begin_all(void **state)
{
	pthread_condattr_t clock;

	(void)state;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&server_changed, &clock);
	pthread_condattr_destroy(&clock);
	return 0;
}

static int end_all(void **state)
{
	(void)state;
	cJSON_Delete(server.pod);
	server.pod = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_leaves_and_nothing_else_of_the_pod_changes),
		cmocka_unit_test(a_pod_that_has_no_conditions_yet_gets_one),
		cmocka_unit_test(who_waits_does_so_until_it_has_settled),
		cmocka_unit_test(what_the_kubelet_writes_meanwhile_is_written_over),
		cmocka_unit_test(saying_it_again_changes_nothing),
		cmocka_unit_test(it_comes_back_as_its_containers_and_gates_say),
		cmocka_unit_test(who_did_not_take_it_out_puts_it_back),
		cmocka_unit_test(what_others_say_of_it_is_left_alone),
		cmocka_unit_test(it_is_put_back_although_others_write),
		cmocka_unit_test(who_is_refused_waits_for_nothing),
		cmocka_unit_test(who_is_not_answered_waits_no_longer_than_was_said),
		cmocka_unit_test(an_answer_that_comes_late_counts),
		cmocka_unit_test(a_pod_that_is_gone_needs_nothing),
		cmocka_unit_test(another_pod_of_that_name_is_left_alone),
		cmocka_unit_test(without_a_config_it_is_tried_again),
		cmocka_unit_test(who_ends_right_after_its_return_is_back),
		cmocka_unit_test(what_leaves_late_is_back_all_the_same),
		cmocka_unit_test(who_ends_without_a_return_stays_out),
		cmocka_unit_test(what_is_done_is_not_asked_again_at_the_end),
		cmocka_unit_test(saying_it_twice_asks_once),
		cmocka_unit_test(out_and_back_and_out_again),
		cmocka_unit_test(none_is_fine),
	};

	return cmocka_run_group_tests_name("the source and its Services", tests, begin_all, end_all);
}
