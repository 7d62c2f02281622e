"""Tar archives that readers differ about, or that lie about sizes (rows X7 and X8)."""
from case import END, DIR, blocks, directory, file, gnu_long, hardlink, header, layer, node, padded, pax, symlink

NEXT = file(b"next", b"next")
HUGE = (1 << 63) - 1


def raw(data, kind=b"x"):
    return header(b"PaxHeaders/x", kind, len(data)) + padded(data)


def record(text):
    length = next(n for n in range(len(text), len(text) + 9) if n == len(text) + 1 + len(str(n)))
    return b"%d %s" % (length, text)


def records():
    """X8: PAX records."""
    target = file(b"f", b"12345")
    for name, data in {
        "no-newline": b"9 path=xy",
        "wrong-newline": b"9 path=x\0",
        "length-0": b"0 path=x\n",
        "length-short": b"5 path=x\n",
        "length-long": b"99 path=x\n",
        "length-negative": b"-9 path=x\n",
        "length-huge": b"99999999999999999999 path=x\n",
        "length-hex": b"0x9 path=x\n",
        "length-space": b" 10 path=x\n",
        "length-zeros": b"0000000000000000000000009 path=x\n",
        "no-equals": b"8 pathx\n",
        "no-key": b"5 =x\n",
        "key-nul": b"10 pa\0th=\n",
        "zeros": bytes(512),
        "text": b"just text",
        "tail": b"9 path=x\nx",
        "tail-nul": b"9 path=x\n\0\0\0",
        "twice": b"9 path=x\n" * 2,
        "twice-other": b"9 path=x\n9 path=y\n",
        "link-twice": record(b"linkpath=x\n") * 2,
        "size-twice": record(b"size=5\n") * 2,
        "uid-twice": record(b"uid=5\n") * 2,
        "mtime-twice": record(b"mtime=5\n") * 2,
        "size-negative": record(b"size=-1\n"),
        "size-plus": record(b"size=+5\n"),
        "size-space": record(b"size= 5\n"),
        "size-fraction": record(b"size=5.0\n"),
        "size-hex": record(b"size=0x5\n"),
        "size-2-63": record(b"size=9223372036854775808\n"),
        "size-2-64": record(b"size=18446744073709551621\n"),
        "size-8-eib": record(b"size=9223372036854775807\n"),
        "size-beyond": record(b"size=6000\n"),
        "uid-text": record(b"uid=root\n"),
        "gid-negative": record(b"gid=-1\n"),
        "mtime-text": record(b"mtime=now\n"),
        "mtime-inf": record(b"mtime=inf\n"),
        "mtime-two-dots": record(b"mtime=1.2.3\n"),
        "realsize": record(b"SCHILY.realsize=5\n"),
    }.items():
        # More than the disk has is no reason to call it malformed.
        yield layer("pax-" + name, blocks(raw(data), target, NEXT), 1 if name == "size-8-eib" else 6)
        # Said of everything that follows, it is no better.
        if name not in ("zeros", "text"):
            yield layer("global-" + name, blocks(raw(data, b"g"), target, NEXT))
    for key in (b"path", b"size", b"linkpath", b"uid", b"mtime", b"SCHILY.xattr.user.a", b"GNU.sparse.size"):
        yield layer("global-sets-" + key.decode(), blocks(raw(record(key + b"=1\n"), b"g"), target))
    yield layer("global-comment", blocks(raw(record(b"comment=x\n"), b"g"), target), 0, tree={"f": b"12345"})
    yield layer("pax-unknown", blocks(raw(record(b"VENDOR.x=y\n")), target), 0, tree={"f": b"12345"})
    yield layer("pax-empty", blocks(raw(b""), target), 0, tree={"f": b"12345"})
    yield layer("pax-size-smaller", blocks(pax([(b"size", b"3")]), header(b"f", b"0", 5), padded(b"123"), NEXT), 0,
                tree={"f": b"123", "next": b"next"})
    yield layer("pax-size-larger", blocks(pax([(b"size", b"600")]), header(b"f", b"0", 5), padded(b"x" * 600), NEXT), 0,
                tree={"f": b"x" * 600, "next": b"next"})
    # A reader that keeps to the header would see another entry in this data (CVE-2025-62518).
    hidden = blocks(file(b"hidden", b"changed"))
    yield layer("pax-size-smuggled", blocks(pax([(b"size", b"%d" % len(hidden))]), header(b"f", b"0", 0), padded(hidden), NEXT), 0,
                tree={"f": hidden, "next": b"next"})
    yield layer("pax-size-dir", blocks(pax([(b"size", b"1536")]), directory(b"d"), NEXT))
    yield layer("pax-size-link", blocks(pax([(b"size", b"512")]), symlink(b"s", b"t"), NEXT))
    yield layer("pax-pair", blocks(raw(record(b"path=a\n")), raw(record(b"path=b\n")), target))
    yield layer("pax-alone", blocks(raw(record(b"path=a\n"))))
    yield layer("pax-at-cut-end", raw(record(b"path=a\n")))
    yield layer("pax-1-mib", blocks(raw(b"x" * (1 << 20))))
    yield layer("pax-over", blocks(raw(record(b"comment=" + b"x" * (1 << 20) + b"\n")), target))
    yield layer("pax-claims-8-eib", blocks(header(b"x", b"x", HUGE), target))
    yield layer("pax-many", lambda: blocks(raw(b"".join(record(b"k%d=v\n" % n) for n in range(50000))), target), 0)


