"""powercut.py IMAGE-LAYOUT OTHER-LAYOUT [STATES [SAMPLE]]: whatever a power cut leaves of the store, it must be whole.

Plays commands in a store that is not there at first, each under strace(1), and makes of their calls the states that a power
cut can leave: at least STATES (50,000) for the pull. Every one is checked in memory, by what image-spec says and not by our
programs; SAMPLE (300) of them are written to a directory, where fsck must be content and the same commands must work again.

The model, which takes away more than ext4, xfs and btrfs do, and holds for all file systems that keep to POSIX and to
fsync(2) and syncfs(2) of Linux:
 - A call's effect is on the disk when it is followed by a sync of what it changed: bytes and attributes by fsync of the
   file; making, renaming and removing a name by fsync of its directory (of either one for a rename); all by syncfs.
   fsync of a file does not keep its name. fdatasync is as fsync: no file is written over in place.
 - Of what is not, any part can be lost, and the rest be there, in whatever order it was done. The journal of the file systems
   named keeps the order of names; here it is not relied on.
 - A rename is atomic: the old name or the new one, never both or none.
 - Of a write, all, nothing, the first half, or as many zeros can be there: the file that has its name but no data is one case.
 - The store's own directory is there. A disk that has said a sync is done keeps its word.
Left out: what is in `ingest/`, `lock` and the directory of what runs matters to nobody after a boot.
"""

import collections
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys

from crashes import States, enumerate_states
from oplog import ROOT, Log

OURS = {b"blobs", b"layers", b"containers", b"ingest", b"lock", b"index.json", b"oci-layout", b"run"}
REF = "org.opencontainers.image.ref.name"
TEMPORARY = 0o1000


class Bad(Exception):
    pass


def need(good, what):
    if not good:
        raise Bad(what)


class Check:
    """What must hold in every state. `whole` is what layers and containers look like when they are finished."""

    def __init__(self, log):
        self.log, self.whole, self.known = log, {}, {}

    def learn(self, state):
        for place in (b"layers", b"containers"):
            for name, ino in state.names(state.find(place)).items():
                self.whole[name] = self.bundle(state, ino) if place == b"containers" else state.signature(ino)

    def bundle(self, state, ino):
        """What `create` has made of a container; the log and the like come later."""
        parts = (b"config.json", b"hosts", b"hostname", b"resolv.conf", b"rootfs", b"upper", b"work")
        names = state.names(ino)
        return tuple(state.signature(names[part]) if part in names else None for part in parts)

    def blob(self, state, descriptor):
        digest, size = descriptor["digest"].split(":")[1], descriptor["size"]
        ino = state.find(b"blobs", b"sha256", digest.encode())
        need(ino is not None, f"blob {digest[:12]} is missing")
        data, actual = state.content(ino)
        need(len(data) == size and actual == digest, f"blob {digest[:12]} is damaged: {len(data)} of {size} bytes")
        return data

    def index(self, state):
        """Checks every image; returns their names."""
        ino = state.find(b"index.json")
        need(ino is not None, "index.json is missing")
        data, digest = state.content(ino)
        try:
            entries = json.loads(data)["manifests"]
        except ValueError:
            raise Bad(f"index.json is damaged: {data[:20]}") from None
        for entry in entries:
            manifest = json.loads(self.blob(state, entry))
            for part in [manifest["config"], *manifest["layers"]]:
                self.blob(state, part)
        return {("image", entry["annotations"][REF]) for entry in entries}

    def trees(self, state):
        for name, ino in state.names(state.find(b"blobs", b"sha256") or -1).items():
            need(state.content(ino)[1] == name.decode(), f"blob {name.decode()[:12]} is damaged, though nothing leads to it")
        for name, ino in state.names(state.find(b"layers") or -1).items():
            need(state.signature(ino) == self.whole[name], f"layer {name.decode()[:12]} is not whole")
            yield ("layer", name.decode())
        for name, ino in state.names(state.find(b"containers") or -1).items():
            if self.log.kinds[ino] == "link":
                continue  # A name that leads nowhere is nobody's.
            if not int(self.log.modes[ino], 8) & TEMPORARY:
                need(self.bundle(state, ino) == self.whole[name], f"container {name.decode()[:12]} is not whole")
            yield ("container", name.decode())

    def state(self, state, promised):
        layout = state.find(b"oci-layout")
        if layout is None:  # No store yet: whoever comes next makes it.
            need(not promised, "oci-layout is missing")
            foreign = set(state.names(ROOT)) - OURS
            need(not foreign, f"{foreign} is in the way of a new store")
            return
        need(state.content(layout)[0] == b'{"imageLayoutVersion":"1.0.0"}', "oci-layout is damaged")
        found = self.once(self.index, state, b"index.json", b"blobs")
        found |= self.once(self.trees, state, b"blobs", b"layers", b"containers")
        need(promised <= found, f"done, and said so, but lost: {promised - found}")

    def once(self, check, state, *parts):
        """What a check finds, or that it fails, where it is of these parts alone: of all states that are alike in them."""
        top = state.names(ROOT)
        key = (check.__name__, *(state.signature(top[part]) if part in top else None for part in parts))
        if key not in self.known:
            try:
                self.known[key] = frozenset(check(state)), None
            except Bad as error:
                self.known[key] = frozenset(), str(error)
        found, error = self.known[key]
        need(error is None, error)
        return found


