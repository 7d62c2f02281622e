"""Names and links that lead elsewhere (rows X1 to X4 and X12 of the faults to survive)."""
from case import (DIR, FIFO, blocks, directory, file, hardlink, layer, link, long, node, pax, symlink)

SAFE = file(b"before", b"kept")


def upward(canary):
    """X1: names that lead upwards, at every depth from the layer's root to the canary and the host's root."""
    inner = canary.lstrip("/").encode()
    for depth in range(1, 13):
        yield layer("up-%d" % depth, blocks(SAFE, file(b"../" * depth + b"canary/file", b"changed")))
    for number, name in enumerate((b"..", b"./..", b"a/..", b"/..", b"/../../x", b"a/../x", b"a/../../x", b"a/b/../../../x",
                                   b"..//x", b"x/..", b".././x", b"a/./../..", b"../", b"a/../", b"\x1b[2J/../x", b"\n/..")):
        yield layer("up-form-%d" % number, blocks(file(name, b"changed")))
        yield layer("up-dir-%d" % number, blocks(directory(name)))
        yield layer("up-link-%d" % number, blocks(SAFE, hardlink(b"new", name)))
    absolute = b"/" + inner + b"/file"
    if len(absolute) < 100:
        parts = inner.decode().split("/")
        tree = {"/".join(parts[:depth]): DIR for depth in range(1, len(parts) + 1)}
        yield layer("absolute", blocks(file(absolute, b"changed")), 0, tree={**tree, inner.decode() + "/file": b"changed"})
        yield layer("absolute-link", blocks(hardlink(b"new", absolute)))
        yield layer("absolute-through", blocks(symlink(b"out", b"/" + inner), file(b"out/file", b"changed")), 0,
                    tree={**tree, "out": link("/" + inner.decode()), inner.decode() + "/file": b"changed"})


def names():
    """X1, X12: every other form of a name."""
    deep = b"/".join([b"d"] * 256)
    full = b"/".join([b"n" * 255] * 15) + b"/" + b"n" * 256
    yield layer("name-empty", blocks(file(b"", b"x")))
    yield layer("name-nul", blocks(pax([(b"path", b"a\0b")]), file(b"x")))
    yield layer("name-nul-first", blocks(pax([(b"path", b"\0")]), file(b"x")))
    yield layer("name-256", blocks(long(b"n" * 256), file(b"x")))
    yield layer("name-256-dir", blocks(long(b"a/" + b"n" * 256), directory(b"x")))
    yield layer("name-255", blocks(long(b"n" * 255), file(b"x", b"1")), 0, tree={"n" * 255: b"1"})
    yield layer("path-4097", blocks(long(full + b"/"), file(b"x")))
    yield layer("path-65536", blocks(long(b"a/" * 32768), directory(b"x")))
    yield layer("path-1-mib", blocks(long(b"n" * 1000000), file(b"x")))
    yield layer("deep-256", blocks(long(deep), directory(b"x")), 0)
    yield layer("deep-257", blocks(long(deep + b"/d"), directory(b"x")))
    yield layer("deep-10000", lambda: blocks(*[long(b"/".join([b"d"] * depth)) + directory(b"x") for depth in range(1, 600)]))
    yield layer("long-4000", blocks(long(b"/".join([b"n" * 250] * 15)), directory(b"x")), 0)
    yield layer("non-utf-8", blocks(file(b"\xff\xfe\x80", b"1")), 0, tree={"\udcff\udcfe\udc80": b"1"})
    yield layer("control", blocks(file(b"\x1b[2J\n\t\x7f", b"1")), 0, tree={"\x1b[2J\n\t\x7f": b"1"})
    yield layer("control-refused", blocks(file(b"\x1b[2J\n\t", b"1"), file(b"\x1b[2J\n\t/x")))
    yield layer("twins", blocks(file(b"Name", b"1"), file(b"name", b"2"), file(b"NAME", b"3")), 0,
                tree={"Name": b"1", "name": b"2", "NAME": b"3"})
    yield layer("dash", blocks(file(b"-rf", b"1"), file(b"--", b"2")), 0, tree={"-rf": b"1", "--": b"2"})
    yield layer("dots", blocks(file(b"...", b"1"), file(b"..a", b"2"), file(b"a..", b"3")), 0,
                tree={"...": b"1", "..a": b"2", "a..": b"3"})
    for number, name in enumerate((b"./a", b"/a", b"//a", b".//a", b"/./a", b"././a")):
        yield layer("plain-form-%d" % number, blocks(file(name, b"1")), 0, tree={"a": b"1"})
    yield layer("many", lambda: blocks(*[header_of(number) for number in range(15000)]), 0)


