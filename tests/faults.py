"""faults.py [--every K] [--seed N] [COMMAND...]: end each command at every system call, and fail each that changes a file.

The commands of crate-fetch and crate-store are played against a small store, once for each fault that strace(1) can put in:
  kill    SIGKILL at every system call, of every thread
  ENOSPC, EIO   returned by every call that writes, syncs, makes, renames, changes or removes
  EDQUOT        returned by every write
After each of them every image listed is complete, every layer visible has the tree it is to have, and fsck finds nothing;
an error has been told in one clear line. The same command again brings the state that it brings undisturbed, and gc leaves
nothing unfinished behind.

Prints a line of counts for each command; exit code 1 if anything was wrong, with a line for each.
--every K: only every K-th point, those that the seed picks.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import faults_image
import faults_points
import tree

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE = 60  # Seconds for one program.
OLD = 2 * 24 * 3600  # Older than anything that gc keeps for a while.
REASONS = {"ENOSPC": "No space left on device", "EIO": "I/O error", "EDQUOT": "Quota exceeded"}
FAULTS = ("kill", *REASONS)
OPTIONS = argparse.Namespace(
    no_special=False, no_times=False, no_dir_times=False, no_nlink=False, squash=False, uid_map=[], skip_xattr=[])


class Command:
    """What is played: a store to begin with, a program, and the exit codes of a second run that finds all done."""

    def __init__(self, program, *words, before=(), done=()):
        self.program, self.words, self.before, self.done = program, words, before, done


def commands(bench):
    fetch = ("crate-fetch", "--quiet", "--jobs", "2", "--as", faults_image.NAME, bench.registry + "/small:1")
    load = ("crate-store", "load", "--quiet", "oci-archive:" + bench.image + "/oci.tar")
    unpack = ("crate-store", "unpack", faults_image.NAME)
    create = ("crate-store", "create", "--name", "one", faults_image.NAME, "--", "true")
    held, made = (load, unpack), (load, unpack, create, ("fill",))
    return {
        "pull": Command(*fetch),
        "unpack": Command(*unpack, before=(load,)),
        "create": Command(*create, before=held, done=(4,)),
        "rm": Command("crate-store", "rm", "one", before=made, done=(3,)),
        "rmi": Command("crate-store", "rmi", faults_image.NAME, before=held, done=(3,)),
        "gc": Command("crate-store", "gc", before=(*made, ("litter",))),
        "tag": Command("crate-store", "tag", faults_image.NAME, "example.org/other:2", before=held),
        "load": Command(*load),
        "load-docker": Command("crate-store", "load", "--quiet", "docker-archive:" + bench.image + "/docker.tar"),
        "prune": Command("crate-store", "prune", "containers", "-f", before=made),
        "prune-images": Command("crate-store", "prune", "images", "-a", "-f", before=held),
        "rename": Command("crate-store", "rename", "one", "two", before=made, done=(3, 4)),
    }


class Bench:
    """What all commands share: the image and its archives, and the registry that serves it."""

    def __init__(self, bulk=0):
        self.dir = tempfile.mkdtemp(prefix="faults.")
        self.image = os.path.join(self.dir, "image")
        faults_image.make(self.image, bulk)
        server = [sys.executable, os.path.join(HERE, "registry.py"), self.image + "/oci"]
        self.server = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
        self.registry = self.server.stdout.readline().strip().replace("127.0.0.1", "localhost")

    def close(self):
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.dir)


class Place:
    """A store of one process's own, and the runs in it."""

    def __init__(self, bench, number):
        self.dir = os.path.join(bench.dir, str(number))
        self.store, self.run_dir = os.path.join(self.dir, "store"), os.path.join(self.dir, "run")
        os.makedirs(self.dir)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.dir, "CRATE_ROOT": self.store, "CRATE_RUN": self.run_dir}

    def run(self, *words, prefix=()):
        """The exit code, standard output and standard error of a program."""
        with open(self.dir + "/out", "w+b") as out, open(self.dir + "/err", "w+b") as err:
            code = subprocess.run([*prefix, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.dir,
                                  env=self.environment, timeout=DEADLINE, check=False).returncode
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def must(self, *words):
        code, _, err = self.run(*words)
        if code != 0:
            raise SystemExit("%s: exit code %d: %s" % (" ".join(words), code, err))

    def clear(self):
        for path in (self.store, self.run_dir):
            if os.path.lexists(path):
                subprocess.run(["rm", "-rf", path], check=True)

    def prepare(self, steps):
        self.clear()
        for step in steps:
            if step == ("fill",):
                self.fill()
            elif step == ("litter",):
                self.litter()
            else:
                self.must(*step)

    def containers(self):
        place = self.store + "/containers"
        names = os.listdir(place) if os.path.isdir(place) else []
        return [name for name in names if not os.path.islink(os.path.join(place, name))]

    def fill(self):
        """What a container leaves when it has run."""
        for container in self.containers():
            upper = os.path.join(self.store, "containers", container, "upper")
            os.makedirs(upper + "/a/b")
            os.makedirs(upper + "/closed", mode=0)
            for name in ("/file", "/a/b/file"):
                with open(upper + name, "w") as file:
                    file.write("written\n" * 100)

    def litter(self):
        """What nothing leads to: an image without a name, names of no container, and unfinished things of an age."""
        with open(self.store + "/index.json", "w") as file:
            file.write('{"schemaVersion":2,"manifests":[]}')
        os.symlink("f" * 64, self.store + "/containers/nobody")
        os.makedirs(self.store + "/ingest/layer.0123456789abcdef/etc")
        os.makedirs(self.run_dir + "/" + "e" * 64, exist_ok=True)
        for name in ("sha256-" + "a" * 64, "file.0123456789abcdef", "layer-" + "b" * 64 + ".lock"):
            with open(self.store + "/ingest/" + name, "w") as file:
                file.write("x")
        self.age()

    def age(self):
        """Makes everything that gc keeps while it is young old."""
        then = time.time() - OLD
        for folder in ("ingest", "blobs/sha256"):
            for name in os.listdir(os.path.join(self.store, folder)):
                os.utime(os.path.join(self.store, folder, name), (then, then), follow_symlinks=False)

    def copy_from(self, saved):
        self.clear()
        for name in ("store", "run"):
            if os.path.lexists(os.path.join(saved, name)):
                subprocess.run(["cp", "-a", os.path.join(saved, name), self.dir], check=True)

    def state(self):
        """Everything visible: references, blobs with their content's digest, layers, and containers by their names."""
        state = {"names": [], "blobs": {}, "layers": {}, "containers": {}, "dangling": []}
        if not os.path.exists(self.store + "/oci-layout"):
            return state
        with open(self.store + "/index.json") as file:
            for entry in json.load(file)["manifests"]:
                state["names"].append((entry["annotations"][faults_image.REF_NAME], entry["digest"]))
        for name in os.listdir(self.store + "/blobs/sha256"):
            with open(self.store + "/blobs/sha256/" + name, "rb") as file:
                state["blobs"][name] = hashlib.sha256(file.read()).hexdigest()
        for name in os.listdir(self.store + "/layers"):
            state["layers"][name] = self.tree(os.path.join(self.store, "layers", name))
        names = {id: id for id in self.containers()}
        for name in os.listdir(self.store + "/containers"):
            path = os.path.join(self.store, "containers", name)
            if os.path.islink(path) and os.readlink(path) in names:
                names[os.readlink(path)] = name
            elif os.path.islink(path):
                state["dangling"].append(name)
        for container, name in names.items():
            files = os.listdir(os.path.join(self.store, "containers", container))
            state["containers"][name] = sorted(set(files) - {"lock"})
        return state

    def unfinished(self):
        place = self.store + "/ingest"
        return os.listdir(place) if os.path.isdir(place) else []

    def tree(self, top):
        lines = []
        for folder, folders, files in os.walk(top):
            for name in [*folders, *files, "."]:
                path = os.path.normpath(os.path.join(folder, name))
                text = tree.line(os.fsencode(path), os.fsencode(os.path.relpath(path, top)), OPTIONS)
                # What the archive gives no time, a whiteout say, has that of its making.
                lines.append(re.sub(r" 1[1-9]\d{8}\.\d{9} ", " - ", text))
        return sorted(set(lines))


def said(fault, err, gc=False):
    """What is wrong with how an error was told; no fault: a file system that is really full."""
    lines = [line for line in err.splitlines() if not re.match(r"hint: |crate-store: removed \d", line)]
    reason = REASONS[fault] if fault else "No space left on device|: it needs "
    if len(lines) != 1 and not (gc and lines):
        return "%d lines on standard error" % len(lines)
    if not re.match(r"crate-(store|fetch): \S.*: ", lines[0]):
        return "the line does not say what was done"
    if not re.search(reason, lines[0]):
        return "the line does not say why"
    if fault != "EIO" and " are free in /" not in err:
        return "nothing says how much is free"
    return None


def between(state, first, last):
    """What is wrong with a state on the way from one to the other."""
    if state["names"] not in (first["names"], last["names"]):
        return "references %s" % state["names"]
    for name, digest in state["blobs"].items():
        if name != digest:
            return "blob %s is not its digest's" % name
    for name, lines in state["layers"].items():
        if lines not in (first["layers"].get(name), last["layers"].get(name)):
            return "layer %s is not whole" % name
    for name, files in state["containers"].items():
        if files not in (first["containers"].get(name), last["containers"].get(name)):
            known = [*first["containers"].values(), *last["containers"].values()]
            if len(name) != 64 or files not in known:
                return "container %s has %s" % (name, files)
    return None


def play(task):
    """Plays one fault; what was wrong, or None."""
    bench, name, fault, (call, number, path) = task
    place = PLACE
    command = commands(bench)[name]
    words = (command.program, *command.words)
    first, last = SAVED[name]
    place.copy_from(os.path.join(bench.dir, "saved", name))
    # In place of what fails something harmless is called: for the usual -1 a seccomp filter would end the program.
    what = "signal=KILL" if fault == "kill" else "error=%s:syscall=getpid" % fault
    prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]
    prefix += ["-P", path.replace("{}", place.dir)] if path else []
    prefix += ["-e", "inject=%s:%s:when=%d" % (call, what, number)]
    try:
        code, _, err = place.run(*words, prefix=prefix)
        wrong = judge(place, name, fault, call, (code, err), (first, last)) or again(place, command, last)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        code, err, wrong = "?", "", repr(error)
    if wrong:
        at = "%s %s %s:%d%s" % (name, fault, call, number, " of " + path if path else "")
        return "%s: %s (exit code %s: %s)" % (at, wrong, code, err.strip()[:300])
    return None


