"""storm.py SEED PROCESSES OPERATIONS CONTAINERS IMAGE: many programs work on a few containers at once.

Each of PROCESSES threads does OPERATIONS operations that SEED decides, each a program of its own, on CONTAINERS
containers that all share. An operation must end within its deadline, with an exit code that it may have, and say
why in a line if that is not 0. Afterwards nothing may be left: no process, mount or file of what ran, and a clean store.
Prints how often each operation ended with which code; exit code 1 if anything was wrong, with a line for each.
"""

import collections
import os
import random
import re
import subprocess
import sys
import threading

DEADLINE = float(os.environ.get("STORM_DEADLINE", "5"))  # Seconds for one operation.
PROGRAMS = [
    ["probe", "wait"],
    ["sh", "-c", 'trap "" TERM; while :; do sleep 0.05; done'],
    ["sh", "-c", 'trap "exit 5" TERM; while :; do sleep 0.05; done'],
    ["sh", "-c", "echo a; echo b >&2; exit 7"],
    ["probe", "flood", "1", "200000"],
]
# Exit codes of ours: 0 done, 1 it does not run, 3 there is no such container, 4 it is busy, or the name is.
# Of start, what a signal before the program runs makes of it; of exec, what a container's end makes of its program.
SIGNALLED = {125, 129, 130, 137, 143}
OPERATIONS = {
    "start": (24, {0, 3, 4} | SIGNALLED),
    "stop": (12, {0, 3}),
    "kill": (12, {0, 1, 3}),
    "rm": (8, {0, 3, 4}),
    "rm -f": (4, {0, 3, 4}),
    "create": (12, {0, 4}),
    "exec": (10, {0, 1, 3, 4, 126} | SIGNALLED),
    "logs": (6, {0, 1, 3}),
    "ps": (6, {0}),
    "inspect": (6, {0, 3}),
    "rename": (4, {0, 3, 4}),
    "top": (3, {0, 1, 3}),
    "restart": (3, {0, 3, 4} | SIGNALLED),
}


def words(kind, rng, count, image):
    """The command line of an operation."""
    name = rng.choice("xy") + str(rng.randrange(count))
    program = rng.choice(PROGRAMS)
    signal = rng.choice(["KILL", "KILL", "TERM", "USR1", "WINCH", "0"])
    other = rng.choice("xy") + name[1:]
    return {
        "start": ["crate-sup", "start", name],
        "stop": ["crate-sup", "stop", "-t", "1", name],
        "kill": ["crate-sup", "kill", "-s", signal, name],
        "rm": ["crate", "rm", name],
        "rm -f": ["crate", "rm", "-f", name],
        "create": ["crate-store", "create", "--name", name, image, "--", *program],
        "exec": ["crate", "exec", name, "true"],
        "logs": ["crate", "logs", "--tail", "10", name],
        "ps": ["crate", "ps", "-a"],
        "inspect": ["crate", "inspect", name],
        "rename": ["crate", "rename", name, other],
        "top": ["crate-sup", "top", name],
        "restart": ["crate-sup", "restart", "-t", "1", name],
    }[kind]


