/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/names.h"
#include "runtime/monitor.h"

#define INFO_MAX 262144

bool container_dir(const char *id, char *out, size_t size)
{
	struct stat st;

	if (!name_is_safe(id) || path_format(out, size, "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, id) < 0)
		return false;
	return lstat(out, &st) == 0 && S_ISDIR(st.st_mode);
}

void container_state(const char *id, char *out, size_t size)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	char dir[512], path[600];

	out[0] = '\0';
	if (container_dir(id, dir, sizeof(dir)) && path_format(path, sizeof(path), "%s/%s", dir, MONITOR_STATE) == 0 &&
	    file_read(AT_FDCWD, path, &b, NULL) == 0)
		snprintf(out, size, "%.*s", (int)strcspn(b.data, "\n"), b.data);
}

int container_set_state(const char *id, const char *state)
{
	char dir[512], path[600], line[32];

	if (!container_dir(id, dir, sizeof(dir)) || path_format(path, sizeof(path), "%s/%s", dir, MONITOR_STATE) < 0)
		return -ENOENT;
	snprintf(line, sizeof(line), "%s\n", state);
	return file_write(AT_FDCWD, path, line, strlen(line), 0600, false, NULL);
}

pid_t container_monitor_pid(const char *id)
{
	cleanup_buf struct buf b = BUF_INIT(INFO_MAX);
	cleanup_json cJSON *j = NULL;
	char dir[512], path[600];
	int64_t pid = 0;

	if (!container_dir(id, dir, sizeof(dir)) || path_format(path, sizeof(path), "%s/%s", dir, MONITOR_INFO) < 0 ||
	    file_read(AT_FDCWD, path, &b, NULL) < 0 || json_parse(b.data, b.len, INFO_MAX, &j, NULL) < 0)
		return 0;
	return json_int(j, "pid", 1, 4194304, &pid) < 0 ? 0 : (pid_t)pid;
}

int report_error(const struct oci_args *a, const struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	cleanup_buf struct buf b = BUF_INIT(8192);
	char now[CLOCK_RFC3339_SIZE];
	int fd;

	clock_rfc3339(clock_real_us(), 1, now);
	cJSON_AddStringToObject(j, "level", "error");
	cJSON_AddStringToObject(j, "msg", err->message);
	cJSON_AddStringToObject(j, "time", now);
	fd = a->log ? open(a->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
	if (json_print(j, &b) == 0 && buf_puts(&b, "\n") == 0 && fd >= 0)
		write_full(fd, b.data, b.len);
	if (fd >= 0)
		close(fd);
	fprintf(stderr, "podmigration-runtime: %s\n", err->message);
	return 1;
}