def is_done(state, last):
    """Is all there that is to be? What is not to be there any more may be left for gc."""
    there = all(one in state[what].items() for what in ("blobs", "layers") for one in last[what].items())
    return there and state["names"] == last["names"] and state["containers"] == last["containers"]


def judge(place, name, fault, call, outcome, ends):
    """What is wrong just after a fault."""
    code, err = outcome
    state = place.state()
    wrong = between(state, *ends)
    if wrong:
        return wrong
    if fault != "kill":
        if code not in (0, 1):
            return "neither done nor failed"
        if code == 1 and said(fault, err, name.startswith(("gc", "prune"))):
            return said(fault, err, name.startswith(("gc", "prune")))
        if code == 0 and not is_done(state, ends[1]):
            return "it was told to be done, and was not"
        # What has come of a blob stays, for a later run to go on with.
        left = [name for name in place.unfinished() if not re.match("sha(256|512)-", name)]
        if left and code == 1 and not call.startswith(("unlink", "rmdir")) and name not in ("gc", "prune-images"):
            return "left at once: %s" % left
    if os.path.exists(place.store + "/oci-layout"):
        code, out, err = place.run("crate-store", "fsck")
        if code != 0 or out:
            return "fsck: " + out + err
    return None


def again(place, command, last):
    """What is wrong after the same command again, and after gc."""
    before = place.state()
    code, _, err = place.run(command.program, *command.words)
    same = before["names"] == last["names"] and before["containers"] == last["containers"]
    if code != 0 and not (same and code in command.done):
        return "again: exit code %d: %s" % (code, err)
    place.age()
    code, _, err = place.run("crate-store", "gc")
    if code != 0:
        return "gc: exit code %d: %s" % (code, err)
    state = place.state()
    for what, wanted in last.items():
        if state[what] != wanted:
            return "%s are %s" % (what, list(state[what]))
    left = place.unfinished() + os.listdir(place.run_dir)
    return "left: %s" % left if left else None