class Storm:
    """`operations` has how often each kind comes and the exit codes it may have, `words` makes a command line of a kind."""

    def __init__(self, operations, words, deadline=DEADLINE):
        self.operations, self.words, self.deadline = operations, words, deadline
        self.codes = collections.Counter()
        self.wrong = []
        self.guard = threading.Lock()

    def complain(self, text):
        with self.guard:
            self.wrong.append(text)

    def run(self, kind, command):
        allowed = self.operations[kind][1]
        told = " ".join(command[:6])
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as program:
            try:
                _, err = program.communicate(timeout=self.deadline)
            except subprocess.TimeoutExpired:
                self.complain(f"{told}: took more than {self.deadline} s; it was in {where(program.pid)}")
                program.kill()
                # Whatever has inherited its streams keeps them open: they are not read to their end.
                program.stdout.close()
                program.stderr.close()
                return
        code = program.returncode
        with self.guard:
            self.codes[kind, code] += 1
        lines = [line for line in err.decode(errors="replace").splitlines() if not line.startswith("hint: ")]
        if code not in allowed:
            self.complain(f"{told}: exit code {code}: {lines}")
        elif code in (1, 3, 4, 125) and not (lines and re.match(r"crate(-[a-z]+)?: .", lines[0])):
            self.complain(f"{told}: exit code {code}, and no word why: {lines}")
        elif "panicked" in err.decode(errors="replace"):
            self.complain(f"{told}: {lines}")

    def blow(self, seed, number, count):
        rng = random.Random(f"{seed}.{number}")
        kinds = list(self.operations)
        weights = [self.operations[kind][0] for kind in kinds]
        for _ in range(count):
            kind = rng.choices(kinds, weights)[0]
            self.run(kind, self.words(kind, rng))

    def rage(self, seed, processes, count):
        """Has so many threads do so many operations each."""
        threads = [threading.Thread(target=self.blow, args=(seed, number, count)) for number in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def report(self, seed):
        """Prints what was done and what was wrong; the exit code."""
        for kind in self.operations:
            counts = sorted((code, count) for (other, code), count in self.codes.items() if other == kind)
            print(f"{kind:8}", *(f"{code}:{count}" for code, count in counts))
        for line in self.wrong[:20]:
            print(f"storm {seed}: {line}", file=sys.stderr)
        return 1 if self.wrong else 0


def where(pid):
    """What a process waits for, as far as it may be looked at."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as wchan, open(f"/proc/{pid}/syscall", encoding="ascii") as call:
            return f"{wchan.read()} (system call {call.read().split()[0]})"
    except OSError:
        return "an unknown place"


def traces():
    """The processes that have to do with this store: its programs, and what runs in its containers."""
    store = os.environ["CRATE_ROOT"].encode()
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/mountinfo", "rb") as mounts:
                if b"CRATE_ROOT=" + store in environ.read().split(b"\0") or store in mounts.read():
                    with open(f"/proc/{pid}/cmdline", "rb") as arguments:
                        found[int(pid)] = arguments.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It has ended, or is somebody else's.
    return found


def own_mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return sorted(mounts)


def most_descriptors():
    """The most descriptors that any supervisor has open."""
    most = 0
    for pid, arguments in traces().items():
        if "crate-sup" in arguments:
            try:
                most = max(most, len(os.listdir(f"/proc/{pid}/fd")))
            except OSError:
                continue
    return most


def entries(path):
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def census(storm, before, mounts, containers):
    """Removes all containers, and complains about what is left."""
    most = most_descriptors()
    if most > 100:
        storm.complain(f"a supervisor has {most} descriptors open")
    names = [letter + str(number) for letter in "xy" for number in range(containers)]
    for name in names:
        storm.run("rm -f", ["crate", "rm", "-f", name])
    left = {pid: line for pid, line in traces().items() if pid not in before}
    for pid, line in left.items():
        storm.complain(f"left running: {pid} {line}")
    if own_mounts() != mounts:
        storm.complain("the host's mounts are not what they were")
    root, run = os.environ["CRATE_ROOT"], os.environ["CRATE_RUN"]
    for path in (run, os.path.join(root, "containers"), os.path.join(root, "ingest")):
        if entries(path):
            storm.complain(f"left in {path}: {' '.join(entries(path)[:5])}")
    checked = subprocess.run(["crate-store", "fsck"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if checked.returncode:
        storm.complain(f"fsck: {checked.stderr.decode(errors='replace').strip()}")


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__.splitlines()[0])
    seed, (processes, operations, containers) = sys.argv[1], map(int, sys.argv[2:5])
    before, mounts = traces(), own_mounts()
    storm = Storm(OPERATIONS, lambda kind, rng: words(kind, rng, containers, sys.argv[5]))
    storm.rage(seed, processes, operations)
    census(storm, before, mounts, containers)
    sys.exit(storm.report(seed))


if __name__ == "__main__":
    main()