def gnu():
    """X8: GNU's long names, and PAX beside them."""
    target = file(b"f", b"12345", magic=b"ustar  \0")
    name = gnu_long(b"L", b"long")
    yield layer("gnu-long", blocks(name, target), 0, tree={"long": b"12345"})
    yield layer("gnu-long-twice", blocks(name, name, target))
    yield layer("gnu-long-and-pax", blocks(name, pax([(b"path", b"other")]), target))
    yield layer("gnu-link-and-pax", blocks(gnu_long(b"K", b"t"), pax([(b"linkpath", b"other")]), symlink(b"s", b"x")))
    yield layer("gnu-long-alone", blocks(name))
    yield layer("gnu-long-empty", blocks(gnu_long(b"L", b""), target))
    yield layer("gnu-long-no-nul", blocks(header(b"././@LongLink", b"L", 4) + padded(b"long"), target))
    yield layer("gnu-long-inner-nul", blocks(gnu_long(b"L", b"a\0b"), target))
    yield layer("gnu-link-no-nul", blocks(header(b"././@LongLink", b"K", 1) + padded(b"t"), symlink(b"s", b"x")))
    yield layer("gnu-long-5000", blocks(gnu_long(b"L", b"n" * 5000), target))
    yield layer("gnu-long-2-mib", lambda: blocks(gnu_long(b"L", b"n" * (2 << 20)), target))
    yield layer("gnu-long-400-mib", blocks(header(b"././@LongLink", b"L", 400 << 20), target))
    yield layer("gnu-long-8-eib", blocks(header(b"././@LongLink", b"L", HUGE), target))
    yield layer("gnu-long-upward", blocks(gnu_long(b"L", b"../" * 50 + b"canary/file"), target))
    for kind in b"ADEIMNQRTUVWXYZabcdefhijklmnopqrstuvwyz89?\x01\xff":
        yield layer("type-%d" % kind, blocks(node(b"x", bytes([kind])), NEXT))


