#!/usr/bin/env python3
"""corpus --kind KIND [--only TEXT] [--slow N] DIR: malformed images through `crate-store load` and `crate-store unpack`.

Each case is an archive or a layout, made on the spot, with the exit code that it is to end with. After each the store must
hold what it held, a tree beside it must be untouched, and neither time nor memory may be more than a small image takes.
KIND is root, ranges or single; run it where layers are unpacked: in the user namespace of the latter two.
"""
import argparse
import collections
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time

import changes
import documents
import packing
import paths
import records
from case import DEVICE, DIR, FIFO, NAME, OPAQUE, WHITEOUT, Image, archive, blocks, file, link

SECONDS, MEBIBYTES, DEADLINE = 1.0, 64, 10
Run = collections.namedtuple("Run", "code out err seconds mebibytes elapsed")
PLAIN = {stat.S_IFIFO: FIFO, stat.S_IFBLK: DEVICE}


def run(*command, deadline=60):
    """Runs a program to its end; its time and memory are those that the kernel counted."""
    with open("out", "w+b") as out, open("err", "w+b") as err:
        begun = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        # Killed by its limit of processor time if it never ends.
        resource.prlimit(child.pid, resource.RLIMIT_CPU, (deadline, deadline))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        return Run(child.returncode, out.read(), err.read(), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024,
                   time.monotonic() - begun)


def standing(path):
    """What stands at a path of a layer, in the words of case.py."""
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    own = [name for name in os.listxattr(path, follow_symlinks=False) if ".overlay." in name]
    if own == ["user.overlay.opaque"] and kind == stat.S_IFDIR:
        return OPAQUE
    if own:
        return "attributes of overlay: %s" % own
    if kind == stat.S_IFLNK:
        return link(os.readlink(path))
    if kind == stat.S_IFREG:
        if status.st_size > 1 << 20:
            return "%d bytes" % status.st_size
        with open(path, "rb") as content:
            return content.read()
    if kind == stat.S_IFCHR:
        return WHITEOUT if status.st_rdev == 0 else DEVICE
    return PLAIN.get(kind, DIR)


def below(top):
    """The paths below a directory, from it, each before what is in it."""
    found = []
    for here, directories, files in os.walk(top):
        found += [os.path.relpath(os.path.join(here, name), top) for name in directories + files]
    return sorted(found)


def snapshot(top):
    """All that may not change of a tree."""
    found = {}
    for path in [".", *below(top)]:
        status = os.lstat(os.path.join(top, path))
        found[path] = (standing(os.path.join(top, path)), status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns)
    return found


