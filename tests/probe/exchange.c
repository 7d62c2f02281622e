/*
 * exchange PLACE OTHER: exchange two names for ever (renameat2(2), RENAME_EXCHANGE), as fast as can be. It says `ready`
 * once that works; exit code 1: the system refused.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static long exchange(const char *a, const char *b)
{
	return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	if (exchange(argv[1], argv[2])) {
		perror("exchange");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		exchange(argv[1], argv[2]);
}