class Story:
    """The commands, their log, and what each promises by its end."""

    def __init__(self, root, deaf=()):
        self.root, self.log, self.parts = root, Log(root, deaf), []
        self.promised = set()

    def play(self, name, *commands, gives=lambda words: (), takes=lambda promised: promised):
        """`gives` makes promises of the words that were printed; `takes` are those that still hold from the beginning on."""
        begin, self.promised = len(self.log.ops), takes(self.promised)
        held = self.promised
        for command in commands:
            code, out = self.log.trace(list(command))
            need(code == 0, f"{' '.join(command)}: exit code {code}")
        self.promised = held | set(gives(out.split()))
        self.parts.append((name, begin, len(self.log.ops), held, self.promised, commands))
        return out.strip()

    def part(self, length):
        """The part that a state after `length` operations belongs to, and what has been promised by then."""
        for name, begin, end, held, promised, commands in self.parts:
            if length < end or (length == end and name == self.parts[-1][0]):
                return name, held, commands
        return self.parts[-1][0], self.parts[-1][4], self.parts[-1][5]


def tell(story, registry, other):
    """What a user may do with images and containers, from nothing."""
    image, name = registry + "/image:1", "docker.io/library/other:1"
    diffs = lambda ref: [("layer", d[7:]) for d in json.loads(subprocess.check_output(["crate-store", "inspect", ref]))[0]["RootFS"]["Layers"]]
    unless = lambda *gone: lambda promised: {one for one in promised if one not in gone and one[0] not in gone}
    store = lambda *words: ("crate-store", *words)
    story.play("pull", ("crate-fetch", "--quiet", image), store("unpack", image), gives=lambda _: [("image", image), *diffs(image)])
    story.play("tag", store("tag", image, "again:1"), gives=lambda _: [("image", "docker.io/library/again:1")])
    story.play("load", store("load", "--quiet", "--as", name, other), store("unpack", name), gives=lambda _: [("image", name), *diffs(name)])
    kept = story.play("create", store("create", "--name", "kept", image, "true"), gives=lambda words: [("container", words[0])])
    story.play("create --rm", store("create", "--rm", image, "true"))
    story.play("rename", store("rename", "kept", "job"))
    story.play("rm", store("rm", "job"), takes=unless(("container", kept)))
    story.play("rmi", store("rmi", "-f", name), takes=unless(("image", name), "layer"))
    story.play("rmi of a name", store("rmi", image), takes=unless(("image", image)))
    story.play("gc", store("gc"))


def learned(story):
    """The checks, with what was whole when each command had ended."""
    check, states = Check(story.log), States(story.log)
    ends = {end for _, _, end, *_ in story.parts}
    while states.length < len(story.log.ops):
        states.step()
        if states.length in ends:
            check.learn(states.full())
    return check


def write(state, ino, path):
    """Writes a state to the disk, as far as our programs look at it."""
    kind, mode = state.of.log.kinds[ino], re.findall("0[0-7]{2,4}", state.attributes(ino)["mode"])
    if kind == "directory":
        os.makedirs(path, exist_ok=True)
        for name, child in state.names(ino).items():
            write(state, child, os.path.join(path, os.fsdecode(name)))
    elif kind == "file":
        with open(path, "wb") as file:
            file.write(state.content(ino)[0])
    elif kind == "link":
        os.symlink(os.fsdecode(state.of.log.links[ino]), path)
    else:
        os.mknod(path, stat.S_IFCHR)
    if kind in ("directory", "file"):
        os.chmod(path, int(mode[0], 8))


