"""Types replaced by one another, whiteouts, attributes and devices (rows X2, X5, X6, X10, X11 and X12)."""
from case import (DEVICE, DIR, FIFO, OPAQUE, WHITEOUT, Case, Image, blocks, directory, file, hardlink, layer, link, node, pax,
                  symlink)

TARGET = file(b"target", b"target")
PLACE = directory(b"t")
# A whiteout stays only where there is something that it can be in.
LOWER = blocks(file(b"gone"), directory(b"d"), file(b"d/f"), directory(b"canary"), file(b"canary/file"))


def kinds(device):
    """Each type that an entry can have: its blocks at a path, and what then stands there."""
    return {
        "file": (lambda path: file(path, b"new"), b"new"),
        "dir": (directory, DIR),
        "symlink": (lambda path: symlink(path, b"t"), link("t")),
        "hardlink": (lambda path: hardlink(path, b"target"), b"target"),
        "fifo": (lambda path: node(path, b"6"), FIFO),
        "device": (lambda path: node(path, b"3", device=(1, 3)), device),
        "whiteout": (lambda path: file(b".wh." + path), WHITEOUT),
    }


def replaced(first, second, all_kinds):
    """What stands at a path where one entry follows another in the same layer."""
    (_, before), (_, after) = all_kinds[first], all_kinds[second]
    if second == "whiteout":
        # It hides what lies below, never what comes with it.
        return OPAQUE if before == DIR else before if before else WHITEOUT
    # In the place of something else a directory has nothing of the layers below.
    return OPAQUE if second == "dir" and first != "dir" and before else after


def matrix(can_mknod):
    """X2: each type after each, in one layer, in two, and with an entry below it at the end."""
    all_kinds = kinds(DEVICE if can_mknod else None)
    base = {"target": b"target", "t": DIR}
    for first, (make, _) in all_kinds.items():
        for second, (again, alone) in all_kinds.items():
            name = "%s-%s" % (first, second)
            entries = TARGET, PLACE, make(b"x"), again(b"x")
            stands = replaced(first, second, all_kinds)
            tree = {**base, "x": stands} if stands else base
            yield layer("same-layer-" + name, blocks(*entries), 0, tree=tree, below=LOWER)
            below = {DIR: {"x/in": b"in"}, OPAQUE: {"x/in": b"in"}, link("t"): {"t/in": b"in"}, None: {"x": DIR, "x/in": b"in"},
                     WHITEOUT: {"x": OPAQUE, "x/in": b"in"}}.get(stands)
            yield layer("below-" + name, blocks(*entries, file(b"x/in", b"in")), 0 if below else 6, tree=below and {**tree, **below},
                        below=LOWER)
            two = blocks(TARGET, PLACE, make(b"x")), blocks(TARGET, again(b"x"))
            yield Case("two-layers-" + name, lambda two=two: Image(*two).archive(), 0,
                       tree={"target": b"target", **({"x": alone} if alone else {})})


