/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kube/client.h"

/* A DNS label (RFC 1123): 1 to 63 of a-z 0-9 '-', no '-' at either end.  Returns its length, 0 when it is none. */
static size_t label_length(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 63 || n == 0 || s[0] == '-' || s[n - 1] == '-' ? 0 : n;
}

/*
 * A DNS subdomain: labels with dots between, 253 bytes at most. Kubernetes does not limit a label to 63 bytes there, so neither
 * do we.
 */
static bool is_subdomain(const char *s)
{
	size_t total = strlen(s);

	if (total == 0 || total > 253)
		return false;
	for (;;) {
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

		if (n == 0 || s[0] == '-' || s[n - 1] == '-')
			return false;
		if (s[n] == '\0')
			return true;
		if (s[n] != '.')
			return false;
		s += n + 1;
	}
}

static bool is_label(const char *s)
{
	size_t n = label_length(s);

	return n && s[n] == '\0';
}

/* "v1", or "group/v1". */
static bool is_group_version(const char *s)
{
	const char *slash = strchr(s, '/');
	char group[254];

	if (!slash)
		return is_label(s);
	if ((size_t)(slash - s) >= sizeof(group))
		return false;
	snprintf(group, sizeof(group), "%.*s", (int)(slash - s), s);
	return is_subdomain(group) && is_label(slash + 1);
}

int kube_path(char *out, size_t size, const char *group_version, const char *ns, const char *plural, const char *name, const char *sub)
{
	int n;

	if (!is_group_version(group_version) || (ns && !is_label(ns)) || !is_label(plural) || (name && !is_subdomain(name)) ||
	    (sub && (!name || !is_label(sub))))
		return -EINVAL;
	n = snprintf(out, size, "%s%s%s%s/%s%s%s%s%s", strchr(group_version, '/') ? "/apis/" : "/api/", group_version,
		     ns ? "/namespaces/" : "", ns ? ns : "", plural, name ? "/" : "", name ? name : "", sub ? "/" : "", sub ? sub : "");
	return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}
