/* SPDX-License-Identifier: Apache-2.0 */
/* Holds one of everything the kernel keeps for a program, and checks each time it is asked that all of it is as it was. Argument: a folder it may write in. */
#include "answer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#define TEXT "what was written before"

static struct held {
	const char *dir;
	int epoll, event, signal, timer, watch, memfd, pipe[2], pair[2], gone, locked;
	timer_t posix;
	char *shared, *sysv, *posix_shm;
	int shmid, semid, msgid;
	pid_t child;
} h;

static atomic_uint futex_word, waiter_alive;
static atomic_ulong alarms, posix_ticks;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_alarm(int s)
{
	(void)s;
	alarms++;
}

static void on_posix(int s, siginfo_t *i, void *c)
{
	(void)s;
	(void)c;
	if (i->si_value.sival_int == 4711)
		posix_ticks++;
}

/* --- each of these holds something (once) or checks it --- */

static void hold_signals(void)
{
	struct sigaction a = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, p = { .sa_sigaction = on_posix, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct itimerval every = { { 0, 50000 }, { 0, 50000 } };
	struct itimerspec posix = { { 0, 50000000 }, { 0, 50000000 } };
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 4711 };
	union sigval v = { .sival_int = 42 };
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	sigaddset(&blocked, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigaction(SIGALRM, &a, NULL);
	sigaction(SIGUSR1, &p, NULL);
	signal(SIGHUP, SIG_IGN);
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	MUST(timer_create(CLOCK_MONOTONIC, &e, &h.posix));
	MUST(timer_settime(h.posix, 0, &posix, NULL));
	/* Pending, with a value, for ever. */
	MUST(sigqueue(getpid(), SIGRTMIN + 3, v));
	MUST(kill(getpid(), SIGUSR2));
}

static const char *check_signals(void)
{
	static unsigned long last_alarm, last_posix;
	static int64_t looked;
	struct sigaction a;
	sigset_t pending, mask;

	sigpending(&pending);
	if (sigismember(&pending, SIGUSR2) != 1 || sigismember(&pending, SIGRTMIN + 3) != 1)
		return "a pending signal is gone";
	if (pthread_sigmask(SIG_BLOCK, NULL, &mask) || sigismember(&mask, SIGUSR2) != 1)
		return "the signal mask is another one";
	if (sigaction(SIGHUP, NULL, &a) < 0 || a.sa_handler != SIG_IGN || sigaction(SIGUSR1, NULL, &a) < 0 || !(a.sa_flags & SA_SIGINFO))
		return "a signal's action is another one";
	if (now_ms() - looked < 2000)
		return NULL;
	if (looked && alarms == last_alarm)
		return "the interval timer stands still";
	if (looked && posix_ticks == last_posix)
		return "the POSIX timer stands still";
	last_alarm = alarms;
	last_posix = posix_ticks;
	looked = now_ms();
	return NULL;
}

static void hold_polled(void)
{
	struct itimerspec every = { { 0, 20000000 }, { 0, 20000000 } };
	struct epoll_event e = { .events = EPOLLIN };
	sigset_t set;

	MUST(h.epoll = epoll_create1(EPOLL_CLOEXEC));
	MUST(h.event = eventfd(5, EFD_NONBLOCK));
	MUST(h.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	MUST(timerfd_settime(h.timer, 0, &every, NULL));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	MUST(h.signal = signalfd(-1, &set, SFD_NONBLOCK));
	MUST(h.watch = inotify_init1(IN_NONBLOCK));
	MUST(inotify_add_watch(h.watch, h.dir, IN_CREATE | IN_DELETE));
	const int fds[] = { h.event, h.timer, h.signal, h.watch };
	for (unsigned int i = 0; i < 4; i++) {
		e.data.u32 = 100 + i;
		MUST(epoll_ctl(h.epoll, EPOLL_CTL_ADD, fds[i], &e));
	}
}

static const char *check_events(void)
{
	struct epoll_event e[8];
	int n = epoll_wait(h.epoll, e, 8, 1000), seen = 0;

	for (int i = 0; i < n; i++)
		seen |= 1 << (e[i].data.u32 - 100);
	if (!(seen & 1))
		return "epoll does not report the eventfd";
	if (!(seen & 4))
		return "epoll does not report the signalfd";
	return NULL;
}

static const char *check_polled(void)
{
	uint64_t value = 0, ticks = 0;
	char path[256], events[4096];
	struct pollfd p = { h.timer, POLLIN, 0 };
	const char *bad = check_events();

	if (bad)
		return bad;
	if (read(h.event, &value, 8) != 8 || value != 5 || write(h.event, &value, 8) != 8)
		return "the eventfd holds another number";
	if (poll(&p, 1, 2000) != 1 || read(h.timer, &ticks, 8) != 8 || ticks == 0)
		return "the timerfd does not tick";
	snprintf(path, sizeof(path), "%s/noticed", h.dir);
	while (read(h.watch, events, sizeof(events)) > 0)
		;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	unlink(path);
	if (read(h.watch, events, sizeof(events)) < (ssize_t)(2 * sizeof(struct inotify_event)))
		return "inotify reports nothing";
	return NULL;
}

static void hold_files(void)
{
	char path[256];

	MUST(h.memfd = memfd_create("held", MFD_ALLOW_SEALING));
	MUST(write(h.memfd, TEXT, sizeof(TEXT)));
	MUST(fcntl(h.memfd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
	MUST(pipe(h.pipe));
	MUST(write(h.pipe[1], TEXT, sizeof(TEXT)));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, h.pair));
	MUST(write(h.pair[0], TEXT, sizeof(TEXT)));
	snprintf(path, sizeof(path), "%s/gone", h.dir);
	MUST(h.gone = open(path, O_RDWR | O_CREAT | O_TRUNC, 0640));
	MUST(write(h.gone, TEXT, sizeof(TEXT)));
	MUST(unlink(path));
	snprintf(path, sizeof(path), "%s/locked", h.dir);
	MUST(h.locked = open(path, O_RDWR | O_CREAT | O_APPEND, 0640));
	MUST(flock(h.locked, LOCK_EX));
	umask(0123);
	MUST(chdir(h.dir));
}

/* Looks and puts back. */
static const char *check_stream(int in, int out, const char *what)
{
	char text[64];

	if (read(in, text, sizeof(text)) != sizeof(TEXT) || strcmp(text, TEXT) || write(out, TEXT, sizeof(TEXT)) != sizeof(TEXT))
		return what;
	return NULL;
}

static const char *check_files(void)
{
	char text[64], path[256];
	struct stat st;
	const char *bad;
	int fd;

	if (pread(h.memfd, text, sizeof(text), 0) != sizeof(TEXT) || strcmp(text, TEXT) || fcntl(h.memfd, F_GET_SEALS) != (F_SEAL_WRITE | F_SEAL_SHRINK))
		return "the memfd has other content or seals";
	if (pread(h.gone, text, sizeof(text), 0) != sizeof(TEXT) || strcmp(text, TEXT) || fstat(h.gone, &st) < 0 || st.st_nlink != 0 || (st.st_mode & 07777) != 0640)
		return "the deleted file has other content or mode, or a name";
	bad = check_stream(h.pipe[0], h.pipe[1], "the pipe has lost what was in it");
	if (!bad)
		bad = check_stream(h.pair[1], h.pair[0], "the socket pair has lost what was in it");
	if (bad)
		return bad;
	snprintf(path, sizeof(path), "%s/locked", h.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return "the file is not locked any more";
	close(fd);
	if (!(fcntl(h.locked, F_GETFL) & O_APPEND))
		return "a file's flags are others";
	if (umask(0123) != 0123 || !getcwd(path, sizeof(path)) || strcmp(path, h.dir))
		return "umask or working folder are others";
	return NULL;
}

static int child_main(void)
{
	/* Counts in memory that it shares with its parent. */
	for (;;) {
		(*(atomic_ulong *)h.shared)++;
		nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	}
	return 0;
}

static void hold_memory(void)
{
	struct sembuf up = { 0, 3, 0 };
	struct { long type; char text[32]; } m = { 7, TEXT };
	int fd;

	h.shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(h.shared);
	MUST(h.shmid = shmget(0x4711, 65536, IPC_CREAT | 0600));
	h.sysv = shmat(h.shmid, NULL, 0);
	MUST(h.sysv);
	strcpy(h.sysv + 5000, TEXT);
	MUST(h.semid = semget(0x4712, 1, IPC_CREAT | 0600));
	MUST(semop(h.semid, &up, 1));
	MUST(h.msgid = msgget(0x4713, IPC_CREAT | 0600));
	MUST(msgsnd(h.msgid, &m, sizeof(m.text), 0));
	MUST(fd = shm_open("/held", O_RDWR | O_CREAT, 0600));
	MUST(ftruncate(fd, 8192));
	h.posix_shm = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(h.posix_shm);
	close(fd);
	strcpy(h.posix_shm + 5000, TEXT);
	MUST(h.child = fork());
	if (h.child == 0)
		_exit(child_main());
}

static const char *check_memory(void)
{
	static unsigned long last;
	unsigned long n = *(atomic_ulong *)h.shared;
	struct msqid_ds ds;

	if (strcmp(h.sysv + 5000, TEXT) || shmget(0x4711, 0, 0) != h.shmid)
		return "the System V segment is another one";
	if (semctl(h.semid, 0, GETVAL) != 3)
		return "the semaphore has another value";
	if (msgctl(h.msgid, IPC_STAT, &ds) < 0 || ds.msg_qnum != 1)
		return "the message is gone";
	if (strcmp(h.posix_shm + 5000, TEXT) || access("/dev/shm/held", F_OK) < 0)
		return "the POSIX shared memory is another one";
	if (waitpid(h.child, NULL, WNOHANG) != 0 || n < last)
		return "the child is gone, or what it shares";
	last = n;
	return NULL;
}

static void *waiter(void *arg)
{
	(void)arg;
	for (;;) {
		/* Sleeps in the kernel over every move until it is woken by a check. */
		syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, futex_word, NULL, NULL, 0);
		waiter_alive++;
	}
	return NULL;
}

static const char *check_futex(void)
{
	unsigned int before = waiter_alive;

	for (int i = 0; i < 200 && waiter_alive == before; i++) {
		futex_word++;
		syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	}
	return waiter_alive == before ? "the thread that waits on a futex does not wake" : NULL;
}

static void hold_scheduling(void)
{
	struct rlimit r = { 321, 456 };

	MUST(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
	MUST(setrlimit(RLIMIT_NOFILE, &r));
	MUST(setpriority(PRIO_PROCESS, 0, 5));
}

static const char *check_scheduling(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur != 321 || r.rlim_max != 456)
		return "a resource limit is another one";
	errno = 0;
	if (getpriority(PRIO_PROCESS, (id_t)getpid()) != 5 || errno)
		return "the nice value is another one";
	return NULL;
}

static const char *check(uint64_t *count)
{
	static const char *(*const checks[])(void) = { check_signals, check_polled, check_files, check_memory, check_futex, check_scheduling };
	static uint64_t n;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		const char *bad = checks[i]();

		if (bad)
			return bad;
	}
	*count = ++n;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;

	if (argc != 2) {
		fprintf(stderr, "usage: held FOLDER\n");
		return 2;
	}
	h.dir = argv[1];
	hold_scheduling();
	hold_memory();
	hold_files();
	hold_signals();
	hold_polled();
	if (pthread_create(&t, NULL, waiter, NULL))
		return 1;
	answer(check);
}
