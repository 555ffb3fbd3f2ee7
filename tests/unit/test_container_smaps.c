/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "container/smaps.h"
#include "smaps_lines.h"

#define PAGE 4096u
#define SIZE (64 * PAGE)

/* A child of ours does what it is told to its memory, one byte each, and answers with one. */
struct child {
	pid_t pid;
	int to, from;
};

/* As transfer/track.h does. */
static bool watch(char *memory)
{
	struct uffdio_api api = { .api = UFFD_API, .features = 1ull << 15 };
	struct uffdio_register all = { .range = { (uintptr_t)memory, SIZE }, .mode = UFFDIO_REGISTER_MODE_WP };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &all) == 0;
}

/* Letters that it is told. */
static void obey(char *memory, char order)
{
	static const struct {
		char order;
		int advice;
	} advices[] = { { 'f', MADV_DONTFORK }, { 'F', MADV_DOFORK }, { 'd', MADV_DONTDUMP }, { 's', MADV_SEQUENTIAL }, { 'r', MADV_RANDOM }, { 'n', MADV_NOHUGEPAGE }, { 'w', MADV_WIPEONFORK } };

	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		if (advices[i].order == order && madvise(memory, SIZE, advices[i].advice) != 0)
			_exit(3);
	/* Not mlock(3): under AddressSanitizer it does nothing. */
	if (order == 'l' && syscall(SYS_mlock, memory, SIZE) != 0)
		_exit(4);
	if (order == 'u' && !watch(memory))
		_exit(6);
	/* One mapping in the midst of it that is another's. */
	if (order == 'p' && mprotect(memory + 8 * PAGE, PAGE, PROT_NONE) != 0)
		_exit(5);
}

static void start(struct child *c)
{
	int to[2], from[2];

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), order;

		close(to[1]);
		if (memory == MAP_FAILED)
			_exit(1);
		memset(memory, 1, SIZE);
		while (read(to[0], &order, 1) == 1) {
			obey(memory, order);
			if (write(from[1], &order, 1) != 1)
				_exit(2);
		}
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
}

static void tell(const struct child *c, const char *orders)
{
	char answer;

	for (; *orders; orders++) {
		assert_int_equal(write(c->to, orders, 1), 1);
		assert_int_equal(read(c->from, &answer, 1), 1);
	}
}

static void end(struct child *c)
{
	close(c->to);
	close(c->from);
	kill(c->pid, SIGKILL);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
}

static struct smaps *make(void)
{
	struct smaps *s = NULL;
	struct error err = { 0 };

	if (smaps_new(&s, &err) < 0)
		fail_msg("%s", err.message);
	return s;
}

/* Of the kernel's own file what counts. */
static void assert_as_the_kernel(const struct smaps *s, pid_t pid)
{
	struct buf text = BUF_INIT(1 << 20);
	struct error err = { 0 };
	char path[64], *wanted;
	int r = smaps_text(s, pid, &text, &err);

	if (r < 0)
		fail_msg("%d %s", r, err.message);
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	wanted = smaps_lines(open(path, O_RDONLY | O_CLOEXEC));
	assert_string_equal(text.data, wanted);
	free(wanted);
	buf_free(&text);
}

static void it_says_what_smaps_says(void **state)
{
	struct smaps *s = make();
	struct child c;

	(void)state;
	start(&c);
	/* What an ordinary program has we have too: nothing need be learned of it. */
	tell(&c, " ");
	assert_as_the_kernel(s, c.pid);
	/* Also while its writes are watched; ours are not any more. */
	tell(&c, "u");
	assert_as_the_kernel(s, c.pid);
	assert_as_the_kernel(s, getpid());
	tell(&c, "p");
	assert_int_equal(smaps_learn(s, c.pid, NULL), 0);
	assert_as_the_kernel(s, c.pid);
	end(&c);
	smaps_free(s);
}

static void unknown_flags_are_not_guessed(void **state)
{
	struct smaps *s = make();
	struct buf text = BUF_INIT(1 << 20);
	struct error err = { 0 };
	struct child c;

	(void)state;
	start(&c);
	tell(&c, "fdsn");
	assert_int_equal(buf_puts(&text, "before"), 0);
	assert_int_equal(smaps_text(s, c.pid, &text, &err), -ENODATA);
	assert_non_null(strstr(err.message, "not known"));
	assert_string_equal(text.data, "before");
	assert_int_equal(smaps_learn(s, c.pid, NULL), 0);
	assert_as_the_kernel(s, c.pid);
	/* Every other set of them is another unknown, also one that is made of known ones. */
	tell(&c, "l");
	assert_int_equal(smaps_text(s, c.pid, &text, &err), -ENODATA);
	tell(&c, "F");
	assert_int_equal(smaps_text(s, c.pid, &text, &err), -ENODATA);
	assert_int_equal(smaps_learn(s, c.pid, NULL), 0);
	assert_as_the_kernel(s, c.pid);
	end(&c);
	buf_free(&text);
	smaps_free(s);
}

/* What was learned is what a number means, and not what a mapping had. */
static void a_change_after_the_lesson_is_seen(void **state)
{
	static const char *const orders[] = { "f", "F", "w", "r", "s" };
	struct smaps *s = make();
	struct child teacher, c;

	(void)state;
	start(&teacher);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		tell(&teacher, orders[i]);
		assert_int_equal(smaps_learn(s, teacher.pid, NULL), 0);
	}
	start(&c);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		tell(&c, orders[i]);
		assert_as_the_kernel(s, c.pid);
	}
	end(&teacher);
	end(&c);
	smaps_free(s);
}

static void who_is_gone_has_none(void **state)
{
	struct smaps *s = make();
	struct buf text = BUF_INIT(1 << 20);
	struct error err = { 0 };
	struct child c;

	(void)state;
	start(&c);
	end(&c);
	assert_true(smaps_text(s, c.pid, &text, &err) < 0);
	assert_true(err.message[0]);
	assert_true(smaps_learn(s, c.pid, NULL) < 0);
	assert_int_equal(text.len, 0);
	/* Not all that it should say fits. */
	text.max = 100;
	assert_int_equal(smaps_text(s, getpid(), &text, &err), -ENOSPC);
	assert_int_equal(text.len, 0);
	buf_free(&text);
	smaps_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_what_smaps_says),
		cmocka_unit_test(unknown_flags_are_not_guessed),
		cmocka_unit_test(a_change_after_the_lesson_is_seen),
		cmocka_unit_test(who_is_gone_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
