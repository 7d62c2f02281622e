"""supervise.py OPTION...: start crate-init in new namespaces, or in those of process $JOIN, and play its supervisor.

The word CONSOLE becomes the number of a socket that gets a terminal; what that says goes to standard output, and the
text $TYPE is typed into it. The word FILE becomes the number of the open file $FILE. What $OUTER holds, as for --seccomp, is
in force from the beginning; with $KEY there is a key of that name in the session keyring. On standard error: `process N`,
`terminal NAME`, then `runs` or `failed CODE TEXT`. The exit code is the program's.
"""

import ctypes
import os
import shutil
import socket
import struct
import sys

MOUNT, UTS, IPC, USER, PID = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def check(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter():
    others, target, ids = MOUNT | UTS | IPC | PID, os.environ.get("JOIN"), (os.getuid(), os.getgid())
    user = USER if ids[0] else 0
    if target:
        check(libc.setns(os.pidfd_open(int(target)), others | user))
        return
    check(libc.unshare(others | user))
    if user:
        for name, text in ("setgroups", "deny"), ("uid_map", f"0 {ids[0]} 1"), ("gid_map", f"0 {ids[1]} 1"):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def filtered(instructions):
    text = ctypes.create_string_buffer(instructions)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions) // 8, ctypes.addressof(text)))
    check(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    check(libc.prctl(22, 2, program))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def hold_key(name):
    calls = {"x86_64": (250, 248), "aarch64": (219, 217)}[os.uname().machine]
    check(libc.syscall(calls[0], 1, None))  # KEYCTL_JOIN_SESSION_KEYRING
    check(libc.syscall(calls[1], b"user", name.encode(), b"secret", 6, -3))  # KEY_SPEC_SESSION_KEYRING


def become(init, numbers):
    for number in numbers.values():
        os.set_inheritable(int(number), True)
    if "OUTER" in os.environ:
        with open(os.environ["OUTER"], "rb") as file:
            filtered(file.read())
    words = [numbers.get(word, word) for word in sys.argv[1:]]
    os.execve(init, ["crate-init", "--error-fd", numbers["ERRORS"], *words], {})


def receive(socket_end):
    name, files, _, _ = socket.recv_fds(socket_end, 64, 2)
    if files:
        say("terminal", name.decode())
        # The socket is closed with the sending of the terminal.
        assert socket_end.recv(1) == b""
    return files


def relay(master):
    os.write(master, os.environ.get("TYPE", "").encode())
    try:
        while text := os.read(master, 4096):
            os.write(1, text)
    except OSError:  # EIO: the last process has closed it.
        pass


def main():
    ours, theirs = socket.socketpair()
    errors, report = os.pipe()
    init = os.open(shutil.which("crate-init"), os.O_PATH)
    numbers = {"ERRORS": str(report)}
    if "CONSOLE" in sys.argv:
        numbers["CONSOLE"] = str(theirs.fileno())
    if "FILE" in sys.argv:
        numbers["FILE"] = str(os.open(os.environ["FILE"], os.O_RDONLY))
    if "KEY" in os.environ:
        hold_key(os.environ["KEY"])
    enter()
    child = os.fork()
    if child == 0:
        become(init, numbers)
    theirs.close()
    os.close(report)
    say("process", child)
    files = receive(ours) if "CONSOLE" in sys.argv else []
    with open(errors, "rb") as pipe:
        error = pipe.read()
    say(*(["failed", error[0], error[1:].decode()] if error else ["runs"]))
    for master in files:
        relay(master)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(code if code >= 0 else 128 - code)


main()