def header_of(number):
    return file(b"many/%05d" % number)


def root():
    """X3: the root may only be a directory."""
    for number, name in enumerate((b".", b"./", b"/", b"//", b"/.", b"././")):
        yield layer("root-symlink-%d" % number, blocks(symlink(name, b"/tmp")))
        yield layer("root-symlink-then-%d" % number, blocks(symlink(name, b"../canary"), file(b"file", b"changed")))
        yield layer("root-file-%d" % number, blocks(file(name, b"x")))
        yield layer("root-hardlink-%d" % number, blocks(SAFE, hardlink(name, b"before")))
        yield layer("root-of-hardlink-%d" % number, blocks(hardlink(b"new", name)))
        yield layer("root-fifo-%d" % number, blocks(node(name, b"6")))
        yield layer("root-device-%d" % number, blocks(node(name, b"3", device=(1, 3))))
        yield layer("root-dir-%d" % number, blocks(directory(name, mode=0o750), file(b"x", b"1")), 0, tree={"x": b"1"})


def symlinks():
    """X2: symbolic links on the way, and in the place of what was there."""
    follow = {
        "out-root": (b"/", "out/file", {"file": b"1"}),
        "out-up": (b"../../../../../..", "out/canary/file", {"canary": DIR, "canary/file": b"1"}),
        "out-canary": (b"../canary", "out/file", {"canary": DIR, "canary/file": b"1"}),
        "out-missing": (b"no/such/place", "out/file", {"no": DIR, "no/such": DIR, "no/such/place": DIR, "no/such/place/file": b"1"}),
        "out-slashes": (b"//a//b/", "out/file", {"a": DIR, "a/b": DIR, "a/b/file": b"1"}),
        "out-dot": (b".", "out/file", {"file": b"1"}),
        "out-proc": (b"/proc/self/root", "out/file", {"proc": DIR, "proc/self": DIR, "proc/self/root": DIR, "proc/self/root/file": b"1"}),
    }
    for name, (target, path, tree) in follow.items():
        entries = symlink(b"out", target), file(path.encode(), b"1")
        yield layer("through-" + name, blocks(*entries), 0, tree={"out": link(target.decode()), **tree})
        swapped = directory(b"out"), file(b"out/old", b"old"), *entries
        yield layer("swapped-" + name, blocks(*swapped), 0, tree={"out": link(target.decode()), **tree})
    yield layer("loop-self", blocks(symlink(b"a", b"a"), file(b"a/x")))
    yield layer("loop-two", blocks(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")))
    yield layer("loop-deep", blocks(symlink(b"a", b"a/a/a/a"), file(b"a/x")))
    yield layer("loop-growing", blocks(symlink(b"a", b"b/a"), symlink(b"b", b"."), file(b"a/x")))
    chain = [symlink(b"l%d" % number, b"l%d" % (number + 1)) for number in range(60)]
    yield layer("chain-60", blocks(*chain, directory(b"l60"), file(b"l0/x")))
    yield layer("chain-20", blocks(*chain[:20], directory(b"l20"), file(b"l0/x", b"1")), 0)
    doubling = [symlink(b"e%d" % number, b"/e%d/../e%d" % (number + 1, number + 1)) for number in range(30)]
    yield layer("link-doubling", blocks(*doubling, file(b"e0/x")))
    yield layer("through-file", blocks(file(b"f"), symlink(b"s", b"f"), file(b"s/x")))
    yield layer("through-fifo", blocks(node(b"f", b"6"), file(b"f/x")))
    yield layer("below-file", blocks(file(b"f"), file(b"f/x")))
    yield layer("below-hardlink", blocks(file(b"f"), hardlink(b"h", b"f"), file(b"h/x")))
    yield layer("target-4095", blocks(long(None, b"t" * 4095), symlink(b"s", b"t")), 0, tree={"s": link("t" * 4095)})
    yield layer("target-4096", blocks(long(None, b"t" * 4096), symlink(b"s", b"t")))
    yield layer("target-1-mib", blocks(long(None, b"t" * 1000000), symlink(b"s", b"t")))
    yield layer("target-nul", blocks(pax([(b"linkpath", b"a\0b")]), symlink(b"s", b"t")))
    yield layer("target-empty", blocks(symlink(b"s", b"")))
    yield layer("target-control", blocks(symlink(b"s", b"\x1b[2J")), 0, tree={"s": link("\x1b[2J")})


def hardlinks():
    """X4: hard links lead to files of the same layer."""
    for name, entries in {
        "missing": [hardlink(b"h", b"nowhere")],
        "missing-dir": [hardlink(b"h", b"no/where")],
        "itself": [hardlink(b"h", b"h")],
        "itself-there": [file(b"h", b"1"), hardlink(b"h", b"h")],
        "later": [hardlink(b"h", b"f"), file(b"f")],
        "dir": [directory(b"d"), hardlink(b"h", b"d")],
        "whiteout": [file(b".wh.f"), hardlink(b"h", b"f")],
        "whiteout-name": [file(b".wh.f"), hardlink(b"h", b".wh.f")],
        "replaced": [file(b"d/f", b"1"), hardlink(b"d", b"d/f")],
        "empty": [hardlink(b"h", b"")],
        "through-symlink-out": [symlink(b"s", b"../canary"), hardlink(b"h", b"s/file")],
        "through-absolute": [symlink(b"s", b"/"), hardlink(b"h", b"s/etc/passwd")],
        "passwd": [hardlink(b"h", b"/etc/passwd")],
        "proc": [hardlink(b"h", b"/proc/self/exe")],
        "below-file": [file(b"f"), hardlink(b"h", b"f/x")],
        "long": [file(b"f"), long(None, b"n" * 256), hardlink(b"h", b"x")],
    }.items():
        yield layer("hardlink-" + name, blocks(*entries))
    yield layer("hardlink-symlink", blocks(symlink(b"s", b"../canary/file"), hardlink(b"h", b"s")), 0,
                tree={"s": link("../canary/file"), "h": link("../canary/file")})
    yield layer("hardlink-symlink-then", blocks(symlink(b"s", b"../canary"), hardlink(b"h", b"s"), file(b"h/file", b"1")), 0,
                tree={"s": link("../canary"), "h": link("../canary"), "canary": DIR, "canary/file": b"1"})
    yield layer("hardlink-rewritten", blocks(file(b"f", b"1"), hardlink(b"h", b"f"), file(b"f", b"2")), 0, tree={"f": b"2", "h": b"1"})
    yield layer("hardlink-fifo", blocks(node(b"f", b"6"), hardlink(b"h", b"f")), 0, tree={"f": FIFO, "h": FIFO})
    yield layer("hardlink-through", blocks(directory(b"d"), file(b"d/f", b"1"), symlink(b"s", b"d"), hardlink(b"h", b"s/f")), 0,
                tree={"d": DIR, "d/f": b"1", "s": link("d"), "h": b"1"})


def cases(options):
    yield from upward(options.canary)
    for family in (names, root, symlinks, hardlinks):
        yield from family()
