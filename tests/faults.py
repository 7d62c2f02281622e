"""faults.py [--every K] [--seed N] [COMMAND...]: end each command at every system call, and fail each that changes a file.

The commands of crate-fetch and crate-store are played against a small store, once for each fault:
  kill    SIGKILL at every system call, counted over all threads (probe/strike.c)
  ENOSPC, EIO   returned by every call that writes, syncs, makes, renames, changes or removes (strace(1))
  EDQUOT        returned by every write
After each of them every image listed is complete, every layer visible has the tree it is to have, and fsck finds nothing;
an error has been told in one clear line. The same command again brings the state that it brings undisturbed, and gc leaves
nothing unfinished behind. What two faults leave alike to the byte is looked at, and gone on with, once.

Prints a line of counts for each command: how many faults were met, and how many different states they left. Threads do not
do the same in every run, and a fault that a run does not come to is counted apart. Exit code 1 if anything was wrong, with
a line for each.
--every K: only one in K, those that the seed picks.
"""

import argparse
import collections
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import faults_image
import faults_points
from faults_place import Place

HERE = os.path.dirname(os.path.abspath(__file__))
REASONS = {"ENOSPC": "No space left on device", "EIO": "I/O error", "EDQUOT": "Quota exceeded"}
FAULTS = ("kill", *REASONS)
FOUND = {}  # (command, fingerprint): what was found there, and what is wrong with it.


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


def strike(place, words, number):
    """Ends a program at a system call; exit code, standard error and whether it came to that call."""
    code, _, err = place.run(*words, prefix=["strike", str(number), place.dir + "/struck"])
    with open(place.dir + "/struck") as file:
        return code, err, file.read().startswith("struck ")


def inject(place, words, error, point):
    """Fails a program's system call; exit code, standard error and whether it came to that call."""
    call, number, path = point
    log = place.dir + "/injected"
    # In place of what fails something harmless is called: for the usual -1 a seccomp filter would end the program.
    prefix = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", log, "-e", "signal=none", "-e", "trace=" + call]
    prefix += ["-P", path.replace("{}", place.dir)] if path else []
    prefix += ["-e", "inject=%s:error=%s:syscall=getpid:when=%d" % (call, error, number)]
    code, _, err = place.run(*words, prefix=prefix)
    with open(log, errors="replace") as file:
        return code, err, "(INJECTED)" in file.read()


def play(task):
    """Plays one fault: whether it was met, what it left, and what was wrong, or None."""
    bench, name, fault, point = task
    place, command = PLACE, commands(bench)[name]
    words = (command.program, *command.words)
    place.copy_from(os.path.join(bench.dir, "saved", name))
    code, err, met, left = "?", "", True, None
    try:
        code, err, met = strike(place, words, point) if fault == "kill" else inject(place, words, fault, point)
        left = name, place.fingerprint()
        if left not in FOUND:
            FOUND[left] = look(place, name, command)
        state, unfinished, wrong = FOUND[left]
        wrong = wrong or (fault != "kill" and judge(name, fault, point[0], (code, err), state, unfinished))
        wrong = wrong or (fault == "kill" and met and code != 137 and "it was not ended") or None
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        wrong = repr(error)
    told = "%s %s %s: %s (exit code %s: %s)" % (name, fault, point, wrong, code, err.strip()[:300])
    return met, left, wrong and told


def is_done(state, last):
    """Is all there that is to be? What is not to be there any more may be left for gc."""
    there = all(one in state[what].items() for what in ("blobs", "layers") for one in last[what].items())
    return there and state["names"] == last["names"] and state["containers"] == last["containers"]


def judge(name, fault, call, outcome, state, unfinished):
    """What is wrong with how an error was told, and with what was left at once."""
    code, err = outcome
    if code not in (0, 1):
        return "neither done nor failed"
    if code == 1 and said(fault, err, name.startswith(("gc", "prune"))):
        return said(fault, err, name.startswith(("gc", "prune")))
    if code == 0 and not is_done(state, SAVED[name][1]):
        return "it was told to be done, and was not"
    # What has come of a blob stays, for a later run to go on with; what was removed stays whole while its name may come back.
    left = [one for one in unfinished if not re.match("sha(256|512)-" + ("|container|layer" if call == "fsync" else ""), one)]
    if left and code == 1 and not call.startswith(("unlink", "rmdir")) and name not in ("gc", "prune-images"):
        return "left at once: %s" % left
    return None


def look(place, name, command):
    """What a fault has left: the state, what is unfinished, and what is wrong with it now or afterwards."""
    first, last = SAVED[name]
    state, unfinished = place.state(), place.unfinished()
    wrong = between(state, first, last)
    if not wrong and os.path.exists(place.store + "/oci-layout"):
        code, out, err = place.run("crate-store", "fsck")
        wrong = "fsck: " + out + err if code or out else None
    return state, unfinished, wrong or again(place, command, state, last)


def again(place, command, before, last):
    """What is wrong after the same command again, and after gc."""
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
    log, words = os.path.join(place.dir, "trace"), (command.program, *command.words)
    place.must("strike", "0", log, *words)
    with open(log) as file:
        calls = int(file.read().split()[1])
    place.copy_from(saved)
    place.must("strace", "-f", "-qq", "-y", "-s", "4096", "-e", "signal=none", "-o", log, *words)
    found = faults_points.points(log, place.dir)
    place.age()
    place.must("crate-store", "gc")
    return calls, found, (first, place.state())


def tasks(shared, names, found, options):
    """All that is to be played, or a part of it."""
    rng = random.Random(options.seed)
    for name in names:
        calls, points, _ = found[name]
        own = [(shared, name, "kill", number) for number in range(1, calls + 1)]
        own += [(shared, name, fault, point) for point in points
                for fault in list(REASONS)[: None if point[0] == "write" else 2]]
        yield from own if options.every == 1 else rng.sample(own, -(-len(own) // options.every))


def report(name, counts, states, wrong):
    """The line of a command."""
    met = ", ".join("%d %s" % (counts[name, fault, True], told) for fault, told in zip(FAULTS, ("kill points", *REASONS)))
    missed = sum(counts[name, fault, False] for fault in FAULTS)
    print("faults: %s: %s, %d states; %d not met: %s" % (
        name, met, len(states), missed, "%d wrong" % len(wrong) if wrong else "all clean"))
    print("".join("  %s\n" % told for told in wrong), end="", flush=True)
    return wrong or missed > 10 + sum(counts[name, fault, True] for fault in FAULTS) // 5


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("commands", nargs="*")
    options = parser.parse_args()
    os.umask(0o022)
    bench = Bench()
    counts, states, wrong = collections.Counter(), collections.defaultdict(set), collections.defaultdict(list)
    try:
        names = options.commands or list(commands(bench))
        found = {name: trace(bench, name) for name in names}
        if options.every > 1:
            print("faults: seed %d, one in %d" % (options.seed, options.every))
        saved = {name: ends for name, (_, _, ends) in found.items()}
        shared = argparse.Namespace(dir=bench.dir, image=bench.image, registry=bench.registry)
        todo = list(tasks(shared, names, found, options))
        with multiprocessing.Pool(2, begin, (shared, saved)) as pool:
            for (_, name, fault, _), (met, left, told) in zip(todo, pool.imap(play, todo, 4)):
                counts[name, fault, met] += 1
                states[name].add(left)
                wrong[name] += [told] if told else []
        bad = [name for name in names if report(name, counts, states[name], wrong[name])]
    finally:
        bench.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
