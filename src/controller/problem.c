/* SPDX-License-Identifier: Apache-2.0 */
#include "problem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "migration/reason.h"
#include "view.h"

#define SECONDS 1000000ll

static void __attribute__((format(printf, 4, 5))) set(struct problem *p, int reason, int64_t patience_us, const char *fmt, ...)
{
	va_list ap;

	p->reason = reason;
	p->patience_us = patience_us;
	va_start(ap, fmt);
	vsnprintf(p->message, sizeof(p->message), fmt, ap);
	va_end(ap);
}

/* state.waiting.reason of a container (kubelet: pkg/kubelet/images, pkg/kubelet/kuberuntime). Those not here are normal steps. */
static const struct {
	const char *waiting;
	int reason;
	int64_t patience_us;
} waits[] = {
	{ "ErrImagePull", REASON_ImageMissing, 0 },
	{ "ImagePullBackOff", REASON_ImageMissing, 0 },
	{ "ErrImageNeverPull", REASON_ImageMissing, 0 },
	{ "InvalidImageName", REASON_ImageMissing, 0 },
	{ "ImageInspectError", REASON_ImageMissing, 0 },
	{ "RegistryUnavailable", REASON_ImageMissing, 0 },
	/* A ConfigMap or Secret that Liqo has not reflected yet passes by itself. */
	{ "CreateContainerConfigError", REASON_DestinationPodFailed, 30 * SECONDS },
	{ "CreateContainerError", REASON_DestinationPodFailed, 5 * SECONDS },
	{ "RunContainerError", REASON_DestinationPodFailed, 0 },
	{ "CrashLoopBackOff", REASON_DestinationPodFailed, 0 },
};

/* status.reason of a pod: kubelet admission, eviction, Liqo's virtual kubelet.  prefix match. */
static const struct {
	const char *prefix;
	int reason;
} pod_reasons[] = {
	{ "OutOf", REASON_InsufficientResources },
	{ "Evicted", REASON_InsufficientResources },
	{ "OffloadingBackOff", REASON_NamespaceNotOffloaded },
	{ "OffloadingAborted", REASON_NamespaceNotOffloaded },
	{ "NodeLost", REASON_DestinationLost },
};

/* Warning Events that explain a pod which gets no further while its status says only ContainerCreating. */
static const struct {
	const char *event, *text;
	int reason;
	int64_t patience_us;
} warnings[] = {
	{ "FailedCreatePodSandBox", "no runtime for", REASON_RuntimeClassMissing, 0 },
	{ "FailedCreatePodSandBox", "RuntimeHandler", REASON_RuntimeClassMissing, 0 },
	{ "FailedCreatePodSandBox", "RuntimeClass", REASON_RuntimeClassMissing, 0 },
	{ "FailedCreatePodSandBox", "", REASON_DestinationPodFailed, 20 * SECONDS },
	/* The pod is made before its Secret; through Liqo a Secret may take a while. */
	{ "FailedMount", "", REASON_DestinationPodFailed, 50 * SECONDS },
	{ "FailedCreatePodContainer", "", REASON_DestinationPodFailed, 20 * SECONDS },
	{ "OutOf", "", REASON_InsufficientResources, 0 },
	{ "FailedScheduling", "Insufficient", REASON_InsufficientResources, 60 * SECONDS },
	{ "", "RuntimeClass", REASON_RuntimeClassMissing, 20 * SECONDS },
	{ "", "exceeded quota", REASON_InsufficientResources, 20 * SECONDS },
	{ "", "", REASON_DestinationPodFailed, 60 * SECONDS },
};

