/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "plugin.h"

static const char usage[] =
	"Moves a running pod to another cluster without losing what it holds in memory.\n"
	"\n"
	"  kubectl migrate pod NAME --to-cluster CLUSTER | --to-node NODE [options]\n"
	"  kubectl migrate status MIGRATION      how it went, step by step\n"
	"  kubectl migrate follow MIGRATION      until it has ended\n"
	"  kubectl migrate cancel MIGRATION      before its commit; the pod then goes on where it is\n"
	"\n"
	"  --to-cluster CLUSTER    cluster ID of a Liqo peer\n"
	"  --to-node NODE          a node of this cluster; the way back home\n"
	"  --name NAME             of the PodMigration; one is made up when not given\n"
	"  --strategy S            PreCopy, StopAndCopy or PostCopy\n"
	"  --bandwidth B           send no more bytes a second, such as 12.5M\n"
	"  --allow-auto-converge   slow the pod down while its memory is copied, when it writes faster than the link carries\n"
	"  --timeout D             give up after so long, such as 5m\n"
	"  --freeze-timeout D      give up when the pod has stood still for so long, such as 5s\n"
	"  --ttl D                 delete the PodMigration so long after its end\n"
	"  --dry-run[=SCOPE]       only say whether the pod could be moved, and what is in the way; SCOPE Source (default)\n"
	"                          or Destination: a pod is made there for it, and removed\n"
	"  --no-wait               do not wait for the end\n"
	"  -n, --namespace NS      --context C      --kubeconfig FILE      as for kubectl\n"
	"\n"
	"Ends with 0 when it succeeded, 1 when it failed, 3 when it was cancelled.\n";

enum { OPT_CLUSTER = 256, OPT_NODE, OPT_NAME, OPT_STRATEGY, OPT_BANDWIDTH, OPT_TIMEOUT, OPT_FREEZE_TIMEOUT, OPT_TTL, OPT_CONVERGE, OPT_DRY_RUN, OPT_NO_WAIT, OPT_CONTEXT, OPT_KUBECONFIG };

static const struct option options[] = {
	{ "to-cluster", required_argument, NULL, OPT_CLUSTER }, { "to-node", required_argument, NULL, OPT_NODE },
	{ "name", required_argument, NULL, OPT_NAME },          { "strategy", required_argument, NULL, OPT_STRATEGY },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },    { "ttl", required_argument, NULL, OPT_TTL },
	{ "bandwidth", required_argument, NULL, OPT_BANDWIDTH }, { "freeze-timeout", required_argument, NULL, OPT_FREEZE_TIMEOUT },
	{ "allow-auto-converge", no_argument, NULL, OPT_CONVERGE },
	{ "dry-run", optional_argument, NULL, OPT_DRY_RUN },         { "no-wait", no_argument, NULL, OPT_NO_WAIT },
	{ "context", required_argument, NULL, OPT_CONTEXT },    { "kubeconfig", required_argument, NULL, OPT_KUBECONFIG },
	{ "namespace", required_argument, NULL, 'n' },          { "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char try_help[] = "Try kubectl migrate --help\n";

static int wrong_usage(const char *text)
{
	fprintf(stderr, "kubectl migrate: %s\n%s", text, try_help);
	return PLUGIN_USAGE;
}

static int fail(const struct error *err)
{
	fprintf(stderr, "kubectl migrate: %s\n", err->message);
	return PLUGIN_FAILED;
}

static int take_option(struct request *r, int opt)
{
	struct {
		int opt;
		const char **to;
	} texts[] = {
		{ OPT_CLUSTER, &r->to_cluster }, { OPT_NODE, &r->to_node },         { OPT_NAME, &r->name },
		{ OPT_STRATEGY, &r->strategy },  { OPT_TIMEOUT, &r->timeout },      { OPT_TTL, &r->ttl },
		{ OPT_BANDWIDTH, &r->bandwidth }, { OPT_FREEZE_TIMEOUT, &r->freeze_timeout },
		{ 'n', &r->kubectl.ns },         { OPT_CONTEXT, &r->kubectl.context }, { OPT_KUBECONFIG, &r->kubectl.kubeconfig },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].opt == opt) {
			*texts[i].to = optarg;
			return 0;
		}
	if (opt == OPT_DRY_RUN) {
		r->dry_run = true;
		r->dry_run_scope = optarg;
	}
	r->wait &= opt != OPT_NO_WAIT;
	r->converge |= opt == OPT_CONVERGE;
	return opt == OPT_CONVERGE || opt == OPT_DRY_RUN || opt == OPT_NO_WAIT ? 0 : -1;
}

