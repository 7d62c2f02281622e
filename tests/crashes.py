"""crashes.py: the states that a power cut can leave of an operation log (oplog.py).

A state is: the first K operations of the log, without some of those that no sync has covered by then, or with a part of
their bytes only. It is kept as what differs from the state in which nothing is lost, so that a state costs little.
"""

import hashlib
import random

from oplog import ROOT

# What can become of a write: all of it, nothing (the file ends before it, or has a hole there), its beginning, zeros.
LOST, TORN, ZEROS = "lost", "torn", "zeros"


class States:
    """The states after the first K operations; `step` makes K larger by one."""

    def __init__(self, log):
        self.log, self.length = log, 0
        self.children = {ROOT: {}}
        self.history = {}  # (directory, name): [(operation, inode or None)]
        self.writes = {}  # inode: [operation]
        self.attributes = {}  # inode: [operation]
        self.contents = {}
        self.signatures = {}  # Where nothing is lost.
        self.parents = {}
        for op in log.ops:
            for directory, _, ino in op.entries:
                self.parents.setdefault(ino, set()).add(directory)
        self.above = [self.around(op) for op in log.ops]
        self.open = []  # What a power cut can undo.

    def step(self):
        number, op = self.length, self.log.ops[self.length]
        self.length += 1
        for ino in self.above[number]:
            self.signatures.pop(ino, None)
        for directory, name, ino in op.entries:
            self.history.setdefault((directory, name), []).append((number, ino))
            names = self.children.setdefault(directory, {})
            if ino is None:
                names.pop(name, None)
            else:
                names[name] = ino
        if op.data:
            self.writes.setdefault(op.ino, []).append(number)
        if op.attr:
            self.attributes.setdefault(op.ino, []).append(number)
        self.open = [n for n in self.open + [number] if self.matters(n)]

    def around(self, op):
        """What an operation changes, and every directory above that."""
        rest, found = [directory for directory, *_ in op.entries] or [op.ino], set()
        while rest:
            ino = rest.pop()
            if ino not in found:
                found.add(ino)
                rest.extend(self.parents.get(ino, ()))
        return found

    def matters(self, number):
        """Would losing it make a difference? Not where it is on the disk, or all that it did is done over on the disk."""
        op = self.log.ops[number]
        if op.durable <= self.length:
            return False
        if not op.entries:
            return True
        later = lambda place: any(
            n > number and self.log.ops[n].durable <= self.length for n, _ in self.history[place]
        )
        return not all(later((directory, name)) for directory, name, _ in op.entries)

    def full(self, lost=None):
        return State(self, lost or {})


class State:
    """One state: `lost` says what became of the operations that were not carried out whole."""

    def __init__(self, states, lost):
        self.of, self.lost, self.over, self.cut = states, lost, {}, {}
        self.signatures, self.named = {}, {}
        self.touched = set().union(*(states.above[number] for number in lost))
        ops = states.log.ops
        for number, fate in lost.items():
            op = ops[number]
            for directory, name, _ in op.entries:
                kept = [ino for n, ino in states.history[(directory, name)] if n not in lost]
                self.over.setdefault(directory, {})[name] = kept[-1] if kept else None
            if not op.entries:
                self.cut.setdefault(op.ino, []).append((number, fate))

    def names(self, directory):
        if directory not in self.over:
            return self.of.children.get(directory, {})
        if directory not in self.named:
            names = {**self.of.children.get(directory, {}), **self.over[directory]}
            self.named[directory] = {name: ino for name, ino in names.items() if ino is not None}
        return self.named[directory]

    def find(self, *path):
        ino = ROOT
        for part in path:
            ino = self.names(ino).get(part)
            if ino is None:
                return None
        return ino

    def content(self, ino):
        """A file's bytes and their digest."""
        writes = self.of.writes.get(ino, ())
        key = (ino, len(writes), tuple(sorted(self.cut.get(ino, ()))))
        if key not in self.of.contents:
            data, cut = bytearray(), dict(key[2])
            for number in writes:
                apply(data, *self.of.log.ops[number].data, cut.get(number))
            data = bytes(data)
            self.of.contents[key] = (data, hashlib.sha256(data).hexdigest())
        return self.of.contents[key]

    def attributes(self, ino):
        found = {"mode": self.of.log.modes[ino]}
        for number in self.of.attributes.get(ino, ()):
            if number not in self.lost:
                key, value = self.of.log.ops[number].attr
                found[key] = value
        return found

    def signature(self, ino):
        """What tells a tree from another, as a number."""
        known = self.signatures if ino in self.touched else self.of.signatures
        if ino not in known:
            known[ino] = self.sign(ino)
        return known[ino]

    def sign(self, ino):
        kind = self.of.log.kinds[ino]
        if kind == "directory":
            what = frozenset([(name, self.signature(child)) for name, child in self.names(ino).items()])
        elif kind == "file":
            what = self.content(ino)[1]
        else:
            what = self.of.log.links.get(ino, b"")
        return hash((kind, what, frozenset(self.attributes(ino).items())))


def apply(data, offset, what, fate):
    """Carries out one write or truncation."""
    if fate == LOST:
        return
    if offset is None:
        del data[what:]
        data.extend(bytes(what - len(data)))
        return
    if fate == TORN:
        what = what[: len(what) // 2]
    elif fate == ZEROS:
        what = bytes(len(what))
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(what)] = what


def fates(op):
    """What can become of an operation that is not on the disk."""
    return [LOST, TORN, ZEROS] if op.data and op.data[0] is not None else [LOST]


def losses(states, rng, quota):
    """What may be lost after these operations: nothing, all, all data, each one; then, up to the quota, two or three, and any."""
    ops, open_ = states.log.ops, states.open
    yield {}
    if not open_:
        return
    yield dict.fromkeys(open_, LOST)
    data = [n for n in open_ if ops[n].data]
    for fate in (LOST, TORN, ZEROS) if data else ():
        yield {n: fate if fate in fates(ops[n]) else LOST for n in data}
    for fate in fates(ops[open_[-1]]):
        yield {open_[-1]: fate}
    for n in open_[:-1]:  # With what is newest there, and gone.
        for fate in fates(ops[n]):
            yield {n: fate}
            yield {n: fate, open_[-1]: LOST}
    for _ in range(quota if len(open_) > 1 else 0):
        count = rng.choice([2, 2, 3, 3, rng.randint(1, len(open_))])
        yield {n: rng.choice(fates(ops[n])) for n in rng.sample(open_, min(count, len(open_)))}


def enumerate_states(log, quota, seed=1):
    """Every state once: (how many operations, the state, its signature)."""
    states, rng, seen = States(log), random.Random(seed), set()
    while True:
        for lost in losses(states, rng, quota):
            state = states.full(lost)
            signature = state.signature(ROOT)
            if signature not in seen:
                seen.add(signature)
                yield states.length, state
        if states.length == len(log.ops):
            return
        states.step()