static const struct {
	const char *text;
	int reason;
} refusals[] = {
	{ "RuntimeClass", REASON_RuntimeClassMissing },
	{ "exceeded quota", REASON_InsufficientResources },
	{ "quota", REASON_InsufficientResources },
	{ "", REASON_RequestRefused },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool of_container(const cJSON *status, struct problem *ret)
{
	const char *name = json_str_or(status, "name", "?"), *waiting = json_str_or(status, "state/waiting/reason", "");
	const cJSON *ended = json_at(status, "state/terminated");
	int64_t code = 0;

	if (!ended)
		ended = json_at(status, "lastState/terminated");
	if (ended) {
		json_int(ended, "exitCode", 0, 1 << 30, &code);
		set(ret, REASON_DestinationPodFailed, 0, "container %s of the destination pod ended with exit code %" PRId64 "%s%s", name, code,
		    json_str(ended, "message") ? ": " : "", json_str_or(ended, "message", ""));
		return true;
	}
	for (size_t i = 0; i < COUNT(waits); i++)
		if (!strcmp(waits[i].waiting, waiting)) {
			set(ret, waits[i].reason, waits[i].patience_us, "container %s of the destination pod: %s: %s", name, waiting,
			    json_str_or(status, "state/waiting/message", "no details"));
			return true;
		}
	return false;
}

static bool of_pod_reason(const cJSON *pod, struct problem *ret)
{
	const char *reason = json_str_or(pod, "status/reason", ""), *message = json_str_or(pod, "status/message", "");

	for (size_t i = 0; i < COUNT(pod_reasons); i++)
		if (!strncmp(reason, pod_reasons[i].prefix, strlen(pod_reasons[i].prefix))) {
			set(ret, pod_reasons[i].reason, 0, "destination pod: %s: %s", reason, message);
			return true;
		}
	if (!view_pod_ended(pod))
		return false;
	set(ret, REASON_DestinationPodFailed, 0, "the destination pod ended (%s) %s %s", json_str_or(pod, "status/phase", ""), reason, message);
	return true;
}

void problem_of_pod(const cJSON *pod, struct problem *ret)
{
	static const char *const lists[] = { "status/initContainerStatuses", "status/containerStatuses" };
	const cJSON *s;

	ret->reason = REASON_NONE;
	if (view_deleting(pod)) {
		set(ret, REASON_DestinationLost, 0, "the destination pod is being deleted by somebody else");
		return;
	}
	for (size_t i = 0; i < COUNT(lists); i++)
		cJSON_ArrayForEach(s, json_at(pod, lists[i])) {
			if (of_container(s, ret))
				return;
		}
	of_pod_reason(pod, ret);
}

/* An Event's last time, in whichever of its three forms it is given. */
static int64_t event_time(const cJSON *e)
{
	static const char *const paths[] = { "series/lastObservedTime", "lastTimestamp", "eventTime", "metadata/creationTimestamp" };
	int64_t t = 0;

	for (size_t i = 0; i < COUNT(paths) && !t; i++)
		t = view_time_us(e, paths[i]);
	return t;
}

static void of_event(const cJSON *e, struct problem *ret)
{
	const char *reason = json_str_or(e, "reason", ""), *message = json_str_or(e, "message", "");

	for (size_t i = 0; i < COUNT(warnings); i++)
		if (!strncmp(reason, warnings[i].event, strlen(warnings[i].event)) && strstr(message, warnings[i].text)) {
			set(ret, warnings[i].reason, warnings[i].patience_us, "destination pod: %s: %s", reason, message);
			return;
		}
}

/*
 * Warnings that keep no pod from running.  A failed probe proves that the container is there; a startup probe of the user's own fails until the restore, by design.
 * The kubelet warns of the node's DNS (pkg/kubelet/network/dns), and of a pull secret that is not there, at each look at the pod and goes on without.  Policy engines
 * that only audit write PolicyViolation.
 */
static const char *const harmless[] = { "Unhealthy", "MissingClusterDNS", "DNSConfigForming", "CheckLimitsForResolvConf", "FailedToRetrieveImagePullSecret", "PolicyViolation" };

static bool is_trouble(const cJSON *e)
{
	if (strcmp(json_str_or(e, "type", ""), "Warning") != 0)
		return false;
	for (size_t i = 0; i < COUNT(harmless); i++)
		if (!strcmp(json_str_or(e, "reason", ""), harmless[i]))
			return false;
	return true;
}

void problem_of_events(const cJSON *list, struct problem *ret, bool *ret_pulling)
{
	const cJSON *e, *warning = NULL;
	int64_t newest = -1, newest_warning = -1;

	ret->reason = REASON_NONE;
	*ret_pulling = false;
	cJSON_ArrayForEach(e, json_at(list, "items")) {
		int64_t t = event_time(e);

		if (t >= newest) {
			newest = t;
			*ret_pulling = !strcmp(json_str_or(e, "reason", ""), "Pulling");
		}
		if (is_trouble(e) && t >= newest_warning) {
			newest_warning = t;
			warning = e;
		}
	}
	/* Who pulls has got over what he warned of before. */
	if (warning && !*ret_pulling)
		of_event(warning, ret);
}

int problem_of_refusal(const char *message)
{
	for (size_t i = 0; i < COUNT(refusals); i++)
		if (strstr(message, refusals[i].text))
			return refusals[i].reason;
	return REASON_RequestRefused;
}
