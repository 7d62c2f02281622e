/*
 * watch exe|trace PROGRAM [DEVICE:INODE...]: lie in wait, inside a container, for each new process, until SIGTERM; then say on
 * one line what was seen and what was won. PROGRAM is the name (comm) of the programs that others start meanwhile: as long
 * as a new process has another name it is still the runtime's own, and what is won from it then counts.
 *   exe    get hold of the executable of the new process, and write to it: at once, or as soon as nobody executes it any
 *          more. It counts where it is the runtime's in memory, or one of those that are named by device and inode.
 *   trace  trace the new process, read and write its memory, take its descriptors.
 * Process 1 is tried first, if it is another.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT 512 /* descriptors that are tried again */

static volatile sig_atomic_t ended;
static const char *program;
static char **prey;

/* What was seen: new processes, those that were the runtime's own yet, those of them with capabilities that this has not. */
static long seen, own, strong;
/* What was won from the runtime's own processes, and from the programs of others, which is allowed. */
static long won, allowed;
/* Executables that were opened, and those that were written to. */
static long opened, written;

static void on_signal(int signal)
{
	(void)signal;
	ended = 1;
}

/* The first word of a line of /proc/PID/NAME that begins with KEY; of the only line if that is empty. */
static int fact(pid_t pid, const char *name, const char *key, char *text, size_t size)
{
	char path[64], buffer[4096], *at;
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t length = read(fd, buffer, sizeof buffer - 1);
	close(fd);
	if (length <= 0)
		return 0;
	buffer[length] = 0;
	at = strstr(buffer, key);
	return at && snprintf(text, size, "%.*s", (int)strcspn(at + strlen(key), "\n"), at + strlen(key)) > 0;
}

/* Is it the runtime's own yet? One that has ended is nobody's. */
static int is_own(pid_t pid)
{
	char name[64];
	return fact(pid, "comm", "", name, sizeof name) && strcmp(name, program) != 0;
}

static unsigned long long capabilities(pid_t pid)
{
	char text[64];
	return fact(pid, "status", "\nCapPrm:\t", text, sizeof text) ? strtoull(text, NULL, 16) : 0;
}

/* --- executables --- */

static int is_prey(int fd)
{
	char name[64], path[32], link[256] = "";
	struct stat s;
	if (fstat(fd, &s))
		return 0;
	snprintf(name, sizeof name, "%llu:%llu", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino);
	for (char **file = prey; *file; file++)
		if (!strcmp(*file, name))
			return 1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof link - 1) > 0 && !strncmp(link, "/memfd:crate", 12);
}

/* Whatever way there is to change a file that is open for nothing, or for reading only. */
static int overwrite(int fd)
{
	char path[32];
	int success = 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	for (int flags = O_WRONLY; flags <= O_RDWR; flags++) {
		int writable = open(path, flags | O_CLOEXEC);
		if (writable < 0)
			continue;
		success |= write(writable, "#!", 2) > 0 || ftruncate(writable, 0) == 0;
		close(writable);
	}
	int writable = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (writable >= 0)
		success = 1, close(writable);
	return success | (truncate(path, 1) == 0);
}

static int kept[KEPT], count;

/* Nobody executes them any more: try again, and let go. */
static void try_again(void)
{
	for (int i = 0; i < count; i++) {
		written += overwrite(kept[i]);
		close(kept[i]);
	}
	count = 0;
}

static void hunt_file(const char *path)
{
	static const int ways[] = {O_RDWR, O_RDONLY, O_PATH};
	for (size_t i = 0; i < 3; i++) {
		int fd = open(path, ways[i] | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0)
			continue;
		if (!is_prey(fd)) {
			close(fd);
			return;
		}
		opened++;
		written += overwrite(fd);
		if (count == KEPT)
			try_again();
		kept[count++] = fd;
	}
}

/* All that a directory of links leads to: descriptors, or mapped files. */
static void hunt_links(pid_t pid, const char *name)
{
	char path[PATH_MAX];
	struct dirent *entry;
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%d/%s/%s", pid, name, entry->d_name);
		if (entry->d_name[0] != '.')
			hunt_file(path);
	}
	if (dir)
		closedir(dir);
}

