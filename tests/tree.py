#!/usr/bin/env python3
"""tree.py [OPTION]... DIR: print one line for each path below DIR, so that two trees can be compared with diff.

TYPE MODE UID GID NLINK SIZE-OR-DEVICE CONTENT MTIME XATTRS PATH [-> TARGET]

--uid-map IN:OUT:COUNT   show owners as a user namespace with this line in its map would (also for groups; may repeat)
--squash                 show every owner as 0
--no-dir-times           leave the times of directories out
--no-times               leave all times out
--no-nlink               leave the numbers of links out
--no-special             leave devices out
--skip-xattr PREFIX      leave extended attributes with this prefix out (may repeat)
"""
import argparse
import hashlib
import os
import stat
import sys

TYPES = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c",
         stat.S_IFBLK: "b", stat.S_IFSOCK: "s"}


def text(name):
    return "".join(chr(b) if 0x20 < b < 0x7f and b != 0x5c else "\\x%02x" % b for b in name)


def owner(number, options):
    if options.squash:
        return 0
    for line in options.uid_map:
        inside, outside, count = map(int, line.split(":"))
        if outside <= number < outside + count:
            return number - outside + inside
    return number if not options.uid_map else 65534


def xattrs(path, options):
    skipped = ("user.overlay.", "trusted.overlay.", "security.selinux", "user.rootlesscontainers", *options.skip_xattr)
    found = []
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return "-"
    for name in sorted(names):
        if not name.startswith(skipped):
            value = os.getxattr(path, name, follow_symlinks=False)
            found.append(text(name.encode("utf-8", "surrogateescape")) + "=" + value.hex())
    return ",".join(found) or "-"


def content(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def line(path, name, options):
    status = os.lstat(path)
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    if options.no_special and kind in "cb":
        return None
    size = "-"
    if kind == "f":
        size = status.st_size
    elif kind in "cb":
        size = "%d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    times = not (options.no_times or options.no_dir_times and kind == "d")
    fields = [
        kind,
        "%04o" % stat.S_IMODE(status.st_mode) if kind != "l" else "-",
        owner(status.st_uid, options),
        owner(status.st_gid, options),
        status.st_nlink if kind != "d" and not options.no_nlink else "-",
        size,
        content(path) if kind == "f" else "-",
        "%d.%09d" % divmod(status.st_mtime_ns, 10**9) if times else "-",
        xattrs(path, options),
        text(name) or ".",
    ]
    if kind == "l":
        fields += ["->", text(os.readlink(path))]
    return " ".join(map(str, fields))


def walk(top, options):
    pending = [b""]
    while pending:
        name = pending.pop()
        path = os.path.join(top, name) if name else top
        found = line(path, name, options)
        if found:
            print(found)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            inner = sorted(os.listdir(path), reverse=True)
            pending.extend(os.path.join(name, one) if name else one for one in inner)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--uid-map", action="append", default=[])
    parser.add_argument("--skip-xattr", action="append", default=[])
    for flag in ("--squash", "--no-dir-times", "--no-times", "--no-nlink", "--no-special"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    walk(os.fsencode(options.dir), options)


if __name__ == "__main__":
    sys.exit(main())