def whiteouts():
    """X5: names that begin with .wh."""
    for number, name in enumerate((b".wh.", b"a/.wh.", b".wh..", b".wh...", b"a/.wh..", b"a/.wh...", b".wh.a/b", b"a/.wh.b/c",
                                   b".wh.a/.wh.b", b".wh.../x", b"/.wh.", b"./.wh.", b"../.wh.x", b".wh./x")):
        yield layer("whiteout-bad-%d" % number, blocks(file(name)))
        yield layer("whiteout-bad-dir-%d" % number, blocks(directory(name)))
    yield layer("whiteout-root-dot", blocks(directory(b"./"), file(b"./.wh.")))
    for number, name in enumerate((b".wh..wh.plnk", b".wh..wh.aufs", b".wh..wh.orph/x", b"a/.wh..wh.plnk/1.2", b".wh..wh.")):
        yield layer("whiteout-aufs-%d" % number, blocks(file(b"a/kept", b"1"), file(name, b"data")), 0, tree={"a": DIR, "a/kept": b"1"})
    yield layer("whiteout-plain", blocks(file(b".wh.gone")), 0, tree={"gone": WHITEOUT}, below=LOWER)
    yield layer("whiteout-twice", blocks(file(b".wh.gone"), file(b".wh.gone")), 0, tree={"gone": WHITEOUT}, below=LOWER)
    yield layer("whiteout-odd-name", blocks(file(b".wh.\x1b\n\xff")), 0, tree={"\x1b\n\udcff": WHITEOUT}, below=LOWER)
    yield layer("whiteout-dots", blocks(file(b".wh....")), 0, tree={"...": WHITEOUT}, below=LOWER)
    yield layer("whiteout-before", blocks(file(b".wh.f"), file(b"f", b"1")), 0, tree={"f": b"1"})
    yield layer("whiteout-after", blocks(file(b"f", b"1"), file(b".wh.f")), 0, tree={"f": b"1"})
    yield layer("whiteout-after-dir", blocks(directory(b"d"), file(b"d/f", b"1"), file(b".wh.d")), 0, tree={"d": OPAQUE, "d/f": b"1"})
    yield layer("whiteout-then-below", blocks(file(b".wh.d"), file(b"d/f", b"1")), 0, tree={"d": OPAQUE, "d/f": b"1"})
    yield layer("whiteout-within-gone", blocks(file(b".wh.d"), file(b"d/.wh.f")), 0, tree={"d": WHITEOUT}, below=LOWER)
    yield layer("opaque", blocks(directory(b"d"), file(b"d/.wh..wh..opq"), file(b"d/f", b"1")), 0, tree={"d": OPAQUE, "d/f": b"1"})
    yield layer("opaque-last", blocks(directory(b"d"), file(b"d/f", b"1"), file(b"d/.wh..wh..opq")), 0, tree={"d": OPAQUE, "d/f": b"1"})
    yield layer("opaque-twice", blocks(file(b"d/.wh..wh..opq"), file(b"d/.wh..wh..opq")), 0, tree={"d": OPAQUE})
    yield layer("opaque-below-file", blocks(file(b"f"), file(b"f/.wh..wh..opq")))
    yield layer("whiteout-below-file", blocks(file(b"f"), file(b"f/.wh.x")))
    yield layer("whiteout-through-link", blocks(symlink(b"s", b"../canary"), file(b"s/.wh.file")), 0,
                tree={"s": link("../canary"), "canary": DIR, "canary/file": WHITEOUT}, below=LOWER)
    yield layer("opaque-through-link", blocks(symlink(b"s", b"../canary"), file(b"s/.wh..wh..opq")), 0,
                tree={"s": link("../canary"), "canary": OPAQUE})
    for kind, data in (("symlink", symlink(b".wh.x", b"../canary")), ("fifo", node(b".wh.x", b"6")), ("dir", directory(b".wh.x"))):
        yield layer("whiteout-as-" + kind, blocks(data), 0, tree={"x": WHITEOUT}, below=LOWER)