def numbers():
    """X8: fields of the header."""
    good = file(b"f", b"12345")

    def field(offset, value):
        block = bytearray(good[:512])
        block[offset:offset + len(value)] = value
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + good[512:]

    sizes = {"negative": b"\xff" * 12, "beyond": b"\x80" + b"\xff" * 11, "8-eib": b"\x80\0\0\0\x7f" + b"\xff" * 7,
             "2-63": b"\x80\0\0\0\x80" + b"\0" * 7, "text": b"elephants!\0\0", "digit-8": b"00000000058\0", "minus": b"-0000000005\0",
             "inner-nul": b"0000\x000000005", "inner-space": b"0000 000005\0", "plus": b"+0000000005\0", "hex": b"0x000000005\0"}
    for name, value in sizes.items():
        yield layer("size-" + name, blocks(field(124, value), NEXT), 1 if name == "8-eib" else 6)
    yield layer("size-blank", blocks(field(124, b" " * 12)[:512], NEXT), 0, tree={"f": b"", "next": b"next"})
    for number, magic in enumerate((b"ustar\0  ", b"ustar\0\0\0", b"ustar\x0001", b"ustar   ", b"ustar 00", b"USTAR\x0000", b"magic!!!", b"\0ustar00")):
        yield layer("magic-%d" % number, blocks(file(b"f", b"1", magic=magic, prefix=b"prefix"), NEXT))
    for name, offset in (("mode", 100), ("uid", 108), ("gid", 116), ("mtime", 136)):
        yield layer("field-text-" + name, blocks(field(offset, b"no\0"), NEXT))
    for name, value in (("zero", bytes(8)), ("wrong", b"000001\0 "), ("text", b"checksum"), ("blank", b" " * 8), ("base-256", b"\x80" + b"\xff" * 7)):
        block = bytearray(good)
        block[148:156] = value
        yield layer("checksum-" + name, blocks(bytes(block), NEXT))
    for bit in range(0, 345 * 8, 97):
        block = bytearray(good)
        block[bit // 8] ^= 1 << bit % 8
        if not 148 <= bit // 8 < 156:
            yield layer("flipped-%d" % bit, blocks(bytes(block), NEXT))


def ends():
    """X8, X9: where the archive ends, and what follows."""
    good = file(b"f", b"12345" * 200)
    tree = {"f": b"12345" * 200}
    for name, end in (("none", b""), ("one", bytes(512)), ("two", END), ("20", bytes(10240)), ("mib", bytes(1 << 20))):
        yield layer("end-" + name, good + end, 0, tree=tree)
    yield layer("empty", b"", 0, tree={})
    yield layer("only-zeros", bytes(10240), 0, tree={})
    for name, end in (("garbage", END + b"garbage"), ("entry", END + NEXT), ("one-zero-entry", bytes(512) + NEXT), ("half-block", bytes(100)),
                      ("last-bit", END + bytes(8191) + b"\x01"), ("part", NEXT[:300])):
        yield layer("after-" + name, good + end)
    for length in (1, 100, 511, 513, 600, 1000, 1024, 1500, 1511):
        yield layer("cut-%d" % length, good[:length])
    for length in (1512, 1513, 1535):
        yield layer("cut-padding-%d" % length, good[:length], 0, tree=tree)
    yield layer("cut-extension-padding", raw(record(b"path=a\n"))[:-1])
    yield layer("not-tar", b"#!/bin/sh\necho\n" * 100)
    yield layer("not-tar-short", b"x")
    yield layer("data-dir", blocks(header(b"d", b"5", 512) + bytes(512), NEXT))
    yield layer("data-symlink", blocks(header(b"s", b"2", 512, link=b"t") + bytes(512), NEXT))
    yield layer("data-hardlink", blocks(NEXT, header(b"h", b"1", 4, link=b"next") + padded(b"more")))
    yield layer("data-fifo", blocks(header(b"p", b"6", 512) + bytes(512), NEXT))
    yield layer("data-device", blocks(header(b"p", b"3", 512) + bytes(512), NEXT))
    yield layer("data-8-eib", blocks(header(b"f", b"0", HUGE), NEXT), 1)
    yield layer("data-8-eib-whiteout", blocks(header(b".wh.f", b"0", HUGE), NEXT), 1)
    yield layer("file-slash", blocks(file(b"f/", b"12345")))
    yield layer("old-dir", blocks(node(b"d/", b"\0", mode=0o755)), 0, tree={"d": DIR})


def cases(_):
    for family in (records, gnu, numbers, ends):
        yield from family()
