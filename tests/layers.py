#!/usr/bin/env python3
"""layers.py [--seed N] [--layers N] [--plain] DIR: write an OCI image layout at DIR with one image, layers:N.

Its layers hold everything that tar archives of images can: each first layer one family of features, and after them
random changes of a small tree (files, directories, links, whiteouts, opaque directories, changes of type, directories
that may not be written, entries without their directories). The same seed gives the same bytes.
--plain leaves out what umoci 0.4 cannot read: zstd, zeros after gzip, global PAX headers,
contiguous files, sparse files of the old format, and what it would keep of aufs.
"""
import argparse
import gzip
import hashlib
import json
import os
import platform
import random
import struct
import subprocess
import zlib

MTIME = 1_600_000_000


def octal(number, width):
    text = b"%0*o" % (width - 1, number)
    return text + b"\0" if 0 <= number and len(text) < width else base256(number, width)


def base256(number, width):
    return bytes([0xff if number < 0 else 0x80]) + (number % (1 << 8 * (width - 1))).to_bytes(width - 1, "big")


def header(name, kind, size=0, mode=0o644, uid=0, gid=0, mtime=MTIME, link=b"", magic=b"ustar\x0000", device=(0, 0),
           prefix=b"", gnu=b""):
    block = struct.pack("100s8s8s8s12s12s8sc100s8s32s32s8s8s", name, octal(mode, 8), octal(uid, 8), octal(gid, 8),
                        octal(size, 12), octal(mtime, 12), b" " * 8, kind, link, magic, b"", b"",
                        octal(device[0], 8), octal(device[1], 8)) + (gnu or prefix)
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data):
    return data + bytes(-len(data) % 512)


def pax(records):
    data = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = next(n for n in range(rest, rest + 9) if n == rest + len(str(n)))
        data += b"%d %s=%s\n" % (length, key, value)
    return header(b"PaxHeaders/x", b"x", len(data)) + padded(data)


def gnu_long(kind, name):
    return header(b"././@LongLink", kind, len(name) + 1, 0, magic=b"ustar  \0") + padded(name + b"\0")


class Layer:
    """A tar archive in the making."""

    def __init__(self):
        self.data = b""

    def add(self, name, kind=b"0", content=b"", records=(), **fields):
        records = list(records)
        if len(name) > 100:
            records.append((b"path", name))
        if len(fields.get("link", b"")) > 100:
            records.append((b"linkpath", fields["link"]))
            fields["link"] = fields["link"][:100]
        if records:
            self.data += pax(records)
        self.data += header(name[:100], kind, len(content), **fields) + padded(content)

    def dir(self, name, mode=0o755, **fields):
        self.add(name.rstrip(b"/") + b"/", b"5", mode=mode, **fields)

    def link(self, name, target, **fields):
        self.add(name, b"1", link=target, **fields)

    def symlink(self, name, target, **fields):
        self.add(name, b"2", link=target, mode=0o777, **fields)

    def whiteout(self, name):
        parent, _, last = name.rpartition(b"/")
        self.add((parent + b"/" if parent else b"") + b".wh." + last)

    def opaque(self, name):
        self.add(name + b"/.wh..wh..opq")

    def end(self):
        return self.data + bytes(1024)


def base():
    layer = Layer()
    layer.dir(b"./", mtime=MTIME + 7)
    for name in (b"bin", b"usr/lib", b"tmp", b"opaque/inner", b"dir-to-file/in", b"dir-to-link", b"readonly"):
        parent = name.rpartition(b"/")[0]
        if parent:
            layer.dir(parent)
        layer.dir(name, mode=0o1777 if name == b"tmp" else 0o755)
    layer.symlink(b"lib", b"usr/lib")
    layer.symlink(b"absolute", b"/usr/lib")
    for name in (b"usr/lib/lower", b"opaque/hidden", b"opaque/inner/hidden", b"dir-to-file/in/x", b"file-to-dir",
                 b"gone", b"bin/tool", b"tmp/kept", b"again"):
        layer.add(name, content=name * 7, mode=0o755 if name == b"bin/tool" else 0o644)
    return layer.end()


