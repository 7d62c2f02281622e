#!/usr/bin/env python3
"""differ.py [--count N] [--seed N] DIR: mutated tar archives, read by crate-store beside GNU tar and bsdtar.

What crate-store takes, the others must read alike, as far as they take it at all: the same paths, types, contents, targets
and times. What it refuses is nobody's concern. DIR is an empty directory to work in.
"""
import argparse
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys

from layers import Layer, gnu_long, header, padded, pax

READERS = {
    "gnu": ["tar", "-xf", "archive", "-C", "gnu", "--no-same-owner", "-p"],
    "bsd": ["bsdtar", "-xf", "archive", "-C", "bsd", "-o", "-p"],
}


def bases():
    """Archives of every form; each mutation is of one of them."""
    plain = Layer()
    plain.dir(b"d")
    plain.add(b"d/f", content=b"content")
    plain.symlink(b"s", b"d/f")
    plain.link(b"h", b"d/f")
    plain.add(b"in-prefix", content=b"p" * 600, prefix=b"d/sub")
    plain.add(b"last", content=b"last", mode=0o600)
    yield plain.end()
    records = Layer()
    records.add(b"x", content=b"12345", records=[(b"path", b"from-pax"), (b"size", b"5"), (b"mtime", b"1500000000.5")])
    records.add(b"y", b"2", link=b"z", records=[(b"linkpath", b"from-pax")])
    records.add(b"z", content=b"z" * 512, records=[(b"comment", b"c" * 300)])
    yield records.end()
    gnu = Layer()
    gnu.data += gnu_long(b"L", b"d/" + b"l" * 150)
    gnu.add(b"cut", content=b"gnu", magic=b"ustar  \0")
    gnu.data += gnu_long(b"K", b"t" * 150)
    gnu.symlink(b"s", b"cut", magic=b"ustar  \0")
    gnu.add(b"last", content=b"last", magic=b"ustar  \0")
    yield gnu.end()
    old = Layer()
    old.add(b"old", b"\0", content=b"old", magic=bytes(8))
    old.add(b"old-dir/", b"\0", mode=0o755, magic=bytes(8))
    old.add(b"old-dir/f", content=b"f", magic=bytes(8))
    yield old.end()
    # The last segment, of no length, says where the file ends: without it GNU tar may not make it so long.
    sparse = Layer()
    sparse.add(b"GNUSparseFile.1/s", content=padded(b"3\n0\n512\n4096\n3\n5000\n0\n") + b"1" * 512 + b"abc", records=[
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"5000")])
    sparse.add(b"last", content=b"last")
    yield sparse.end()


def headers(data):
    """Where headers begin, as far as checksums tell."""
    return [at for at in range(0, len(data), 512) if data[at:at + 512].strip(b"\0") and checksum(data[at:at + 512]) == data[at + 148:at + 154]]


def checksum(block):
    return b"%06o" % sum(block[:148] + b" " * 8 + block[156:])


FIELDS = {0: 100, 100: 8, 108: 8, 116: 8, 124: 12, 136: 12, 156: 1, 157: 100, 257: 6, 263: 2, 265: 32, 329: 8, 345: 155, 500: 12}


def mutate(pick, data):
    """One to three changes; headers that were changed get their checksum, so that they are read."""
    data = bytearray(data)
    for _ in range(pick.choice([1, 1, 1, 2, 3])):
        starts = headers(bytes(data))
        if not starts:
            break
        at = pick.choice(starts)
        what = pick.randrange(8)
        if what < 4:
            start, length = pick.choice(list(FIELDS.items()))
            place = at + start + pick.randrange(length)
            data[place] = pick.choice([0, 32, 47, 46, 48, 49, 55, 56, 45, 128, 255, pick.randrange(256), data[place] ^ 1 << pick.randrange(8)])
            if pick.random() < 0.3:
                run = pick.choice([b"\0" * 4, b" " * 4, b"../", b"/", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"0000001", b"ustar  \0", b"tar\0"])
                data[place:place + len(run)] = run
        elif what == 4:
            place = pick.randrange(len(data))
            data[place] ^= 1 << pick.randrange(8)
        elif what == 5:
            other = pick.choice(starts)
            data[at:at] = data[other:other + 512 * pick.choice([1, 2, 3])]
        elif what == 6:
            del data[at:at + 512 * pick.choice([1, 2])]
        else:
            data[at:at] = pick.choice([
                pax([(b"path", b"other")]), pax([(b"size", b"3")]), pax([(b"size", b"600")]), gnu_long(b"L", b"longer"), bytes(512),
                header(b"g", b"g", 512) + padded(b"13 path=glob\n"), pax([(b"linkpath", b"other")]), pax([(b"mtime", b"7")]), bytes(1024),
                pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,5")])])
        for start in range(0, len(data) - 511, 512):
            if start in starts or pick.random() < 0.1:
                block = bytes(data[start:start + 512])
                if block.strip(b"\0") and start in starts:
                    data[start + 148:start + 156] = checksum(block) + b"\0 "
    return bytes(data)


def tree(top):
    """What was unpacked; None for what a reader cannot be asked about."""
    found = {}
    for here, directories, files in os.walk(os.fsencode(top)):
        for name in directories + files:
            path = os.path.join(here, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content = None
            if kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = status.st_size, hashlib.sha256(file.read(1 << 20)).hexdigest()[:8]
            time = status.st_mtime_ns if kind == stat.S_IFREG else None
            found[os.path.relpath(path, os.fsencode(top))] = kind, content, time
    return found


def read(name, command, **more):
    """Whether the reader takes the archive, and what it makes of it."""
    shutil.rmtree(name, ignore_errors=True)
    os.mkdir(name)
    done = subprocess.run(command, stdin=more.get("stdin", subprocess.DEVNULL), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, tree(name), done.stderr


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("dir")
    options = parser.parse_args()
    os.chdir(options.dir)
    pick, all_bases = random.Random(options.seed), list(bases())
    taken = compared = failed = 0
    for number in range(-len(all_bases), options.count):
        data = all_bases[number] if number < 0 else mutate(pick, pick.choice(all_bases))
        with open("archive", "wb") as file:
            file.write(data)
        with open("archive", "rb") as file:
            code, ours, error = read("ours", ["crate-store", "untar", "ours"], stdin=file)
        if code not in (0, 6) and not (code == 1 and number >= 0):
            failed += 1
            print("%d: crate-store ended with %d: %s" % (number, code, error))
        if code:
            continue
        taken += 1
        for name, command in READERS.items():
            code, theirs, _ = read(name, command)
            if code == 0:
                compared += 1
                if theirs != ours:
                    failed += 1
                    with open("differs.%d.tar" % number, "wb") as file:
                        file.write(data)
                    print("%d: %s differs:\n  %r\n  %r" % (number, name, {k: v for k, v in ours.items() if theirs.get(k) != v},
                                                          {k: v for k, v in theirs.items() if ours.get(k) != v}))
    print("%d archives, %d taken, %d readings compared, %d differ" % (options.count, taken, compared, failed))
    sys.exit(failed > 0 or taken < len(all_bases) or compared < len(all_bases))


if __name__ == "__main__":
    main()
