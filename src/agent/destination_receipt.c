/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube/client.h"
#include "migration/keys.h"

/*
 * The destination's word when the stream is gone: an Event of its pod, which Liqo brings to the home cluster (liqo, pkg/virtualKubelet/reflection/event: created there
 * with its annotations, never updated).  The status of a pod would not do: a kubelet that is started anew takes a container whose startup probe it does not know yet for
 * started.  Sealed with the migration's key, it is as good as RUNNING on the stream.
 */

#define USER_AGENT "podmigration-agent"
#define SEALED_MAX 1024
#define SEND_MS 5000
#define AGAIN_US 5000000                /* on its way home it can be lost, and it lives for an hour */
#define AGAIN_LAST_US 600000000

/* PostCopy: of a worker before nobody but the fillers knows. */
static bool is_whole(struct destination *d)
{
	struct error ignored = { 0 };

	if (!d->note.later || d->complete_us)
		return true;
	return !d->later && destination_wait_fillers(d, &ignored) == 0;
}

static cJSON *event_json(const struct destination *d, const char *sealed)
{
	const struct monitor_info *pod = &d->first;
	cJSON *e = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(e, "metadata"), *of = cJSON_AddObjectToObject(e, "involvedObject");
	cJSON *source = cJSON_AddObjectToObject(e, "source");
	char name[254], now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_real_us(), 0, now);
	snprintf(name, sizeof(name), "%.220s.%" PRIx64, pod->pod_name, (uint64_t)clock_real_us());
	cJSON_AddStringToObject(e, "apiVersion", "v1");
	cJSON_AddStringToObject(e, "kind", "Event");
	cJSON_AddStringToObject(meta, "name", name);
	cJSON_AddStringToObject(meta, "namespace", pod->pod_ns);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(meta, "annotations"), PM_ANN_RECEIPT, sealed);
	cJSON_AddStringToObject(of, "apiVersion", "v1");
	cJSON_AddStringToObject(of, "kind", "Pod");
	cJSON_AddStringToObject(of, "namespace", pod->pod_ns);
	cJSON_AddStringToObject(of, "name", pod->pod_name);
	cJSON_AddStringToObject(of, "uid", pod->pod_uid);
	cJSON_AddStringToObject(e, "type", "Normal");
	cJSON_AddStringToObject(e, "reason", "Resumed");
	cJSON_AddStringToObject(e, "message", "the migrated processes run in this pod; its source does not hear so over the pod network");
	cJSON_AddStringToObject(source, "component", USER_AGENT);
	cJSON_AddStringToObject(source, "host", d->o->node);
	cJSON_AddStringToObject(e, "firstTimestamp", now);
	cJSON_AddStringToObject(e, "lastTimestamp", now);
	cJSON_AddNumberToObject(e, "count", 1);
	return e;
}

static int send_event(const struct destination *d, const cJSON *event, struct error *err)
{
	struct kube_config *config = NULL;
	struct kube_client *client = NULL;
	char path[512];
	int r = kube_path(path, sizeof(path), "v1", d->first.pod_ns, "events", NULL, NULL);

	if (r < 0)
		return error_set(err, r, "not a namespace");
	r = kube_config_load(d->o->kubeconfig, NULL, &config, err);
	if (r == 0)
		r = kube_client_new(config, USER_AGENT, &client, err);
	if (r == 0) {
		kube_set_timeout(client, SEND_MS);
		r = kube_create(client, path, event, NULL, err);
	}
	kube_client_free(client);
	kube_config_free(config);
	return r;
}

void destination_give_receipt(struct destination *d)
{
	cleanup_buf struct buf sealed = BUF_INIT(SEALED_MAX);
	cleanup_json cJSON *event = NULL;
	struct error err = { 0 };
	int64_t pause = AGAIN_US << (d->receipts < 7 ? d->receipts : 7);
	int r;

	if (!d->opened || d->open_err.message[0] || clock_mono_us() < d->receipt_us || !is_whole(d))
		return;
	d->receipts++;
	d->receipt_us = clock_mono_us() + (pause < AGAIN_LAST_US ? pause : AGAIN_LAST_US);
	r = receipt_seal(d->key, d->first.migration, &sealed, &err);
	if (r == 0) {
		event = event_json(d, sealed.data);
		r = send_event(d, event, &err);
	}
	if (r < 0)
		log_warning("the receipt that the pod runs here could not be written yet", LOG_S("migration", d->first.migration), LOG_S("err", err.message));
	else
		log_info("the receipt that the pod runs here was written", LOG_S("migration", d->first.migration), LOG_N("receipts", d->receipts));
}
