/*
 * probe VERB [ARGUMENT...]: what a test asks from inside a container, in one static program that needs nothing else there.
 * It prints facts of its own process, one to a line; it exits 0 if it could tell, 1 if the system refused, 2 on wrong usage.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int refused(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int print_sorted(char **lines, size_t count)
{
	qsort(lines, count, sizeof *lines, by_text);
	for (size_t i = 0; i < count; i++)
		puts(lines[i]);
	return 0;
}

static int print_env(void)
{
	size_t count = 0;
	while (environ[count])
		count++;
	return print_sorted(environ, count);
}

static int print_ids(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg, groups[256];
	getresuid(&r, &e, &s);
	getresgid(&rg, &eg, &sg);
	printf("uid %u %u %u\ngid %u %u %u\ngroups", r, e, s, rg, eg, sg);
	int count = getgroups(256, groups);
	for (int i = 0; i < count; i++)
		printf(" %u", groups[i]);
	putchar('\n');
	return 0;
}

/* The lines of a file of /proc that begin with one of the words; all lines if there are none. */
static int print_lines(const char *path, char **words)
{
	FILE *file = fopen(path, "r");
	char line[8192];
	if (!file)
		return refused(path);
	while (fgets(line, sizeof line, file)) {
		char **word = words;
		while (*word && strncmp(line, *word, strlen(*word)))
			word++;
		if (*word || word == words)
			fputs(line, stdout);
	}
	fclose(file);
	return 0;
}

static int print_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char *lines[1024];
	size_t count = 0;
	if (!dir)
		return refused("/proc/self/fd");
	while (count < 1024 && (entry = readdir(dir))) {
		char target[PATH_MAX + 1];
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, PATH_MAX);
		if (length < 0 || atoi(entry->d_name) == dirfd(dir))
			continue;
		target[length] = 0;
		if (asprintf(&lines[count], "%s %s", entry->d_name, target) > 0)
			count++;
	}
	return print_sorted(lines, count);
}

/* Each mount: where, type, its own options, sorted; sources and ids differ from run to run. */
static int print_mounts(void)
{
	FILE *file = fopen("/proc/self/mountinfo", "r");
	char line[16384], *lines[1024];
	size_t count = 0;
	if (!file)
		return refused("/proc/self/mountinfo");
	while (count < 1024 && fgets(line, sizeof line, file)) {
		char where[4096], options[1024], type[64];
		char *rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*s %*s %*s %*s %4095s %1023s", where, options) != 2 || sscanf(rest, " - %63s", type) != 1)
			continue;
		if (asprintf(&lines[count], "%s %s %s", where, type, options) > 0)
			count++;
	}
	fclose(file);
	return print_sorted(lines, count);
}

static int print_tty(void)
{
	for (int fd = 0; fd < 3; fd++) {
		struct winsize size;
		if (!isatty(fd))
			printf("%d no\n", fd);
		else if (ioctl(fd, TIOCGWINSZ, &size))
			return refused("TIOCGWINSZ");
		else
			printf("%d %s %ux%u\n", fd, ttyname(fd) ? ttyname(fd) : "unnamed", size.ws_col, size.ws_row);
	}
	return 0;
}

static int print_stat(char **paths)
{
	for (; *paths; paths++) {
		struct stat s;
		if (lstat(*paths, &s))
			return refused(*paths);
		printf("%s %06o %u:%u %lu %llu\n", *paths, s.st_mode, s.st_uid, s.st_gid, (unsigned long)s.st_nlink,
		       (unsigned long long)s.st_size);
	}
	return 0;
}

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return refused(path);
	return 0;
}

/* COUNT bytes that no text filter leaves alone, on descriptor FD. */
static int flood(int fd, long count)
{
	unsigned char block[65536];
	unsigned state = 1;
	while (count > 0) {
		size_t length = count < (long)sizeof block ? (size_t)count : sizeof block;
		for (size_t i = 0; i < length; i++)
			block[i] = (state = state * 1103515245 + 12345) >> 16;
		for (size_t done = 0; done < length;) {
			ssize_t wrote = write(fd, block + done, length - done);
			if (wrote < 0)
				return refused("write");
			done += wrote;
		}
		count -= length;
	}
	return 0;
}

