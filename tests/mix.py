"""mix.py SEED PROCESSES OPERATIONS KEPT OTHER: many programs work on the images of one store at once.

As storm.py, of which it is a kind: what SEED decides is done by PROCESSES threads, OPERATIONS each. KEPT is an image that a
container that runs all the time holds; OTHER shares layers with it, and comes and goes under several names, by pulling
and loading, while containers are made of it, started and removed. Afterwards the store is clean, unfinished things are gone with a
gc, and KEPT and OTHER are whole.
"""

import os
import subprocess
import sys

from storm import Storm, own_mounts, traces

DEADLINE = 20  # Seconds for one operation.
# Exit codes of ours: 0 done, 3 there is no such image or container, 4 it is in use, or another has just changed it; of crate 125.
OPERATIONS = {
    "pull": (10, {0}),
    "load": (6, {0}),
    "tag": (8, {0, 3}),
    "rmi": (8, {0, 3, 4}),
    "rmi -f": (4, {0, 3, 4}),
    "gc": (8, {0, 4}),
    "prune": (6, {0, 4}),
    # Pruning takes a container that is made and not yet started, that of `run` too.
    "run": (8, {0, 3}),
    "run other": (8, {0, 3, 125}),
    "create": (8, {0, 125}),
    "rm": (6, {0, 3, 4}),
    "save": (4, {0, 3}),
    "images": (4, {0}),
    "fsck": (3, {0}),
    "fsck -l": (2, {0}),
}


def words(kind, rng, kept, other, archive):
    """The command line of an operation."""
    name = rng.choice([other, "loaded:1", *(f"name{number}:1" for number in range(3))])
    container = f"job{rng.randrange(4)}"
    crate = lambda *rest: ["crate", *rest]
    return {
        "pull": crate("pull", "--quiet", rng.choice([kept, other, other])),
        "load": ["crate-store", "load", "--quiet", "--as", "loaded:1", archive],
        "tag": crate("tag", name, f"name{rng.randrange(3)}:1"),
        "rmi": crate("rmi", name),
        "rmi -f": crate("rmi", "-f", name),
        "gc": crate("gc"),
        "prune": crate("prune", *rng.choice([["images", "-a", "-f"], ["images", "-f"], ["containers", "-f"]])),
        "run": crate("run", "--rm", "--pull", "never", kept, "true"),
        "run other": crate("run", "--rm", "-u", "0", "--pull", "never", name, "true"),
        "create": crate("create", "--pull", "never", "--name", container, rng.choice([kept, name]), "true"),
        "rm": crate("rm", "-f", container),
        "save": crate("save", "-o", f"saved.{rng.randrange(1 << 40)}", name),
        "images": crate("images"),
        "fsck": crate("fsck"),
        "fsck -l": crate("fsck", "--layers"),
    }[kind]


def finish(storm, before, mounts, kept, other):
    """What must be true when all is over."""
    for number in range(4):
        storm.run("rm", ["crate", "rm", "-f", f"job{number}"])
    storm.run("gc", ["crate", "gc"])
    if os.listdir(os.path.join(os.environ["CRATE_ROOT"], "ingest")):
        storm.complain("unfinished things are left")
    storm.run("fsck -l", ["crate", "fsck", "--layers"])
    storm.run("pull", ["crate", "pull", "--quiet", other])
    for image in (kept, other):
        storm.run("run", ["crate", "run", "--rm", "-u", "0", "--pull", "never", image, "true"])
    storm.run("fsck -l", ["crate", "fsck", "--layers"])
    for pid, line in traces().items():
        if pid not in before:
            storm.complain(f"left running: {pid} {line}")
    if own_mounts() != mounts:
        storm.complain("the host's mounts are not what they were")


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__.splitlines()[0])
    seed, (processes, operations), (kept, other) = sys.argv[1], map(int, sys.argv[2:4]), sys.argv[4:6]
    archive = os.path.abspath("other.tar")
    for command in (["crate-fetch", "--quiet", kept], ["crate-fetch", "--quiet", other], ["crate-store", "save", "-o", archive, other],
                    ["crate", "run", "-d", "--name", "keeper", kept, "probe", "wait"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    before, mounts = traces(), own_mounts()
    storm = Storm(OPERATIONS, lambda kind, rng: words(kind, rng, kept, other, archive), DEADLINE)
    try:
        storm.rage(seed, processes, operations)
    finally:
        storm.run("rm", ["crate", "rm", "-f", "keeper"])
    finish(storm, before, mounts, kept, other)
    sys.exit(storm.report(seed))


if __name__ == "__main__":
    main()
