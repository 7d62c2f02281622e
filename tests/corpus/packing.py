"""Sparse files, compression and digests (rows X7 and X9)."""
import gzip
import random
import struct
import zlib

from case import END, Case, Image, blocks, digest, file, header, layer, padded, pax

GOOD = blocks(file(b"f", b"12345" * 300))
TREE = {"f": b"12345" * 300}
HUGE = (1 << 63) - 1


def sparse_1(name, lines, data=b"", size=5000, **more):
    """Format 1.0: the map stands before the data."""
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"f"),
               (b"GNU.sparse.realsize", b"%d" % size)]
    return layer(name, blocks(pax(records), file(b"GNUSparseFile.1/f", padded(lines) + data)), **more)


def sparse_0(name, text, data=b"12345", size=b"5000", more=(), **other):
    """Format 0.1: the map is a record."""
    records = [(b"GNU.sparse.size", size), (b"GNU.sparse.map", text), (b"GNU.sparse.name", b"f"), *more]
    return layer(name, blocks(pax(records), file(b"x", data)), **other)


def sparse_old(name, pairs, data=b"12345", size=5000, extended=b"\0", after=b"", **more):
    entry = b"".join(b"%011o\0%011o\0" % pair for pair in pairs)
    gnu = bytes(41) + entry.ljust(96, b"\0") + extended + b"%011o\0" % size
    return layer(name, blocks(header(b"f", b"S", len(data), magic=b"ustar  \0", gnu=gnu) + after, padded(data)), **more)


def sparse():
    """X7, X8: maps that overlap, leave the file, or do not add up."""
    content = {"f": b"12345" + bytes(4995)}
    yield sparse_1("sparse-1-good", b"1\n0\n5\n", b"12345", code=0, tree=content)
    yield sparse_0("sparse-0-good", b"0,5", code=0, tree=content)
    yield sparse_old("sparse-old-good", [(0, 5)], code=0, tree=content)
    for name, pairs in {"overlap": [(0, 3), (2, 2)], "backwards": [(3, 3), (0, 2)], "beyond": [(4999, 5)], "sum": [(0, 4)],
                        "more": [(0, 6)], "unaligned": [(0, 3), (100, 2)], "huge": [(1 << 62, 5)], "none": []}.items():
        lines = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
        yield sparse_1("sparse-1-" + name, lines, b"12345")
        yield sparse_0("sparse-0-" + name, b",".join(b"%d,%d" % pair for pair in pairs))
        if name != "huge":
            yield sparse_old("sparse-old-" + name, pairs)
    for name, lines in {"text": b"one\n0\n5\n", "short": b"2\n0\n5\n", "negative": b"1\n-1\n5\n", "count-huge": b"9" * 18 + b"\n",
                        "no-newline": b"1" * 400, "empty": b"", "overflow": b"1\n9223372036854775807\n5\n"}.items():
        yield sparse_1("sparse-1-" + name, lines, b"12345")
    for name, text in {"odd": b"0,5,6", "text": b"a,b", "spaces": b"0, 5", "negative": b"-1,5", "trailing": b"0,5,",
                       "overflow": b"9223372036854775807,5"}.items():
        yield sparse_0("sparse-0-" + name, text)
    yield sparse_0("sparse-0-count", b"0,5", more=[(b"GNU.sparse.numblocks", b"2")])
    yield sparse_0("sparse-0-twice", b"0,5", more=[(b"GNU.sparse.map", b"0,5")])
    yield sparse_0("sparse-0-size-twice", b"0,5", more=[(b"GNU.sparse.size", b"5000")])
    yield sparse_0("sparse-0-size-text", b"0,5", size=b"big")
    yield sparse_0("sparse-0-version", b"0,5", more=[(b"GNU.sparse.major", b"3"), (b"GNU.sparse.minor", b"0")])
    yield sparse_0("sparse-0-half", b"0,5", more=[(b"GNU.sparse.offset", b"1")])
    yield sparse_0("sparse-0-unknown", b"0,5", more=[(b"GNU.sparse.other", b"1")])
    yield sparse_old("sparse-old-extended-text", [(0, 5)], extended=b"\x01", after=b"x" * 512)
    yield sparse_old("sparse-old-size", [(0, 5)], size=4)
    # A hole takes no space until somebody reads it: it is counted like data.
    yield sparse_1("sparse-1-8-eib", b"1\n0\n5\n", b"12345", size=HUGE, code=1)
    yield sparse_0("sparse-0-8-eib", b"0,5", size=b"%d" % HUGE, code=1)
    yield sparse_1("sparse-1-all-hole-8-eib", b"0\n", size=HUGE, code=1)
    yield sparse_0("sparse-0-2-63", b"0,5", size=b"9223372036854775808")
    yield layer("sparse-dir", blocks(pax([(b"GNU.sparse.size", b"5"), (b"GNU.sparse.map", b"")]), header(b"d", b"5")))
    many = lambda count: b"%d\n" % count + b"0\n0\n" * count
    yield Case("sparse-1-segments", lambda: sparse_1("", many(200000) , b"", size=0).make(), 0, tree={"f": b""})
    yield Case("sparse-1-too-many", lambda: sparse_1("", b"%d\n" % ((1 << 20) + 1), b"", size=0).make())