def xattrs():
    """X6: overlay's own attributes say nothing; no device becomes a whiteout."""
    names = [space + name for space in (b"user.overlay.", b"trusted.overlay.")
             for name in (b"opaque", b"redirect", b"metacopy", b"whiteout", b"xwhiteouts", b"origin", b"impure", b"nlink",
                          b"verity", b"protattr", b"overlay.opaque")]
    for number, name in enumerate(names):
        for value in (b"y", b"/tmp"):
            records = [(b"SCHILY.xattr." + name, value)]
            data = blocks(pax(records), file(b"f", b"1"), pax(records), directory(b"d"), pax(records), symlink(b"s", b"f"))
            yield layer("overlay-%d-%s" % (number, value.decode().strip("/")), data, 0,
                        tree={"f": b"1", "d": DIR, "s": link("f")})
    records = [(b"SCHILY.xattr.user.n%d" % number, b"v") for number in range(5000)]
    yield layer("xattrs-5000", blocks(pax(records), file(b"f")))
    yield layer("xattr-twice", blocks(pax([(b"SCHILY.xattr.user.a", b"1")] * 2), file(b"f")))
    yield layer("xattr-no-name", blocks(pax([(b"SCHILY.xattr.", b"1")]), file(b"f")))
    odd = {b"security.selinux": b"label", b"security.ima": b"\x01", b"system.posix_acl_access": b"\x02\0\0\0", b"nonsense": b"1",
           b"user.": b"1", b"user.\xff": b"1", b"n" * 300: b"1", b"user.huge": b"v" * 70000, b"trusted.x": b"1",
           b"security.capability": b"broken"}
    for number, (name, value) in enumerate(odd.items()):
        yield layer("xattr-odd-%d" % number, blocks(pax([(b"SCHILY.xattr." + name, value)]), file(b"f", b"1")), 0, tree={"f": b"1"})


def devices(can_mknod):
    """X11: devices are made where that is allowed, but for 0:0, which would hide what lies below."""
    for kind in b"34":
        for number in ((0, 0), (1, 3), (0o7777777, 0)):
            name = "device-%c-%d-%d" % (kind, *number)
            stands = DEVICE if can_mknod and (kind == 52 or number != (0, 0)) else None
            # Numbers that the kernel does not have are its own to judge.
            if number[0] < 4096:
                yield layer(name, blocks(node(b"x", bytes([kind]), device=number), file(b"f", b"1")), 0,
                            tree={"f": b"1", **({"x": stands} if stands else {})})
    yield layer("device-linked", blocks(node(b"x", b"3"), hardlink(b"h", b"x"), hardlink(b"i", b"h")), 0, tree={})
    yield layer("device-below", blocks(node(b"x", b"3"), file(b"x/f", b"1")), 0, tree={"x": DIR, "x/f": b"1"})
    yield layer("device-over-file", blocks(file(b"x"), node(b"x", b"3")), 0, tree={})
    yield layer("device-without-numbers", blocks(node(b"x", b"3", magic=bytes(8), device=(1, 3))))


def modes():
    """X10, X12: modes, owners and times of every kind."""
    yield layer("modes", blocks(file(b"u", mode=0o4755), file(b"g", mode=0o2755), directory(b"d", mode=0o1777), file(b"n", mode=0)), 0,
                modes={"u": 0o4755, "g": 0o2755, "d": 0o1777, "n": 0})
    yield layer("mode-huge", blocks(file(b"f", mode=0o7777777)), 0, modes={"f": 0o7777})
    for number, time in enumerate((-1, -(1 << 40), 1 << 33, (1 << 33) + 1, 1 << 40, (1 << 62), -(1 << 62))):
        yield layer("time-%d" % number, blocks(file(b"f", b"1", mtime=time), directory(b"d", mtime=time)), 0, tree={"f": b"1", "d": DIR})
    for number, text in enumerate((b"9223372036854775807", b"-9223372036854775807.999999999", b"1.9999999999999999", b"0." + b"9" * 4000)):
        yield layer("time-pax-%d" % number, blocks(pax([(b"mtime", text)]), file(b"f", b"1")), 0, tree={"f": b"1"})
    # Nobody has this id: it means "as it is" to chown(2).
    yield layer("owner-largest", blocks(pax([(b"uid", b"4294967295")]), file(b"f")), 1, kinds={"single": 0})
    yield layer("owner-too-large", blocks(pax([(b"uid", b"4294967296")]), file(b"f")))
    yield layer("owner-negative", blocks(file(b"f", uid=-1)))
    yield layer("group-negative", blocks(file(b"f", gid=-5)))


def cases(options):
    yield from matrix(options.can_mknod)
    for family in (whiteouts, xattrs, modes):
        yield from family()
    yield from devices(options.can_mknod)
