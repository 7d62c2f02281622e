#!/usr/bin/env python3
"""terminal.py [--size ROWSxCOLUMNS] COMMAND...: run COMMAND at a terminal, as the job of a shell, and do the steps that
standard input gives, one a line:

  expect TEXT         wait for TEXT in what comes after the last text that was waited for
  lacks TEXT          TEXT has not come since then
  send TEXT           type TEXT
  resize ROWS COLUMNS change the size of the terminal
  signal NAME         send a signal to the command
  group NAME          send a signal to the foreground process group
  hold NAME           send a signal to the command, and wait until that has stopped it
  do COMMAND          run a shell command beside; it must succeed
  until COMMAND       run a shell command beside until it succeeds
  raw, cooked         wait until the terminal is
  same                wait until stty -g says what it said before
  end CODE            wait for the command's end, with this exit code, or 128 and the signal that killed it
  hang up             close the terminal

In TEXT, backslashes mean what they mean in Python. For the shell commands $PID is the command and $TTY the terminal.
Exit code 1: a step failed; what the terminal showed is told.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DEADLINE = 30


class Failure(Exception):
    pass


def number(name):
    return getattr(signal, "SIG" + name)


def lead(slave, command, told, kept):
    """The leader of the session, in place of a shell: starts the command in the foreground, tells its process id and its
    exit code, and stays until nobody keeps it, since a terminal is hung up when its session's leader ends."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        for changed in (signal.SIGTTOU, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
            signal.signal(changed, signal.SIG_DFL)
        os.closerange(3, 256)
        os.execvp(command[0], command)
    os.write(told, b"%d\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(told, b"%d\n" % (code if code >= 0 else 128 - code))
    os.read(kept, 1)
    os._exit(0)


class Terminal:
    def __init__(self, size, command):
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = self.stty()
        self.seen, self.place = b"", 0
        self.told, told = os.pipe()
        kept, self.keep = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            os.close(self.keep)
            os.close(self.master)
            try:
                lead(self.slave, command, told, kept)
            finally:
                os._exit(125)
        os.close(told)
        os.close(kept)
        self.pid = int(self.line())
        self.code = None
        os.environ["PID"], os.environ["TTY"] = str(self.pid), os.ttyname(self.slave)

    def line(self):
        text = b""
        while not text.endswith(b"\n"):
            byte = os.read(self.told, 1)
            if not byte:
                raise Failure("the leader of the session has ended")
            text += byte
        return text

    def stty(self):
        return subprocess.run(["stty", "-g"], stdin=self.slave, capture_output=True, check=True, text=True).stdout

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))

    def watch(self, seconds):
        """Takes in what comes within this time, and the end of the command."""
        sources = [self.told] if self.code is None else []
        sources += [self.master] if self.master is not None else []
        ready = select.select(sources, [], [], seconds)[0]
        if self.master in ready:
            self.seen += os.read(self.master, 65536)
        elif self.told in ready:
            self.code = int(self.line())

    def wait(self, happened, what):
        end = time.monotonic() + DEADLINE
        while not happened():
            if time.monotonic() > end:
                raise Failure(what)
            self.watch(0.02)

    def expect(self, text):
        self.wait(lambda: text in self.seen[self.place:], "it did not come")
        self.place = self.seen.index(text, self.place) + len(text)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def is_stopped(self):
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    def beside(self, command):
        # What it holds open must not be what this program waits for the end of.
        done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, timeout=DEADLINE)
        return done.returncode == 0

    def step(self, verb, rest):
        text = rest.encode().decode("unicode_escape").encode("latin-1")
        if verb == "expect":
            self.expect(text)
        elif verb == "lacks":
            self.watch(0)
            if text in self.seen[self.place:]:
                raise Failure("it came")
        elif verb == "send":
            while text:
                text = text[os.write(self.master, text):]
        elif verb == "resize":
            self.resize(*rest.split())
        elif verb == "signal":
            os.kill(self.pid, number(rest))
        elif verb == "group":
            os.killpg(os.tcgetpgrp(self.master), number(rest))
        elif verb == "hold":
            os.kill(self.pid, number(rest))
            self.wait(self.is_stopped, "it does not stop")
        elif verb == "do":
            if not self.beside(rest):
                raise Failure("it failed")
        elif verb == "until":
            self.wait(lambda: self.beside(rest), "it never succeeded")
        elif verb == "raw":
            self.wait(self.is_raw, "it is not raw")
        elif verb == "cooked":
            self.wait(lambda: not self.is_raw(), "it is still raw")
        elif verb == "same":
            self.wait(lambda: self.stty() == self.before, f"stty -g: {self.before.strip()} has become {self.stty().strip()}")
        elif verb == "end":
            self.wait(lambda: self.code is not None, "it does not end")
            if self.code != int(rest):
                raise Failure(f"the exit code is {self.code}")
        elif (verb, rest) == ("hang", "up"):
            os.close(self.master)
            self.master = None
        else:
            raise Failure("there is no such step")

    def close(self):
        self.watch(0)
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.keep)
        os.waitpid(self.leader, 0)


def main(arguments):
    size = (24, 80)
    if arguments[0] == "--size":
        size = arguments[1].split("x")
        arguments = arguments[2:]
    terminal = Terminal(size, arguments)
    step = ""
    try:
        for step in sys.stdin.read().splitlines():
            if step.strip():
                verb, _, rest = step.strip().partition(" ")
                terminal.step(verb, rest)
        return 0
    except (Failure, OSError, subprocess.TimeoutExpired) as failure:
        print(f"terminal.py: {step.strip()}: {failure}; the terminal showed:", file=sys.stderr)
        print(terminal.seen.decode(errors="backslashreplace"), file=sys.stderr)
        return 1
    finally:
        terminal.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
