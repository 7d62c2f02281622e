"""faults_sweep.py [STEP]: the store on file systems of every size, from none to what an image needs, in steps of STEP bytes.

At each size the image is pulled, unpacked and made a container of, until one of them fails. It must tell so in one clear
line, and leave what was there before it as it was. With more room the same commands bring all of it.

It mounts a tmpfs for each size: to be run by the root of a mount namespace of its own. Prints what failed how often.
"""

import collections
import ctypes
import os
import subprocess
import sys

import faults

MS_REMOUNT = 32
BULK = 400_000  # Bytes that nothing packs: twice as much, and a little more, is needed.


def mounted(place, options):
    os.makedirs(place.store, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place.store], check=True)


def grow(place):
    # mount(8) would hand on the owner as the host numbers it, which a user namespace of one id does not know.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, os.fsencode(place.store), None, MS_REMOUNT, b"size=64m") != 0:
        raise OSError(ctypes.get_errno(), "remounting " + place.store)


def reach(place, steps):
    """Runs the steps until one fails: the states before and after, and what is wrong with how it was told."""
    for verb, words in steps.items():
        before = place.state()
        code, _, err = place.run(*words)
        if code != 0:
            wrong = "exit code %d: %s" % (code, err) if code != 1 else faults.said(None, err)
            return verb, before, wrong and "%s: %s" % (wrong, err), ": it needs " in err
    return None, place.state(), None, False


def try_size(place, size, steps, last):
    """What failed, whether before anything was written, and what is wrong."""
    mounted(place, "size=%d" % size)
    try:
        verb, before, wrong, early = reach(place, steps)
        wrong = wrong or faults.between(place.state(), before, last)
        if not wrong and before["names"]:
            code, out, err = place.run("crate-store", "fsck")
            wrong = "fsck: " + out + err if code else None
        grow(place)
        for again in ([] if wrong else steps):
            code, _, err = place.run(*steps[again])
            if code not in (0, 4):  # The name is in use: made before.
                wrong = "%s again: exit code %d: %s" % (again, code, err)
        state = place.state()
        if not wrong and state != last:
            wrong = "the end is not that of a run undisturbed"
        return verb, early, wrong
    finally:
        subprocess.run(["umount", place.store], check=True)


def main():
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 16
    bench = faults.Bench(BULK)
    outcomes, bad = collections.Counter(), 0
    try:
        place = faults.Place(bench, "sweep")
        steps = {verb: (command.program, *command.words) for verb, command in faults.commands(bench).items()
                 if verb in ("pull", "unpack", "create")}
        mounted(place, "size=64m")
        verb, last, _, _ = reach(place, steps)
        subprocess.run(["umount", place.store], check=True)
        if verb:
            raise SystemExit("%s fails with room enough" % verb)
        size = 1 << 12
        while True:
            verb, early, wrong = try_size(place, size, steps, last)
            outcomes[verb, early] += 1
            if wrong:
                bad += 1
                print("faults: %d bytes: %s: %s" % (size, verb, wrong))
            if verb is None:
                break
            size += step
        counts = ", ".join("%d %s%s" % (count, verb or "done", " at once" if early else "")
                           for (verb, early), count in outcomes.items())
        print("faults: file systems up to %d kB: %s: %s" % (size // 1000, counts, "%d wrong" % bad if bad else "all clean"))
        # Of most it is known before it is written that it will not do; of the rest, when the file system is full.
        if not all(outcomes[kind] for kind in (("pull", False), ("pull", True), ("unpack", True))):
            bad += 1
            print("faults: not every kind of failure was met")
    finally:
        bench.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
