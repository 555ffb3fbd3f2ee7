/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/reason.h"
#include "orders.h"

int source_take_key(struct source *s, const cJSON *order, struct error *err)
{
	struct buf b = BUF_INIT(256);
	const char *text = json_str_or(order, "key", "");
	int r = base64_decode(text, strlen(text), &b);

	if (r == 0 && b.len == PM_KEY_SIZE)
		memcpy(s->key, b.data, PM_KEY_SIZE);
	else
		r = error_reason(err, -EINVAL, REASON_ProtocolError, "order: key is not %d bytes", PM_KEY_SIZE);
	if (b.data)
		explicit_bzero(b.data, b.len);
	buf_free(&b);
	s->have_key = r == 0;
	return r;
}

static int key_path(const struct source *s, const char *name, char *out, size_t size, struct error *err)
{
	if (agent_host_path(s->o, out, size, "%s%s", s->run_dir, name) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the key too long");
	return 0;
}

int source_keep_key(struct source *s, struct error *err)
{
	char dir[4096], path[4096];
	int r = key_path(s, "", dir, sizeof(dir), err);

	if (r == 0)
		r = key_path(s, "/key", path, sizeof(path), err);
	if (r == 0)
		r = dir_make(AT_FDCWD, dir, 0700, err);
	return r == 0 ? file_write(AT_FDCWD, path, s->key, PM_KEY_SIZE, 0600, false, err) : r;
}

static int kept_key(struct source *s)
{
	cleanup_buf struct buf b = BUF_INIT(PM_KEY_SIZE);
	char path[4096];
	int r = key_path(s, "/key", path, sizeof(path), NULL);

	if (r == 0)
		r = file_read(AT_FDCWD, path, &b, NULL);
	if (r == 0 && b.len != PM_KEY_SIZE)
		r = -EINVAL;
	if (r == 0)
		memcpy(s->key, b.data, PM_KEY_SIZE);
	if (b.data)
		explicit_bzero(b.data, b.cap);
	return r;
}

static int order_key(struct source *s, struct error *err)
{
	cleanup_json cJSON *order = NULL;
	int r = order_of_pod(s->o, s->journal.pod_uid, s->journal.migration, &order, err);

	return r == 0 ? source_take_key(s, order, err) : r;
}

int source_find_key(struct source *s, struct error *err)
{
	int r = s->have_key || kept_key(s) == 0 ? 0 : s->record ? record_key(s->record, s->key, err) : order_key(s, err);

	s->have_key = r == 0;
	return r;
}