def packed(name, make, code=6, content=GOOD, **more):
    """A case of one layer that is packed as `make` says."""
    return Case(name, lambda: Image(content, packed=make()).archive(), code, **more)


def deflate(data, level=9):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zeros(mebibytes):
    """A gzip of so many zeros, which are never in memory at once."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()


def member(data, flags=0, fields=b"", crc=None, length=None):
    end = struct.pack("<II", zlib.crc32(data) if crc is None else crc, len(data) if length is None else length)
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\x03" + fields + deflate(data) + end


def gzips():
    half = len(GOOD) // 2
    for name, make in {
        "method": lambda: b"\x1f\x8b\x07" + member(GOOD)[3:],
        "flags": lambda: member(GOOD, 0x20),
        "flags-all": lambda: member(GOOD, 0xe0),
        "crc": lambda: member(GOOD, crc=0),
        "length": lambda: member(GOOD, length=5),
        "length-4-gib": lambda: member(GOOD, length=0xffffffff),
        "header-only": lambda: member(GOOD)[:10],
        "magic-only": lambda: b"\x1f\x8b",
        "extra-missing": lambda: b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff",
        "name-endless": lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 100000,
        "garbage-after": lambda: member(GOOD) + b"garbage",
        "magic-after": lambda: member(GOOD) + b"\x1f",
        "magic-after-2": lambda: member(GOOD) + b"\x1f\x8b",
        "second-bad": lambda: member(GOOD[:half]) + member(GOOD[half:], crc=1),
        "second-missing": lambda: member(GOOD[:half]),
        "zeros-between": lambda: member(GOOD[:half]) + bytes(512) + member(GOOD[half:]),
        "nested": lambda: member(member(GOOD)),
        "deflate-reserved": lambda: b"\x1f\x8b\x08" + bytes(7) + b"\x07" * 50,
        "deflate-far": lambda: b"\x1f\x8b\x08" + bytes(7) + b"\x4b\x04\x41\xfe\xff" * 9,
        "stored-length": lambda: b"\x1f\x8b\x08" + bytes(7) + b"\x01\x05\0\0\0hello" + bytes(8),
        "empty-members": lambda: member(b"") * 3,
        "zlib": lambda: zlib.compress(GOOD),
        "raw": lambda: deflate(GOOD),
        "bzip2": lambda: b"BZh91AY&SY",
        "xz": lambda: b"\xfd7zXZ\0" + bytes(50),
        "compress": lambda: b"\x1f\x9d\x90" + bytes(50),
    }.items():
        yield packed("gzip-" + name, make)
    for length in (3, 9, 11, 15, 20, -9, -8, -7, -4, -1):
        yield packed("gzip-cut-%d" % length, lambda length=length: member(GOOD)[:length])
    pick = random.Random(7)
    for number in range(12):
        at, bit = pick.randrange(10, len(member(GOOD))), 1 << pick.randrange(8)
        yield packed("gzip-flipped-%d" % number, lambda at=at, bit=bit: flip(member(GOOD), at, bit))
    yield packed("gzip-members", lambda: member(GOOD[:half]) + member(b"") + member(GOOD[half:]), 0, tree=TREE)
    yield packed("gzip-fields", lambda: member(GOOD, 0x1e, b"\x04\0abcdname\0comment\0\x12\x34"), 0, tree=TREE)
    yield packed("gzip-zeros-after", lambda: member(GOOD) + bytes(5000), 0, tree=TREE)
    yield packed("gzip-empty-content", lambda: member(b""), 0, content=b"", tree={})


def flip(data, at, bit):
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:]


def frame(*parts, descriptor=0, window=b"\x40", fields=b""):
    """A zstd frame of raw blocks, or of what is ready (RFC 8878, 3.1.1); window 0x40 is 256 KiB."""
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + window + fields + b"".join(parts)


def block(data, last=1, kind=0, size=None):
    return ((len(data) if size is None else size) << 3 | kind << 1 | last).to_bytes(3, "little") + data


def rle(count, last=0):
    return block(b"\0", last, 1, count)


def zstds():
    whole = frame(block(GOOD))
    for name, make in {
        "reserved-block": lambda: frame(block(GOOD, kind=3)),
        "window-1-gib": lambda: frame(block(GOOD), window=b"\xa0"),
        "window-3-tib": lambda: frame(block(GOOD), window=b"\xff"),
        "window-128-mib": lambda: frame(rle(1 << 17) * 1200, block(b""), window=b"\x88"),
        "window-64-mib": lambda: frame(rle(1 << 17) * 1200, block(b""), window=b"\x80"),
        # As large as may be: refused for its diffid alone, when all of it has been read.
        "window-32-mib": lambda: frame(block(header(b"f", b"0", 800 << 17), 0), rle(1 << 17) * 800, block(END), window=b"\x78"),
        "content-size": lambda: frame(block(GOOD), descriptor=0x20, window=b"", fields=b"\x05"),
        "content-huge": lambda: frame(block(GOOD), descriptor=0xe0, window=b"", fields=b"\xff" * 8),
        "dictionary": lambda: frame(block(GOOD), descriptor=3, fields=b"\xff\xff\xff\x7f"),
        "checksum": lambda: frame(block(GOOD), b"sum!", descriptor=4),
        "checksum-missing": lambda: frame(block(GOOD), descriptor=4),
        "header-only": lambda: whole[:6],
        "magic-only": lambda: whole[:4],
        "no-last-block": lambda: frame(block(GOOD, last=0)),
        "block-cut": lambda: whole[:-9],
        "block-large": lambda: frame(block(GOOD[:100], size=1 << 20)),
        "block-beyond-window": lambda: frame(rle((1 << 20) + 1, 1)),
        "compressed-garbage": lambda: frame(block(b"\xff" * 100, kind=2)),
        "compressed-empty": lambda: frame(block(b"", kind=2)),
        "garbage-after": lambda: whole + b"garbage",
        "zeros-after": lambda: whole + bytes(512),
        "second-cut": lambda: whole + b"\x28\xb5\x2f\xfd",
        "skippable-long": lambda: whole + b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        "skippable-cut": lambda: whole + b"\x5f\x2a\x4d\x18\x01",
        "old-version": lambda: b"\x27\xb5\x2f\xfd" + whole[4:],
        "gzip-within": lambda: frame(block(gzip.compress(GOOD))),
    }.items():
        yield packed("zstd-" + name, make)
    for at in range(4, 14):
        yield packed("zstd-flipped-%d" % at, lambda at=at: flip(whole, at, 0xff))
    skip = b"\x53\x2a\x4d\x18\x03\0\0\0abc"
    yield packed("zstd-frames", lambda: skip + frame(block(GOOD[:700])) + skip * 50 + frame(block(GOOD[700:])), 0, tree=TREE)
    yield packed("zstd-single-segment", lambda: frame(block(GOOD), descriptor=0x60, window=b"", fields=(len(GOOD) - 256).to_bytes(2, "little")),
                 0, tree=TREE)


def bombs():
    """X7: what grows a thousandfold is stopped by what it says, or by how much it grows."""
    tall = header(b"f", b"0", 1 << 40)
    yield packed("bomb-gzip-1-tib", lambda: member(tall + bytes(16 << 20)), 1)
    yield packed("bomb-zstd-1-tib", lambda: frame(block(tall, 0), rle(1 << 17) * 8000), 1)
    yield packed("bomb-zeros-after-end", lambda: frame(block(GOOD, 0), rle(1 << 17) * 200000))
    yield packed("bomb-zeros-after-gzip", lambda: gzip.compress(GOOD, mtime=0) + zeros(200))
    yield packed("bomb-pax", lambda: frame(block(header(b"x", b"x", 1 << 40), 0), rle(1 << 17) * 200000))
    yield packed("bomb-long-name", lambda: member(header(b"././@LongLink", b"L", 400 << 20) + bytes(16 << 20)))
    yield packed("bomb-whiteout", lambda: frame(block(header(b".wh.f", b"0", 1 << 40), 0), rle(1 << 17) * 8000), 1)


def digests():
    """X9: a layer is there only if blob, size and diffid all match."""
    def changed(change, at="unpack", code=6):
        def make():
            image = Image(GOOD)
            change(image)
            return image.archive()
        return Case("", make, code, at)

    def set_diff(image, value):
        image.config["rootfs"]["diff_ids"] = value

    def damage(image):
        key = image.layers[0]["digest"]
        image.blobs[key] = flip(image.blobs[key], 40, 1)

    for name, case in {
        "diffid-other": changed(lambda image: set_diff(image, [digest(b"other")])),
        "diffid-of-blob": changed(lambda image: set_diff(image, [image.layers[0]["digest"]])),
        "diffid-missing": changed(lambda image: set_diff(image, []), "load"),
        "diffid-too-many": changed(lambda image: set_diff(image, [digest(GOOD)] * 2), "load"),
        "diffid-upper": changed(lambda image: set_diff(image, [digest(GOOD).upper().replace("SHA", "sha")]), "load"),
        "diffid-path": changed(lambda image: set_diff(image, ["sha256:../../../canary"]), "load"),
        "diffid-short": changed(lambda image: set_diff(image, ["sha256:" + "0" * 63]), "load"),
        "diffid-md5": changed(lambda image: set_diff(image, ["md5:" + "0" * 32]), "load"),
        "blob-damaged": changed(damage, "load"),
        "blob-missing": changed(lambda image: image.blobs.clear(), "load"),
        "blob-size-more": changed(lambda image: image.layers[0].update(size=image.layers[0]["size"] + 1), "load"),
        "blob-size-less": changed(lambda image: image.layers[0].update(size=image.layers[0]["size"] - 1), "load"),
        "blob-size-8-eib": changed(lambda image: image.layers[0].update(size=HUGE), "load"),
        "blob-size-zero": changed(lambda image: image.layers[0].update(size=0), "load"),
    }.items():
        case.name = name
        yield case


def cases(_):
    for family in (sparse, gzips, zstds, bombs, digests):
        yield from family()