def begin(bench, saved):
    """One of the processes that play."""
    global PLACE, SAVED
    PLACE, SAVED = Place(bench, os.getpid()), saved


def trace(bench, name):
    """Prepares a command's store and runs it undisturbed: where faults go in, and the states before and after."""
    command = commands(bench)[name]
    place = Place(bench, name)
    place.prepare(command.before)
    first, saved = place.state(), os.path.join(bench.dir, "saved", name)
    os.makedirs(saved)
    for part in (place.store, place.run_dir):
        if os.path.lexists(part):
            subprocess.run(["cp", "-a", part, saved], check=True)
    log = os.path.join(place.dir, "trace")
    place.must("strace", "-f", "-qq", "-y", "-s", "4096", "-e", "signal=none", "-o", log, command.program, *command.words)
    found = faults_points.points(log, place.dir)
    place.age()
    place.must("crate-store", "gc")
    return found, (first, place.state())


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("commands", nargs="*")
    options = parser.parse_args()
    os.umask(0o022)
    bench = Bench()
    wrong = []
    try:
        names = options.commands or list(commands(bench))
        found = {name: trace(bench, name) for name in names}
        rng, tasks = random.Random(options.seed), []
        for name in names:
            own = [(bench, name, fault, point) for point, change in found[name][0].items()
                   for fault in FAULTS[:1 if not change else None if point[0] == "write" else 3]]
            tasks += own[rng.randrange(min(options.every, len(own)))::options.every]
        if options.every > 1:
            print("faults: seed %d, every %d. point" % (options.seed, options.every))
        counts = {(name, fault): 0 for name in names for fault in FAULTS}
        saved = {name: ends for name, (_, ends) in found.items()}
        shared = argparse.Namespace(dir=bench.dir, image=bench.image, registry=bench.registry)
        tasks = [(shared, *task[1:]) for task in tasks]
        with multiprocessing.Pool(2, begin, (shared, saved)) as pool:
            for task, told in zip(tasks, pool.imap(play, tasks, 4)):
                counts[task[1], task[2]] += 1
                wrong += [(task[1], told)] if told else []
        for name in names:
            bad = [told for own, told in wrong if own == name]
            print("faults: %s: %d kill points, %d ENOSPC, %d EIO, %d EDQUOT: %s" % (
                name, *(counts[name, fault] for fault in FAULTS),
                "%d wrong" % len(bad) if bad else "all clean"))
            print("".join("  %s\n" % told for told in bad), end="", flush=True)
    finally:
        bench.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
