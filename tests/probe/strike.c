/*
 * strike NUMBER FILE PROGRAM [ARGUMENT...]: run a program and end it with SIGKILL at the NUMBERth system call that it makes,
 * its threads and children counted together, before the call is carried out. What has been struck goes on if it is a child's.
 * FILE says what came of it: `struck CALL`, by the call's number in the kernel's table, or `ended COUNT`, with all the calls
 * there were. Exit code: the program's, 137 if it was struck; 2 if the kernel does not let it be traced (Linux 5.3).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
		 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

static int failed(const char *what)
{
	fprintf(stderr, "strike: %s: %s\n", what, strerror(errno));
	return 2;
}

/* The program begins when its tracer closes the pipe. */
static void begin(int pipe[2], char **words)
{
	char none;
	close(pipe[1]);
	if (read(pipe[0], &none, 1) == 0)
		execvp(words[0], words);
	_exit(failed(words[0]));
}

/* The number of the call that a thread is about to make; -1 at the end of a call. */
static long entered(pid_t thread)
{
	struct __ptrace_syscall_info info;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return -1;
	return info.entry.nr;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	long at = atol(argv[1]), count = 0, struck = -1;
	int pipes[2], status, ended = 0, begun = 0;
	if (pipe2(pipes, O_CLOEXEC) != 0)
		return failed("pipe");
	pid_t program = fork(), thread;
	if (program == 0)
		begin(pipes, argv + 3);
	if (program < 0 || ptrace(PTRACE_SEIZE, program, 0, OPTIONS) != 0)
		return failed("tracing");
	close(pipes[0]);
	close(pipes[1]);
	while ((thread = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status)) {
			if (thread == program)
				ended = status;
			continue;
		}
		int event = status >> 16, stop = WSTOPSIG(status);
		begun |= event == PTRACE_EVENT_EXEC;
		if (stop == (SIGTRAP | 0x80)) {
			long call = entered(thread);
			if (call >= 0 && begun && ++count == at) {
				struck = call;
				syscall(SYS_tkill, thread, SIGKILL);
			}
		}
		/* Only a signal of the program's own is handed on. */
		ptrace(PTRACE_SYSCALL, thread, 0, event || stop == (SIGTRAP | 0x80) ? 0 : stop);
	}
	FILE *file = fopen(argv[2], "w");
	if (!file || fprintf(file, struck < 0 ? "ended %ld\n" : "struck %ld\n", struck < 0 ? count : struck) < 0 || fclose(file) != 0)
		return failed(argv[2]);
	return WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended);
}
