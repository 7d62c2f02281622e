"""census.py SEED RUNS KILLED IMAGE: what is there is the same before and after RUNS runs, of which KILLED are ended by SIGKILL.

A run is one in the foreground, one with --init, or one in the background into which another program is brought. Those that
are killed are so at a moment that SEED decides: whoever was started (the front, what it calls, the supervisor), the first
process of the container, or another of it. Containers that are left are removed, as their user would. Then there must be the
same mounts, processes, keys, control groups, and files of the store, byte by byte, and no containers.
census.py tree DIRECTORY prints the files: for each its name, type, mode, owner and size, and what is in it.
"""

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
import time

from storm import entries, own_mounts, traces

ROOT, RUN = os.environ["CRATE_ROOT"], os.environ["CRATE_RUN"]


def print_tree(top):
    for place, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(place, name)
            found, content = os.lstat(path), ""
            if stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            size = found.st_size if stat.S_ISREG(found.st_mode) else 0
            print(os.path.relpath(path, top), oct(found.st_mode), found.st_uid, found.st_gid, size, content)


def output(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True, timeout=120).stdout


def mounts_of_the_host():
    try:
        with open("/proc/1/mountinfo", encoding="utf-8") as mounts:
            return sorted(mounts)
    except PermissionError:
        return own_mounts()


def keys():
    """How many keys the user has (proc(5), key-users)."""
    with open("/proc/key-users", encoding="ascii") as users:
        of_all = {int(line.split(":")[0]): int(line.split()[1]) for line in users}
    return of_all.get(os.getuid(), 0)


def groups(ids):
    """The control groups of containers."""
    found = [place for place, _, _ in os.walk("/sys/fs/cgroup") for name in ids if name in place]
    return sorted(found)


def snapshot():
    return {
        "mounts": mounts_of_the_host(),
        "processes": sorted(traces().values()),
        "store": output("crate-sup", "unshare", sys.executable, __file__, "tree", ROOT).splitlines(),
        "run": entries(RUN),
    }


class Runs:
    def __init__(self, seed, image):
        self.rng, self.image, self.ids, self.moments = random.Random(seed), image, set(), {}

    def start(self, seconds, *more):
        """A container that runs for a while, or what is on its way to one."""
        command = ["crate", "run", *more, self.image, "sh", "-c", f"probe wait & sleep {seconds}"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def processes(self):
        """The processes of containers that run now: first ones, and their children."""
        found = []
        for name in entries(RUN):
            self.ids.add(name)
            try:
                with open(os.path.join(RUN, name, "pid"), encoding="ascii") as record:
                    first = json.load(record)["pid"]
                with open(f"/proc/{first}/task/{first}/children", encoding="ascii") as children:
                    found += [first, *map(int, children.read().split())]
            except (OSError, ValueError):
                continue  # It is just starting, or ending.
        return found

    def kill(self, *more):
        started = self.start(0.2, *more)
        time.sleep(self.rng.random() * 0.2)
        inside = self.processes()
        whom = self.rng.choice(["supervisor", "inside"] if inside else ["supervisor"])
        self.moments[whom] = self.moments.get(whom, 0) + 1
        victim = started.pid if whom == "supervisor" else self.rng.choice(inside)
        try:
            os.kill(victim, 9)
        except ProcessLookupError:
            pass  # It was faster.
        started.wait(timeout=60)

    def finish(self, *more):
        started = self.start(0.01, *more)
        self.processes()
        if started.wait(timeout=60) != 0:
            sys.exit(f"a run ended with {started.returncode}")

    def exec(self):
        name = output("crate", "run", "-d", self.image, "probe", "wait").strip()
        self.ids.add(name)
        output("crate", "exec", name, "true")
        output("crate", "rm", "-f", name)

    def clear(self):
        for name in output("crate", "ps", "-aq").split():
            output("crate", "rm", "-f", name)
        output("crate", "gc")


def compare(before, after):
    wrong = []
    for what, values in before.items():
        gone = [value for value in values if value not in after[what]]
        new = [value for value in after[what] if value not in values]
        wrong += [f"{what}: gone: {line}" for line in gone[:5]] + [f"{what}: new: {line}" for line in new[:5]]
    return wrong


def settled(condition):
    """The kernel frees keys and groups some time later."""
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "tree":
        return print_tree(sys.argv[2])
    if len(sys.argv) != 5:
        sys.exit(__doc__.splitlines()[0])
    seed, count, killed, image = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    runs = Runs(seed, image)
    runs.finish("--rm")
    runs.exec()
    runs.clear()
    before, keys_before = snapshot(), keys()
    victims = set(runs.rng.sample(range(count), killed))
    for number in range(count):
        more = runs.rng.choice([[], ["--rm"], ["--init"], ["--rm", "--init"]])
        if number in victims:
            runs.kill(*more)
        elif number % 5 == 0:
            runs.exec()
        else:
            runs.finish(*more)
    settled(lambda: not [pid for pid in traces() if pid != os.getpid()] or sorted(traces().values()) == before["processes"])
    runs.clear()
    wrong = compare(before, snapshot())
    if not settled(lambda: keys() <= keys_before):
        wrong.append(f"keys: {keys()} instead of {keys_before}")
    if not settled(lambda: not groups(runs.ids)):
        wrong.append(f"control groups: {groups(runs.ids)[:5]}")
    for line in wrong:
        print(f"census {seed}: {line}", file=sys.stderr)
    print(f"{count} runs, killed: {runs.moments}, containers seen: {len(runs.ids)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