def modes(plain):
    layer = Layer()
    layer.dir(b"modes")
    for number, mode in enumerate((0o4755, 0o2755, 0o6711, 0o1755, 0o0000, 0o0200, 0o7777)):
        layer.add(b"modes/f%04o" % mode, content=b"x" * number, mode=mode, uid=number, gid=42)
        layer.dir(b"modes/d%04o" % mode, mode=mode, uid=1, gid=number)
        layer.add(b"modes/d%04o/inside" % mode, content=b"in", mode=0o640)
    layer.add(b"modes/big-owner", uid=65533, gid=60000)
    layer.add(b"modes/pax-owner", records=[(b"uid", b"65000"), (b"gid", b"65001")])
    layer.dir(b"modes/setgid", mode=0o2775, gid=50)
    layer.add(b"modes/setgid/root-file")
    layer.dir(b"modes/setgid/root-dir")
    layer.add(b"modes/old-type", b"\0", content=b"old")
    layer.add(b"modes/contiguous", b"0" if plain else b"7", content=b"contiguous")
    layer.add(b"modes/old-dir/", b"\0", mode=0o755)
    return layer.end()


def names(plain):
    layer = Layer()
    layer.dir(b"./names")
    long = b"names/" + b"/".join([b"d" * 60] * 3)
    for depth in range(1, 4):
        layer.dir(b"names/" + b"/".join([b"d" * 60] * depth))
    layer.add(long + b"/pax-" + b"l" * 200, content=b"pax")
    layer.data += gnu_long(b"L", long + b"/gnu-" + b"l" * 200)
    layer.add(b"names/cut", content=b"gnu", magic=b"ustar  \0")
    layer.data += gnu_long(b"K", b"t" * 1000) + gnu_long(b"L", long + b"/gnu-link")
    layer.symlink(b"names/cut", b"t" * 90, magic=b"ustar  \0")
    layer.symlink(b"names/pax-link", b"/".join([b"u" * 100] * 5))
    layer.add(b"in-a-prefix", content=b"ustar", prefix=b"names/" + b"p" * 100)
    layer.add(b"/names//absolute/./dots", content=b"dots")
    layer.add(b"names/not-utf-8-\xff\xfe", content=b"bytes")
    layer.add("names/häuser-\u2603".encode(), content=b"utf-8")
    layer.add(b"names/ spaces \n\t and more", content=b"odd")
    layer.add(b"names/...", content=b"dots")
    layer.add(b"names/.wh", content=b"not a whiteout")
    if not plain:
        layer.data += header(b"pax_global_header", b"g", 52) + padded(b"52 comment=" + b"0" * 40 + b"\n")
    layer.add(b"names/after-global", content=b"g")
    return layer.end()


def times():
    layer = Layer()
    layer.dir(b"times", mtime=MTIME + 1)
    for name, value in ((b"nano", b"1500000000.123456789"), (b"before-1970", b"-1.5"), (b"finer", b"1.0000000019"),
                        (b"whole", b"42"), (b"far", b"9000000000.5")):
        layer.add(b"times/" + name, records=[(b"mtime", value), (b"atime", b"1"), (b"ctime", b"2")])
    layer.add(b"times/negative", mtime=-5)
    layer.add(b"times/zero", mtime=0)
    layer.symlink(b"times/link", b"nowhere", mtime=77)
    layer.dir(b"times/dir", mtime=99)
    layer.add(b"times/dir/later", content=b"does not move the time of its directory")
    layer.dir(b"times/nano-dir", records=[(b"mtime", b"1500000000.5")])
    return layer.end()


