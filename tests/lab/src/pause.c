/* The program of a pod's sandbox container: holds the pod's namespaces until it
 * is told to stop, and reaps children where the pod shares its pid namespace. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	for (;;) {
		int sig = sigwaitinfo(&wanted, NULL);

		if (sig == SIGTERM || sig == SIGINT)
			return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