/* Goes on when its parent has been killed. */
static int orphan(void)
{
	if (prctl(PR_SET_PDEATHSIG, 0))
		return refused("prctl");
	if (puts("orphan") < 0 || fflush(stdout))
		return refused("stdout");
	for (;;)
		pause();
}

/* COUNT children that end at once, each leaving a child of its own to process 1. */
static int zombies(long count)
{
	while (count-- > 0) {
		pid_t child = fork();
		if (child < 0)
			return refused("fork");
		if (child)
			continue;
		_exit(fork() < 0);
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

/* Microseconds from spawn to end of a program; its output is dropped. */
static int time_program(char **argv)
{
	struct timespec from, to;
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if ((errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ)))
		return refused(argv[0]);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (status)
		return fprintf(stderr, "probe: %s ended with status %#x\n", argv[0], status), 1;
	printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000LL + (to.tv_nsec - from.tv_nsec) / 1000);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	char **rest = argv + 2, path[PATH_MAX];
	int status = 2;
	if (argc > 1 && !strcmp(verb, "true"))
		return 0;
	if (!strcmp(verb, "exit") && argc == 3)
		return atoi(rest[0]);
	if (!strcmp(verb, "args"))
		for (status = 0; *rest; rest++)
			printf("[%s]\n", *rest);
	else if (!strcmp(verb, "env"))
		status = print_env();
	else if (!strcmp(verb, "cwd"))
		status = getcwd(path, sizeof path) ? puts(path) < 0 : refused("getcwd");
	else if (!strcmp(verb, "ids"))
		status = print_ids();
	else if (!strcmp(verb, "caps"))
		status = print_lines("/proc/self/status", (char *[]){"Cap", "NoNewPrivs", "Seccomp:", NULL});
	else if (!strcmp(verb, "status"))
		status = print_lines("/proc/self/status", rest);
	else if (!strcmp(verb, "fds"))
		status = print_fds();
	else if (!strcmp(verb, "mounts"))
		status = print_mounts();
	else if (!strcmp(verb, "tty"))
		status = print_tty();
	else if (!strcmp(verb, "stat"))
		status = print_stat(rest);
	else if (!strcmp(verb, "umask"))
		status = printf("%04o\n", umask(0)) < 0;
	else if (!strcmp(verb, "pids"))
		status = printf("pid %d ppid %d pgid %d sid %d\n", getpid(), getppid(), getpgrp(), getsid(0)) < 0;
	else if (!strcmp(verb, "hostname"))
		status = gethostname(path, sizeof path) ? refused("gethostname") : puts(path) < 0;
	else if (!strcmp(verb, "write") && argc == 4)
		status = write_to(rest[0], rest[1]);
	else if (!strcmp(verb, "key") && argc == 3)
		status = syscall(SYS_request_key, "user", rest[0], NULL, 0) < 0 ? refused(rest[0]) : puts("found") < 0;
	else if (!strcmp(verb, "kill") && argc == 3)
		status = kill(getpid(), atoi(rest[0])) ? refused("kill") : 0;
	else if (!strcmp(verb, "flood") && argc == 4)
		status = flood(atoi(rest[0]), atol(rest[1]));
	else if (!strcmp(verb, "wait"))
		for (;;)
			pause();
	else if (!strcmp(verb, "orphan"))
		status = orphan();
	else if (!strcmp(verb, "zombies") && argc == 3)
		status = zombies(atol(rest[0]));
	else if (!strcmp(verb, "time") && argc > 2)
		status = time_program(rest);
	else
		fprintf(stderr, "usage: probe true|exit|args|env|cwd|ids|caps|status|fds|mounts|tty|stat|umask|pids|hostname|write|"
				"key|kill|flood|wait|orphan|zombies|time [ARGUMENT...]\n");
	return fflush(stdout) ? refused("stdout") : status;
}
