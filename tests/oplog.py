"""oplog.py: what a program does to a directory, as a log of operations on inodes, from a trace of strace(1).

    log = Log(root); log.trace(["crate-store", "gc"])

Names are kept apart from what they lead to, as file systems do: an operation changes entries of directories, bytes of a
file, or attributes of an inode. A rename changes two entries at once. A sync says what is on the disk from then on.
"""

import os
import re
import subprocess

CALLS = (
    "open openat openat2 creat write pwrite64 writev pwritev pwritev2 truncate ftruncate fallocate copy_file_range sendfile "
    "rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat rmdir mkdir mkdirat mknod mknodat "
    "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utimensat setxattr lsetxattr fsetxattr removexattr "
    "lremovexattr fremovexattr lseek fsync fdatasync syncfs sync"
).split()
LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?:<([^>]*)>)?")
CUT = re.compile(r"^(\d+) +(\w+)\((.*)<unfinished \.\.\.>$")
REST = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
FD = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
ROOT = 0


def plain(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Op:
    """An operation; `entries` is [(directory, name, inode or None)], `data` (offset, bytes) or (None, size) for a truncation."""

    __slots__ = ("entries", "ino", "data", "attr", "durable", "call")

    def __init__(self, call, entries=(), ino=None, data=None, attr=None):
        self.call, self.entries, self.ino, self.data, self.attr = call, tuple(entries), ino, data, attr
        self.durable = float("inf")  # How long the log is when this is on the disk for certain.


class Log:
    def __init__(self, root, deaf=()):
        self.root = os.fsencode(os.path.realpath(root))
        self.deaf = deaf  # Calls that are taken for not made: what the model is tried with.
        self.ops = []
        self.marks = []  # (length of the log, what a program has said is done)
        self.kinds = {ROOT: "directory"}
        self.links = {}
        self.modes = {ROOT: "0700"}
        self.entries = {}
        self.sizes = {}
        self.pending = []  # What no sync has covered.

    # --- the trace ---

    def trace(self, command, **how):
        """Runs a command, adds what it does, and returns its exit code and output."""
        out = os.fsdecode(self.root) + ".trace"
        strace = ["strace", "-f", "-y", "-xx", "-s", "4194304", "-o", out, "-e", "trace=" + ",".join("?" + c for c in CALLS)]
        ended = subprocess.run(strace + ["--"] + command, stdout=subprocess.PIPE, timeout=120, **how)
        with open(out, encoding="latin-1") as lines:
            self.read(lines)
        os.remove(out)
        return ended.returncode, ended.stdout.decode()

    def read(self, lines):
        begun = {}
        for line in lines:
            cut = CUT.match(line)
            if cut:
                begun[cut[1]] = (cut[2], cut[3], len(self.ops))
                continue
            rest, since = REST.match(line), len(self.ops)
            if rest:
                call, head, since = begun.pop(rest[1])
                line = f"{rest[1]} {call}({head}{rest[3]}"
            found = LINE.match(line)
            if found and found[4] not in ("?", "") and int(found[4]) >= 0:
                self.call(found[2], found[3], int(found[4]), found[5], since)

    def call(self, name, arguments, result, opened, since):
        if name in ("fsync", "fdatasync", "syncfs", "sync"):
            if name not in self.deaf:
                self.sync(name, arguments, since)
            return
        known = getattr(self, "on_" + name.rstrip("2"), self.on_attribute)
        known(name, arguments, result, opened)

    # --- names ---

    def paths(self, arguments):
        """The paths of a call: each text, below the descriptor before it."""
        found, base = [], None
        for token in re.finditer(FD.pattern + "|" + TEXT.pattern, arguments):
            if token[2] is None:
                base = plain(token[1])
            else:
                path = plain(token[2])
                found.append(path if base is None else os.path.join(base, path))
        return found

    def within(self, path):
        """A path's parts below the root, or None."""
        path = os.path.normpath(path)
        if path == self.root:
            return []
        return path[len(self.root) + 1 :].split(b"/") if path.startswith(self.root + b"/") else None

    def place(self, path):
        """(directory, name) of a path, or None where it is not below the root."""
        parts = self.within(path)
        if parts is None:
            return None
        if not parts:
            return (None, b"")
        ino = ROOT
        for part in parts[:-1]:
            ino = self.entries[(ino, part)]
        return (ino, parts[-1])

    def inode(self, path):
        place = self.place(path)
        if place is None:
            return None
        return ROOT if place[0] is None else self.entries.get(place)

    # --- operations ---

    def add(self, op):
        for directory, name, ino in op.entries:
            if ino is None:
                self.entries.pop((directory, name), None)
            else:
                self.entries[(directory, name)] = ino
        self.pending.append(op)
        self.ops.append(op)

    def make(self, call, path, kind, mode=""):
        place = self.place(path)
        if place is None or place[0] is None:
            return  # The root itself is there in every state.
        ino = len(self.kinds)
        self.kinds[ino] = kind
        self.sizes[ino] = 0
        self.modes[ino] = mode
        self.add(Op(call, [(*place, ino)]))

    def on_open(self, name, arguments, _, opened):
        path = plain(opened)
        if self.within(path) is None or not (name == "creat" or re.search("O_CREAT|O_TRUNC", arguments)):
            return
        ino = self.inode(path)
        if ino is None:
            self.make(name, path, "file", arguments.rsplit(", ", 1)[-1])
        elif "O_TRUNC" in arguments and self.sizes[ino]:
            self.cut(name, ino, 0)

    on_openat = on_creat = on_open

    def on_mkdir(self, name, arguments, *_):
        self.make(name, self.paths(arguments)[0], "directory", arguments.rsplit(", ", 1)[-1])

    on_mkdirat = on_mkdir

    def on_mknod(self, name, arguments, *_):
        self.make(name, self.paths(arguments)[0], "node", arguments[arguments.rindex('"') + 1 :])

    on_mknodat = on_mknod

    def on_symlink(self, name, arguments, *_):
        self.make(name, self.paths(arguments)[1], "link")
        self.links[len(self.kinds) - 1] = plain(TEXT.search(arguments)[1])

    on_symlinkat = on_symlink

    def on_link(self, name, arguments, *_):
        old, new = self.paths(arguments)
        self.add(Op(name, [(*self.place(new), self.inode(old))]))

    on_linkat = on_link

    def on_rename(self, name, arguments, *_):
        old, new = (self.place(path) for path in self.paths(arguments))
        assert "EXCHANGE" not in arguments
        if old and new:
            self.add(Op(name, [(*old, None), (*new, self.entries[old])]))

    on_renameat = on_rename

    def on_unlink(self, name, arguments, *_):
        place = self.place(self.paths(arguments)[0])
        if place:
            self.add(Op(name, [(*place, None)]))

    on_unlinkat = on_rmdir = on_unlink

    def on_lseek(self, _, arguments, result, __):
        # Every file is written from its beginning to its end: seeking is for reading, or back after a truncation.
        pass

    def bytes_of(self, arguments):
        return b"".join(plain(text) for text in TEXT.findall(arguments))

    def on_write(self, name, arguments, result, _):
        ino = self.inode(plain(FD.match(arguments)[1])) if FD.match(arguments) else None
        if ino is not None and result:
            self.put(name, ino, self.sizes[ino], self.bytes_of(arguments)[:result])

    on_writev = on_write

    def on_pwrite64(self, name, arguments, result, _):
        ino = self.inode(plain(FD.match(arguments)[1]))
        if ino is not None and result:
            self.put(name, ino, int(arguments.rsplit(", ", 1)[1]), self.bytes_of(arguments)[:result])

    on_pwritev = on_pwrite64

    def put(self, call, ino, offset, data):
        self.sizes[ino] = max(self.sizes[ino], offset + len(data))
        self.add(Op(call, ino=ino, data=(offset, data)))

    def cut(self, call, ino, size):
        self.sizes[ino] = size
        self.add(Op(call, ino=ino, data=(None, size)))

    def on_ftruncate(self, name, arguments, *_):
        ino = self.inode(plain(FD.match(arguments)[1]))
        size = int(arguments.rsplit(", ", 1)[1])
        if ino is not None and size != self.sizes[ino]:
            self.cut(name, ino, size)

    def on_fallocate(self, name, arguments, *_):
        assert self.inode(plain(FD.match(arguments)[1])) is None, f"{name} is not modelled"

    on_copy_file_range = on_sendfile = on_truncate = on_fallocate

    def on_attribute(self, name, arguments, *_):
        """The last value that was set counts, whatever it is."""
        found, texts = FD.match(arguments), TEXT.search(arguments)
        by_fd = name in ("fchmod", "fchown", "fsetxattr", "fremovexattr") or (name == "utimensat" and ", NULL, " in arguments)
        path = plain(found[1]) if by_fd else (self.paths(arguments) or [b""])[0]
        ino = self.inode(path)
        if ino is None:
            return
        value = arguments[(found if by_fd else texts).end() :]
        kind = re.sub("^[lf]|at2?$", "", name)
        if "xattr" in name:
            kind, value = value.lstrip(", ").split(",", 1) if "set" in name else (value.lstrip(", "), None)
        self.add(Op(name, ino=ino, attr=({"chmod": "mode"}.get(kind, kind), value)))

    # --- what is on the disk ---

    def sync(self, name, arguments, since):
        """A sync covers what was done before it was begun."""
        covered = (lambda op: True) if name in ("sync", "syncfs") else None
        if covered is None:
            ino = self.inode(plain(FD.match(arguments)[1]))
            if ino is None:
                return
            covered = lambda op: op.ino == ino or any(directory == ino for directory, *_ in op.entries)
        before = set(map(id, self.ops[since:]))
        left = []
        for op in self.pending:
            if id(op) not in before and covered(op):
                op.durable = len(self.ops)
            else:
                left.append(op)
        self.pending = left