def replay(state, promised, commands, root, check):
    """Has our own programs look at a state: nothing may be amiss, and what was cut short works when it is done again."""
    os.umask(0)
    write(state, ROOT, root)
    names = {one for kind, one in promised if kind == "image"}
    for command in [("crate-store", "fsck"), *commands, ("crate-store", "fsck"), ("crate-store", "gc"), ("crate-store", "fsck")]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "CRATE_ROOT": root})
        # What was to be removed, renamed or made may be gone, or be there, already.
        again = done.returncode in (3, 4) and command[1] in ("rm", "rmi", "rename", "create")
        need(done.returncode == 0 or again, f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    index = json.load(open(root + "/index.json"))["manifests"]
    lost = names - {entry["annotations"][REF] for entry in index} - {word for command in commands for word in command}
    need(not lost, f"afterwards {lost} is gone")
    subprocess.run(["rm", "-rf", root], check=True)


def survey(story, check, wanted, sample):
    """Checks every state; returns how many there were of each command, and what was bad. Some are kept for [`replay`]."""
    count, bad, kept, rng = collections.Counter(), collections.defaultdict(list), [], random.Random(2)
    for length, state in enumerate_states(story.log, wanted):
        name, promised, commands = story.part(length)
        count[name] += 1
        try:
            check.state(state, promised)
        except Bad as error:
            bad[(name, str(error))].append((length, state.lost))
        kept.append((length, state.lost))
    return count, bad, rng.sample(kept, min(sample, len(kept)))


def report(story, count, bad):
    for name in count:
        print(f"powercut: {name}: {count[name]:,} states, {sum(len(cuts) for (part, _), cuts in bad.items() if part == name):,} bad")
    for (name, what), cuts in bad.items():
        length, lost = min(cuts, key=lambda cut: len(cut[1]))
        print(f"  {name}: {what}: {len(cuts)} times, such as after {length} operations without")
        for number, fate in list(lost.items())[:4]:
            op = story.log.ops[number]
            print(f"    {number} {op.call} of {op.entries or op.ino}: {fate}")


def can_fail(registry, other):
    """Without its syncs the same log must come out bad: else this test could not fail."""
    for deaf in (("fsync",), ("syncfs",)):
        shutil.rmtree(os.environ["CRATE_ROOT"])
        story = Story(os.environ["CRATE_ROOT"], deaf)
        tell(story, registry, other)
        _, bad, _ = survey(story, learned(story), 2, 0)
        need(bad, f"nothing is bad without {deaf[0]}")
        print(f"powercut: without {deaf[0]}: {sum(map(len, bad.values())):,} bad, as it should be")


def run(registry, other, wanted, sample):
    story = Story(os.environ["CRATE_ROOT"])
    tell(story, registry, other)
    check = learned(story)
    count, bad, kept = survey(story, check, wanted // 25, sample)
    report(story, count, bad)
    need(not bad, "a power cut can leave a store that is not whole")
    need(count["pull"] >= wanted, f"{count['pull']} states of a pull are less than {wanted}")
    states, place = States(story.log), os.path.realpath("state")
    for length, lost in sorted(kept, key=lambda cut: cut[0]):
        while states.length < length:
            states.step()
        _, promised, commands = story.part(length)
        try:
            replay(states.full(lost), promised, commands, place, check)
        except Bad as error:
            raise Bad(f"after {length} operations without {lost}: {error}") from None
    print(f"powercut: {len(kept)} states on the disk: fsck is content, and what was cut short works again")
    can_fail(registry, other)


def main():
    layout, other, *numbers = sys.argv[1:]
    wanted, sample = [*map(int, numbers), 50000, 300][:2] if len(numbers) != 1 else (int(numbers[0]), 300)
    os.environ["CRATE_ROOT"] = os.path.realpath("store")
    serve = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "registry.py"), layout]
    registry = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        run(registry.stdout.readline().strip().replace("127.0.0.1", "localhost"), other, wanted, sample)
    except Bad as error:
        sys.exit(f"powercut: {error}")
    finally:
        registry.kill()
        registry.wait()


if __name__ == "__main__":
    main()