class Corpus:
    """The store that all cases are tried on, and what it is to be after each."""

    def __init__(self, options):
        self.options = options
        os.environ["CRATE_ROOT"] = self.store = os.path.join(options.dir, "store")
        with open("kept.tar", "wb") as out:
            image = Image(blocks(file(b"kept", b"kept")))
            image.entry["annotations"] = {"org.opencontainers.image.ref.name": "localhost/kept:1"}
            out.write(image.archive())
        for verb, what in (("load", "oci-archive:kept.tar"), ("unpack", "localhost/kept:1")):
            assert run("crate-store", verb, what).code == 0
        with open(os.path.join(self.store, "index.json"), "rb") as index:
            self.index = index.read()
        self.blobs, self.layers = self.names("blobs/sha256"), self.names("layers")
        self.host = {name: snapshot(name) for name in ("canary", "store/layers")}
        self.beside = sorted(os.listdir("."))

    def names(self, part):
        return set(os.listdir(os.path.join(self.store, part)))

    def play(self, case):
        """The complaints about a case; none if all is well."""
        source = self.write(case)
        runs = [("load", run("crate-store", "load", "--quiet", source))]
        if runs[0][1].code == 0:
            runs.append(("unpack", run("crate-store", "unpack", NAME)))
        at, last = runs[-1]
        code = (case.kinds or {}).get(self.options.kind, case.code)
        complaints = []
        if last.code != code or case.code and at != case.at:
            complaints.append("%s ended with %d instead of %s with %d" % (at, last.code, case.at, code))
        if last.code:
            complaints += refusal(last)
        for verb, one in runs:
            if one.seconds > SECONDS or one.mebibytes > MEBIBYTES or one.elapsed > DEADLINE:
                complaints.append("%s took %.2f s of processor time, %.1f s in all, %.0f MiB" % (verb, one.seconds, one.elapsed, one.mebibytes))
        complaints += self.outcome(case, at, last)
        complaints += self.host_changes()
        self.restore()
        case.used = max(one.seconds for _, one in runs), max(one.mebibytes for _, one in runs)
        return complaints and [*complaints, last.err.decode(errors="replace").strip()[:300]]

    def write(self, case):
        """Writes what is to be loaded, in a process of its own: what that takes would be counted as the program's."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = self.write_here(case.make())
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, case.name
        return case.source + ":image"

    @staticmethod
    def write_here(made):
        if isinstance(made, bytes):
            with open("image", "wb") as out:
                out.write(made)
        else:
            for name, content in made.items():
                os.makedirs(os.path.dirname(os.path.join("image", name)), exist_ok=True)
                with open(os.path.join("image", name), "wb") as out:
                    out.write(content)
        return 0

    def outcome(self, case, at, last):
        """What the store holds afterwards."""
        complaints = []
        new = self.names("layers") - self.layers
        if last.code and new:
            complaints.append("a refused layer is there")
        with open(os.path.join(self.store, "index.json"), "rb") as index:
            if (at, last.code == 0) == ("load", False) and index.read() != self.index:
                complaints.append("a refused image has a name")
        if self.names("ingest"):
            complaints.append("left in ingest/: %s" % self.names("ingest"))
        checked = run("crate-store", "fsck")
        if checked.code:
            complaints.append("fsck: %d: %s" % (checked.code, checked.err.decode(errors="replace")[:300]))
        if last.code == 0 and (case.tree is not None or case.modes):
            complaints += self.compare(case)
        return complaints

    def compare(self, case):
        with open(os.path.join(self.store, "index.json"), "rb") as index:
            entry = next(one for one in json.load(index)["manifests"] if one["annotations"]["org.opencontainers.image.ref.name"] == NAME)
        read = lambda key: json.load(open(os.path.join(self.store, "blobs", *key.split(":"))))
        document = read(entry["digest"])
        while "manifests" in document:
            document = read(document["manifests"][0]["digest"])
        top = os.path.join(self.store, "layers", read(document["config"]["digest"])["rootfs"]["diff_ids"][-1].split(":")[1])
        complaints = []
        if case.tree is not None:
            found = {path: standing(os.path.join(top, path)) for path in below(top)}
            if found != case.tree:
                complaints.append("it holds %r instead of %r" % (found, case.tree))
        for path, mode in (case.modes or {}).items():
            found = stat.S_IMODE(os.lstat(os.path.join(top, path)).st_mode)
            if found != mode:
                complaints.append("%s has mode %o instead of %o" % (path, found, mode))
        return complaints

    def host_changes(self):
        complaints = ["%s has changed" % name for name, before in self.host.items() if name != "store/layers" and snapshot(name) != before]
        complaints += ["beside the store: %s" % name for name in sorted(os.listdir(".")) if name not in (*self.beside, "image")]
        kept = {path: value for path, value in snapshot("store/layers").items() if path.split("/")[0] in self.layers}
        before = {path: value for path, value in self.host["store/layers"].items() if path != "."}
        return complaints + (["another image's layer has changed"] if kept != before else [])

    def restore(self):
        """The store as it was, for the next case."""
        shutil.rmtree("image") if os.path.isdir("image") else os.unlink("image")
        with open(os.path.join(self.store, "index.json"), "wb") as index:
            index.write(self.index)
        for part, known in (("layers", self.layers), ("blobs/sha256", self.blobs), ("ingest", set())):
            for name in self.names(part) - known:
                path = os.path.join(self.store, part, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def refusal(last):
    """A failure is told in one line, perhaps with a hint below, and nothing steers the terminal."""
    text = last.err.decode(errors="replace")
    lines = [one for one in text.splitlines() if not one.startswith("hint: ")]
    complaints = []
    if len(lines) != 1 or not lines[0].startswith("crate-store: "):
        complaints.append("%d lines on standard error: %r" % (len(lines), text[:300]))
    if any(ord(one) < 32 and one != "\n" for one in text) or len(text) > 2000:
        complaints.append("its message steers the terminal, or is too long")
    if last.out:
        complaints.append("standard output is not empty")
    return complaints


def can_mknod():
    try:
        os.mknod("node", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        return False
    os.unlink("node")
    return True


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("dir")
    options = parser.parse_args()
    options.dir = os.path.abspath(options.dir)
    os.chdir(options.dir)
    os.umask(0o022)
    os.makedirs("canary/inner")
    for name in ("canary/file", "canary/inner/file"):
        with open(name, "w") as out:
            out.write("untouched")
    options.canary, options.can_mknod = os.path.abspath("canary"), can_mknod()
    for name in ("out", "err"):
        open(name, "w").close()
    corpus, played, failed, slowest, largest = Corpus(options), {}, 0, (0, ""), (0, "")
    for group in (paths, changes, records, packing, documents):
        for case in group.cases(options):
            if options.only not in case.name:
                continue
            assert case.name not in played, case.name
            complaints = corpus.play(case)
            played[case.name] = case.code
            slowest, largest = max(slowest, (case.used[0], case.name)), max(largest, (case.used[1], case.name))
            if complaints:
                failed += 1
                print("%s: %s" % (case.name, "\n    ".join(complaints)))
    print("%d cases, %d of them refused, %d failed; slowest %s: %.2f s, largest %s: %.0f MiB"
          % (len(played), sum(code != 0 for code in played.values()), failed, slowest[1], slowest[0], largest[1], largest[0]))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