/* --- the verbs --- */

static bool on_state(void *ctx, const cJSON *migration)
{
	return show_progress(ctx, migration);
}

static int follow(const struct kubectl *k, const char *name)
{
	struct progress p = { .result = PLUGIN_FAILED };
	struct error err = { 0 };

	return kubectl_follow(k, name, on_state, &p, &err) < 0 ? fail(&err) : (int)p.result;
}

static int verb_pod(struct request *r, const char *pod)
{
	const char *const create[] = { "create", "--filename=-", "--output=json", NULL };
	cleanup_json cJSON *object = NULL, *created = NULL;
	struct error err = { 0 };
	const char *name;

	r->pod = pod;
	if (!r->to_cluster == !r->to_node)
		return wrong_usage("name one destination, --to-cluster or --to-node");
	object = request_object(r);
	if (kubectl_object(&r->kubectl, create, object, &created, &err) < 0)
		return fail(&err);
	name = json_str_or(created, "metadata/name", "");
	printf("podmigration.podmigration.dev/%s created\n", name);
	fflush(stdout);
	if (!r->wait)
		return PLUGIN_SUCCEEDED;
	/* It may be created in another namespace than was typed: the context's. */
	r->kubectl.ns = json_str_or(created, "metadata/namespace", r->kubectl.ns);
	return follow(&r->kubectl, name);
}

static int verb_follow(struct request *r, const char *name)
{
	return follow(&r->kubectl, name);
}

static int verb_status(struct request *r, const char *name)
{
	const char *const get[] = { "get", "podmigrations.podmigration.dev", name, "--output=json", NULL };
	cleanup_json cJSON *m = NULL;
	struct error err = { 0 };
	struct progress p = { .result = PLUGIN_SUCCEEDED };

	if (kubectl_object(&r->kubectl, get, NULL, &m, &err) < 0)
		return fail(&err);
	show_progress(&p, m);
	show_timeline(m);
	return PLUGIN_SUCCEEDED;
}

static int verb_cancel(struct request *r, const char *name)
{
	const char *const patch[] = { "patch", "podmigrations.podmigration.dev", name, "--type=merge", "--patch={\"spec\":{\"cancel\":true}}",
				      "--output=json", NULL };
	cleanup_json cJSON *m = NULL;
	struct error err = { 0 };

	if (kubectl_object(&r->kubectl, patch, NULL, &m, &err) < 0)
		return fail(&err);
	if (!strcmp(json_str_or(m, "status/decision", ""), "Commit"))
		printf("too late: it is committed, the pod goes on at the destination\n");
	return r->wait ? follow(&r->kubectl, name) : PLUGIN_SUCCEEDED;
}

static const struct {
	const char *name, *what;
	int (*run)(struct request *r, const char *object);
} verbs[] = {
	{ "pod", "name the pod: kubectl migrate pod NAME --to-cluster CLUSTER", verb_pod },
	{ "status", "name the PodMigration: kubectl migrate status MIGRATION", verb_status },
	{ "follow", "name the PodMigration: kubectl migrate follow MIGRATION", verb_follow },
	{ "cancel", "name the PodMigration: kubectl migrate cancel MIGRATION", verb_cancel },
};

int main(int argc, char **argv)
{
	struct request r = { .wait = true };
	const char *words[2] = { NULL, NULL };
	char own_name[] = "kubectl migrate";
	int opt, n = 0;

	/* For what getopt_long(3) says: a person has typed this, not where the program lies. */
	if (argc > 0)
		argv[0] = own_name;
	while ((opt = getopt_long(argc, argv, "n:h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (take_option(&r, opt) < 0) {
			fputs(try_help, stderr);
			return PLUGIN_USAGE;
		}
	}
	for (; optind < argc; optind++) {
		if (n == 2)
			return wrong_usage("too many words");
		words[n++] = argv[optind];
	}
	for (size_t i = 0; words[0] && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(words[0], verbs[i].name))
			/* A name that looks like an option would become one of kubectl's. */
			return words[1] && words[1][0] && words[1][0] != '-' ? verbs[i].run(&r, words[1]) : wrong_usage(verbs[i].what);
	return wrong_usage(words[0] ? "there is no such verb; pod, status, follow and cancel are" : "say what to do: pod, status, follow or cancel");
}