static void hunt(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	hunt_file(path);
	hunt_links(pid, "map_files");
	hunt_links(pid, "fd");
}

/* --- tracing --- */

static int can_open(pid_t pid, const char *name, int flags)
{
	char path[64], byte;
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return 0;
	int success = flags == O_PATH || flags == O_RDWR || read(fd, &byte, 1) >= 0;
	close(fd);
	return success;
}

static int can_seize(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return 0;
	if (!ptrace(PTRACE_INTERRUPT, pid, 0, 0) && waitpid(pid, NULL, __WALL) == pid)
		ptrace(PTRACE_DETACH, pid, 0, 0);
	return 1;
}

/* An address that is not mapped is told of those only who may look. */
static int can_write_memory(pid_t pid)
{
	char byte = 0;
	struct iovec from = {&byte, 1}, to = {NULL, 1};
	return process_vm_writev(pid, &from, 1, &to, 1, 0) >= 0 || errno == EFAULT;
}

static int can_take(pid_t pid)
{
	int taken = 0, pidfd = syscall(SYS_pidfd_open, pid, 0);
	for (int number = 0; pidfd >= 0 && number < 12; number++) {
		int fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (fd >= 0)
			taken = 1, close(fd);
	}
	if (pidfd >= 0)
		close(pidfd);
	return taken;
}

static int attack(pid_t pid, int way)
{
	switch (way) {
	case 0: return can_seize(pid);
	case 1: return can_open(pid, "mem", O_RDWR);
	case 2: return can_open(pid, "fd/0", O_PATH) || can_open(pid, "fd/3", O_PATH);
	case 3: return can_write_memory(pid);
	case 4: return can_take(pid);
	case 5: return can_open(pid, "environ", O_RDONLY) || can_open(pid, "maps", O_RDONLY);
	default: return can_open(pid, "root", O_PATH) || can_open(pid, "cwd", O_PATH) || can_open(pid, "exe", O_PATH);
	}
}

static void trace(pid_t pid)
{
	for (int way = 0; way <= 6; way++) {
		int before = is_own(pid);
		if (!attack(pid, way))
			continue;
		if (before && is_own(pid)) {
			won++;
			fprintf(stderr, "watch: way %d into process %d, still the runtime's own\n", way, pid);
		} else if (!before) {
			allowed++;
		}
	}
}

/* --- new processes --- */

/* Numbers are given one after the other: the next processes have the next numbers. */
static pid_t next_after(pid_t last)
{
	for (pid_t pid = last + 1; pid <= last + 32; pid++)
		if (kill(pid, 0) == 0 || errno == EPERM)
			return pid;
	return 0;
}

static void wait_in_ambush(int for_files)
{
	pid_t last = getpid();
	unsigned long long mine = capabilities(last);
	if (last != 1)
		for_files ? hunt(1) : trace(1);
	while (!ended) {
		pid_t pid = next_after(last);
		if (!pid)
			continue;
		last = pid;
		seen++;
		own += is_own(pid);
		/* As long as it is there: it becomes another program meanwhile. */
		while (!ended && kill(pid, 0) == 0) {
			strong += is_own(pid) && capabilities(pid) & ~mine && is_own(pid);
			for_files ? hunt(pid) : trace(pid);
		}
	}
	try_again();
}

int main(int argc, char **argv)
{
	if (argc < 3 || (strcmp(argv[1], "exe") && strcmp(argv[1], "trace")))
		return 2;
	program = argv[2];
	prey = argv + 3;
	signal(SIGTERM, on_signal);
	if (puts("waiting") < 0 || fflush(stdout))
		return 1;
	wait_in_ambush(!strcmp(argv[1], "exe"));
	return printf("seen %ld own %ld strong %ld won %ld allowed %ld opened %ld written %ld\n", seen, own, strong, won, allowed,
		      opened, written) < 0;
}