def links():
    layer = Layer()
    layer.dir(b"links")
    layer.add(b"links/a", content=b"one file", mode=0o604, uid=3)
    layer.link(b"links/b", b"links/a", mode=0o604, uid=3)
    layer.link(b"links/c", b"./links/b", mode=0o604, uid=3)
    layer.dir(b"links/far")
    layer.link(b"links/far/d", b"/links/a", mode=0o604, uid=3)
    layer.symlink(b"links/s", b"a")
    layer.link(b"links/hard-to-symlink", b"links/s")
    layer.symlink(b"links/loop", b"loop")
    layer.symlink(b"links/out", b"../../../../etc/passwd")
    layer.symlink(b"links/near", b"far")
    layer.add(b"links/near/through", content=b"through a link of this layer")
    layer.symlink(b"links/rooted", b"/links/far")
    layer.add(b"links/rooted/rooted", content=b"through an absolute one")
    layer.symlink(b"links/upward", b"../../../../../../links/far")
    layer.add(b"links/upward/upward", content=b"upwards stays inside")
    layer.add(b"links/fifo", b"6", mode=0o620, gid=5)
    return layer.end()


def xattrs():
    layer = Layer()
    layer.dir(b"xattrs", records=[(b"SCHILY.xattr.user.dir", b"on a directory")])
    layer.add(b"xattrs/file", content=b"x", records=[(b"SCHILY.xattr.user.binary", bytes(range(256))),
                                                     (b"SCHILY.xattr.user.text", b"a=b\nc")])
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    layer.add(b"xattrs/capable", content=b"x", mode=0o755, records=[(b"SCHILY.xattr.security.capability", capability)])
    layer.add(b"xattrs/overlay", content=b"x", records=[(b"SCHILY.xattr.user.overlay.redirect", b"/tmp"),
                                                        (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
                                                        (b"SCHILY.xattr.security.selinux", b"label")])
    layer.dir(b"xattrs/overlay-dir", records=[(b"SCHILY.xattr.user.overlay.opaque", b"y")])
    return layer.end()


def sparse_old(layer):
    """The old format, with so many segments that the map goes on in two blocks after the header."""
    many = [(n * 8192, 512) for n in range(30)]
    entry = lambda pair: b"%011o\0%011o\0" % pair
    size = 30 * 8192
    gnu = bytes(41) + b"".join(map(entry, many[:4])) + b"\x01" + b"%011o\0" % size
    content = b"".join(bytes([65 + n % 26]) * 512 for n in range(30))
    layer.data += header(b"sparse/old", b"S", len(content), magic=b"ustar  \0", gnu=gnu)
    layer.data += (b"".join(map(entry, many[4:25])) + b"\x01").ljust(512, b"\0")
    layer.data += b"".join(map(entry, many[25:])).ljust(512, b"\0") + padded(content)


def sparse(plain):
    layer = Layer()
    layer.dir(b"sparse")
    pieces = ((4096, b"f" * 512), (40960, b"s" * 1024), (1 << 20, b"last"))
    size = (1 << 20) + 5000
    data = b"".join(piece for _, piece in pieces)
    numbers = [(offset, len(piece)) for offset, piece in pieces]
    count = b"%d" % len(numbers)
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", count)]
    for pair in numbers:
        records += [(b"GNU.sparse.offset", b"%d" % pair[0]), (b"GNU.sparse.numbytes", b"%d" % pair[1])]
    layer.add(b"sparse/pax-0.0", content=data, records=records)
    flat = b",".join(b"%d,%d" % pair for pair in numbers)
    layer.add(b"sparse/GNUSparseFile.1/pax-0.1", content=data, records=[
        (b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", count), (b"GNU.sparse.map", flat),
        (b"GNU.sparse.name", b"sparse/pax-0.1")])
    lines = padded(b"%s\n" % count + b"".join(b"%d\n%d\n" % pair for pair in numbers))
    layer.add(b"sparse/GNUSparseFile.1/pax-1.0", content=lines + data, records=[
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"sparse/pax-1.0"),
        (b"GNU.sparse.realsize", b"%d" % size)])
    if not plain:
        sparse_old(layer)
    layer.add(b"sparse/all-hole", records=[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                                           (b"GNU.sparse.name", b"sparse/hole"), (b"GNU.sparse.realsize", b"1000000")],
              content=padded(b"0\n"))
    layer.add(b"sparse/pax-size", content=b"1234567", records=[(b"size", b"7")])
    return layer.end()


def whiteouts(plain):
    layer = Layer()
    layer.whiteout(b"gone")
    layer.whiteout(b"never-was")
    layer.opaque(b"opaque")
    layer.add(b"opaque/new", content=b"new")
    layer.dir(b"opaque/inner")
    layer.add(b"dir-to-file", content=b"a file now")
    layer.symlink(b"dir-to-link", b"usr")
    layer.dir(b"file-to-dir")
    layer.add(b"file-to-dir/in", content=b"in")
    if not plain:
        layer.add(b".wh..wh.plnk/1.2", content=b"aufs")
        layer.add(b".wh..wh.aufs")
    # Whiteouts hide what lies below, never what comes with them, whatever the order.
    layer.add(b"again", content=b"here again")
    layer.whiteout(b"again")
    layer.whiteout(b"modes")
    layer.dir(b"modes")
    layer.add(b"modes/only", content=b"all that is left")
    layer.dir(b"names")
    layer.add(b"names/kept", content=b"kept")
    layer.whiteout(b"names")
    layer.add(b"times/kept", content=b"kept")
    layer.opaque(b"times")
    return layer.end()


def changes():
    layer = Layer()
    layer.dir(b"changes")
    kinds = {
        b"file": lambda name: layer.add(name, content=b"file of " + name),
        b"dir": lambda name: layer.dir(name, mode=0o751),
        b"full": lambda name: (layer.dir(name), layer.add(name + b"/in", content=b"in")),
        b"symlink": lambda name: layer.symlink(name, b"changes/nowhere"),
        b"hardlink": lambda name: layer.link(name, b"changes/target"),
        b"fifo": lambda name: layer.add(name, b"6"),
    }
    layer.add(b"changes/target", content=b"target")
    for first in kinds:
        for second in kinds:
            name = b"changes/%s-%s" % (first, second)
            kinds[first](name)
            kinds[second](name)
    layer.dir(b"readonly", mode=0o555)
    layer.add(b"readonly/inside", content=b"in a directory that may not be written", mode=0o400)
    layer.dir(b"readonly/closed", mode=0o000)
    layer.add(b"readonly/closed/inside", content=b"in a closed one")
    return layer.end()


def implied():
    """Entries whose directories are of lower layers only, or of none."""
    layer = Layer()
    layer.add(b"tmp/new", content=b"tmp keeps its mode")
    layer.add(b"lib/new", content=b"lib stays a link")
    layer.add(b"absolute/newer", content=b"so does an absolute one")
    layer.add(b"made/for/this", content=b"made")
    layer.add(b"lib/sub/deep", content=b"below a link of a lower layer")
    layer.whiteout(b"usr/lib/lower")
    return layer.end()


def changed(seed, number, tree):
    """Random changes of `tree`, a map from path to type that goes on from layer to layer."""
    random_ = random.Random(seed * 1000 + number)
    layer = Layer()
    added = {}
    hidden = set()
    directories = lambda: [b"work"] + [path for path, kind in tree.items() if kind == "d"]

    def forget(path):
        for other in [other for other in tree if other == path or other.startswith(path + b"/")]:
            del tree[other]
            added.pop(other, None)

    if number == 0 or random_.random() < 0.5:
        layer.dir(b"work", mtime=MTIME + number)
    for _ in range(random_.randrange(3, 14)):
        parent = random_.choice(directories())
        if parent.count(b"/") > 3:
            continue
        path = parent + b"/" + random_.choice([b"a", b"b", b"c", b"d", b"e"])
        fields = dict(uid=random_.choice([0, 0, 1, 1000]), gid=random_.choice([0, 0, 50]), mtime=MTIME + random_.randrange(999))
        what = random_.choice("ffffddddslwwop")
        # Where one of several links is hidden, an overlay still counts it: those that are linked stay.
        if any(kind == "L" and (other == path or other.startswith(path + b"/")) for other, kind in tree.items()):
            if what != "d" or tree[path] != "d":
                continue
        # A whiteout and an entry of one path in one layer are tried elsewhere.
        if path in hidden or any(path.startswith(one + b"/") for one in hidden) and what in "wo":
            continue
        if what == "f":
            forget(path)
            layer.add(path, content=random_.randbytes(random_.randrange(3000)), mode=random_.choice([0o644, 0o755, 0o4711]), **fields)
            tree[path] = added[path] = "f"
        elif what == "d":
            if tree.get(path) != "d":
                forget(path)
            layer.dir(path, mode=random_.choice([0o755, 0o700, 0o555, 0o1777, 0o2755]), **fields)
            tree[path] = added[path] = "d"
        elif what == "s":
            forget(path)
            layer.symlink(path, random_.choice([b"a", b"../b", b"/work/c", b"nowhere"]), **fields)
            tree[path] = added[path] = "s"
        elif what == "p":
            forget(path)
            layer.add(path, b"6", **fields)
            tree[path] = added[path] = "p"
        elif what == "l":
            files = [other for other, kind in added.items() if kind == "f" and other != path and not other.startswith(path + b"/")]
            if files:
                target = random_.choice(files)
                forget(path)
                layer.link(path, target)
                tree[path] = added[path] = tree[target] = "L"
        elif what == "w" and path in tree and not any(one == path or one.startswith(path + b"/") for one in added):
            forget(path)
            layer.whiteout(path)
            hidden.add(path)
        elif what == "o" and tree.get(path) == "d" and not any(one.startswith(path + b"/") for one in added):
            for other in [other for other in tree if other.startswith(path + b"/")]:
                tree.pop(other)
            layer.opaque(path)
    return layer.end()


def several_members(data, plain):
    """gzip of several members, with every optional header field, and zeros after the end."""
    middle = len(data) // 2
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(data[:middle]) + packer.flush()
    fields = b"\x1f\x8b\x08\x1c\0\0\0\0\0\x03" + b"\x04\0abcd" + b"name\0" + b"comment\0"
    first = fields + raw + struct.pack("<II", zlib.crc32(data[:middle]), middle)
    return first + gzip.compress(b"", mtime=0) + gzip.compress(data[middle:], mtime=0) + bytes(0 if plain else 300)


def pack(number, data, plain):
    way = number % 5
    if way == 1:
        return data, ""
    if way == 2:
        return several_members(data, plain), "+gzip"
    if way == 3 and not plain:
        zstd = ["zstd", "-q", "-c", "-19" if number % 2 else "-1", "--check"]
        return subprocess.run(zstd, input=data, stdout=subprocess.PIPE, check=True).stdout, "+zstd"
    return gzip.compress(data, mtime=0), "+gzip"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    first = [base, modes, names, times, links, xattrs, sparse, whiteouts, changes, implied]
    archives = [make(options.plain) if make in (modes, names, sparse, whiteouts) else make() for make in first][:options.layers]
    tree = {}
    archives += [changed(options.seed, number, tree) for number in range(options.layers - len(archives))]

    blobs = os.path.join(options.dir, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}

    as_json = lambda value: json.dumps(value, separators=(",", ":")).encode()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    layers = []
    for number, archive in enumerate(archives):
        data, suffix = pack(number, archive, options.plain)
        layers.append(blob(data, "layer.v1.tar" + suffix))
    config = blob(as_json({
        "created": "1970-01-01T00:00:00Z", "architecture": machine, "os": "linux", "config": {"Cmd": ["/bin/tool"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(one).hexdigest() for one in archives]},
    }), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    entry = blob(as_json(manifest), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "layers:%d" % options.layers}
    with open(os.path.join(options.dir, "index.json"), "wb") as file:
        file.write(as_json({"schemaVersion": 2, "manifests": [entry]}))
    with open(os.path.join(options.dir, "oci-layout"), "w") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')


if __name__ == "__main__":
    main()
