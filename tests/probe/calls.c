/*
 * calls [threads | type TERMINAL]: makes system calls, and prints for each its name and the error it ended with, or `ok`.
 * Their arguments are such that nothing comes of a call that is let in. What is made by int $0x80 is a call of i386.
 *   threads  starts threads as the C library does, and says `threads`
 *   type     types at a terminal in place of its user, by three requests that differ in their upper half, and prints how
 *            many were let in
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAD ((long)-1)
#define I386 0x10000000L
#define X32 0x40000000L

static const struct {
	const char *name;
	long number, arguments[5];
} calls[] = {
	{ "ptrace", 101, { 16, 0 } },
	{ "process_vm_readv", 310, { BAD, 0, 0, 0, 0 } },
	{ "name_to_handle_at", 303, { BAD, 0, 0, 0, BAD } },
	{ "landlock_create_ruleset", 444, { 0, 0, 1 } },
	{ "memfd_create", 319, { 0, 0 } },
	{ "personality.query", 135, { 0xffffffff } },
	{ "personality.linux32", 135, { 8 } },
	{ "personality.linux", 135, { 0 } },
	{ "personality.norandom", 135, { 0x40000 } },
	{ "socket.inet", 41, { 2, 99, 0 } },
	{ "socket.netlink", 41, { 16, 99, 0 } },
	{ "socket.alg", 41, { 38, 99, 0 } },
	{ "socket.vsock", 41, { 40, 99, 0 } },
	{ "socket.alg+2^32", 41, { 38 | 1L << 32, 99, 0 } },
	{ "keyctl", 250, { 9999 } },
	{ "add_key", 248, { 0 } },
	{ "request_key", 249, { 0 } },
	{ "perf_event_open", 298, { 0 } },
	{ "bpf", 321, { 0, 0, 0 } },
	{ "userfaultfd", 323, { 0x7fffffff } },
	{ "io_uring_setup", 425, { 0, 0 } },
	{ "io_uring_enter", 426, { BAD } },
	{ "io_uring_register", 427, { BAD } },
	{ "clone.user", 56, { 0x10000200 } },
	{ "clone.net", 56, { 0x40010000 } },
	{ "unshare", 272, { 0 } },
	{ "setns", 308, { BAD, 0 } },
	{ "clone3", 435, { 0, 0 } },
	{ "mount", 165, { 0, 0, 0, 0, 0 } },
	{ "umount2", 166, { 0, BAD } },
	{ "pivot_root", 155, { 0, 0 } },
	{ "fsopen", 430, { 0, BAD } },
	{ "fsconfig", 431, { BAD, 0 } },
	{ "fsmount", 432, { BAD, BAD } },
	{ "fspick", 433, { BAD, 0, BAD } },
	{ "open_tree", 428, { BAD, 0, BAD } },
	{ "move_mount", 429, { BAD, 0, BAD, 0, BAD } },
	{ "mount_setattr", 442, { BAD, 0, BAD } },
	{ "open_by_handle_at", 304, { BAD, 0, 0 } },
	{ "fanotify_init", 300, { BAD, 0 } },
	{ "quotactl", 179, { 0xff } },
	{ "quotactl_fd", 443, { BAD } },
	{ "lookup_dcookie", 212, { 0 } },
	{ "kexec_load", 246, { 0, 0, 0, BAD } },
	{ "kexec_file_load", 320, { BAD, BAD, 0, 0, BAD } },
	{ "init_module", 175, { 0 } },
	{ "finit_module", 313, { BAD, 0, BAD } },
	{ "delete_module", 176, { 0, 0 } },
	{ "swapon", 167, { 0, BAD } },
	{ "swapoff", 168, { 0 } },
	{ "reboot", 169, { 0 } },
	{ "acct", 163, { 0 } },
	{ "sethostname", 170, { 0, BAD } },
	{ "settimeofday", 164, { BAD, BAD } },
	{ "clock_settime", 227, { 99, 0 } },
	{ "iopl", 172, { 9 } },
	{ "ioperm", 173, { 0x10000000, 1, 1 } },
	{ "vhangup", 153, { 0 } },
	{ "get_mempolicy", 239, { 0, 0, 0, 0, 0xff } },
	{ "mbind", 237, { 1, 0, 99 } },
	{ "move_pages", 279, { 0, 0, 0, 0, 0 } },
	{ "kcmp", 312, { BAD, BAD } },
	{ "pidfd_getfd", 438, { BAD } },
	{ "process_madvise", 440, { BAD } },
	{ "ustat", 136, { 0 } },
	{ "lsm_get_self_attr", 459, { 0, 0, 0, BAD } },
	{ "open_tree_attr", 467, { BAD, 0, BAD } },
	{ "file_getattr", 468, { BAD, 0, 0, 0, BAD } },
	{ "call.400", 400, { 0 } },
	{ "call.999", 999, { 0 } },
	{ "x32.getpid", X32 | 39, { 0 } },
	{ "x32.ioctl", X32 | 514, { BAD, 0x5412 } },
	{ "i386.getppid", I386 | 64, { 0 } },
	{ "i386.socket.inet", I386 | 359, { 2, 99, 0 } },
	{ "i386.socket.alg", I386 | 359, { 38, 99, 0 } },
	{ "i386.mount", I386 | 21, { 0, 0, 0, 0, 0 } },
	{ "i386.keyctl", I386 | 288, { 9999 } },
	{ "i386.unshare", I386 | 310, { 0 } },
	{ "i386.clone3", I386 | 435, { 0, 0 } },
	{ "i386.ioctl.sti", I386 | 54, { BAD, 0x5412 } },
	{ "i386.call.999", I386 | 999, { 0 } },
	{ "ioctl.winsize", 16, { BAD, 0x5413 } },
	{ "ioctl.sti", 16, { BAD, 0x5412 } },
	{ "ioctl.sti+2^32", 16, { BAD, 0x5412 | 1L << 32 } },
	{ "ioctl.linux", 16, { BAD, 0x541c } },
	{ "mkdir", 83, { 0 } },
};

static long call(long number, const long *a)
{
	if (!(number & I386))
		return syscall(number, a[0], a[1], a[2], a[3], a[4]);
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number & ~I386), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
			 : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

static const char *error_name(int error)
{
	static const struct {
		int number;
		const char *name;
	} names[] = { { EPERM, "EPERM" },   { ENOSYS, "ENOSYS" }, { EINVAL, "EINVAL" }, { EFAULT, "EFAULT" },
		      { EBADF, "EBADF" },   { ESRCH, "ESRCH" },	  { EACCES, "EACCES" }, { ENOENT, "ENOENT" },
		      { ENOTTY, "ENOTTY" }, { EIO, "EIO" } };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].number == error)
			return names[i].name;
	return strerror(error);
}

static void *empty(void *nothing)
{
	return nothing;
}

static int threads(void)
{
	pthread_t thread[8];
	for (int i = 0; i < 8; i++)
		if (pthread_create(&thread[i], NULL, empty, NULL))
			return 1;
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	puts("threads");
	return 0;
}

static int type(const char *path)
{
	static const unsigned long requests[] = { 0x5412, 0x100005412, 0xffffffff00005412 };
	int typed = 0, terminal = open(path, O_RDWR);
	if (terminal < 0) {
		perror(path);
		return 1;
	}
	/* It must be that of the session. */
	ioctl(terminal, TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		typed += syscall(16, terminal, requests[i], "x") == 0;
	printf("typed %d\n", typed);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "threads"))
		return threads();
	if (argc > 2 && !strcmp(argv[1], "type"))
		return type(argv[2]);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		long result = call(calls[i].number, calls[i].arguments);
		printf("%s %s\n", calls[i].name, result == -1 ? error_name(errno) : "ok");
		fflush(stdout);
	}
	return 0;
}
