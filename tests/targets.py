#!/usr/bin/env python3
"""targets.py images LAYER.tar CANARY DIR: write an OCI image layout at DIR with an image for each case, named as it is.
targets.py plant DIR CANARY: make what each case has below a directory of DIR, named as the case is.
targets.py cases: print each case and the exit code of a container that has it, with a directory of the host mounted on
/target and a file on /target.file.

A case is PLACE+KIND: at a place where crate mounts something, or a user asks for it, the image has a link that leads
to the directory CANARY of the host, a link that leads nowhere, or what is no directory or no file.
"""
import hashlib
import io
import json
import os
import platform
import stat
import sys
import tarfile

FRESH = ("dev", "proc", "sys")  # must be directories: the kernel's own file systems and devices lie there
DIRECTORIES = ("run", "etc", "target")  # may be links to somewhere in the root
FILES = ("etc/hosts", "target.file")
HIDDEN = ("dev/pts", "dev/shm", "dev/console", "dev/ptmx", "dev/null", "tmp")  # covered, or nothing is mounted there
LINKS = ("absolute", "relative", "chain")
KINDS = (*LINKS, "loop", "fifo", "socket", "file", "directory")


def cases():
    for place in (*FRESH, *DIRECTORIES, *FILES, *HIDDEN):
        for kind in KINDS:
            yield place, kind


def code(place, kind):
    if place in FRESH:
        works = kind == "directory"
    elif place in DIRECTORIES:
        works = kind in (*LINKS, "directory")
    elif place in FILES:
        works = kind not in ("loop", "directory")
    else:
        works = True
    return 0 if works else 125


def entries(place, kind, canary):
    """Names below the root, what each is, and where a link leads."""
    up = "../" * 30 + canary.lstrip("/")
    for depth in range(place.count("/")):
        yield "/".join(place.split("/")[:depth + 1]), "directory", None
    if kind == "absolute":
        yield place, "link", canary
    elif kind == "relative":
        yield place, "link", up
    elif kind == "chain":
        yield place, "link", os.path.basename(place) + ".next"
        yield place + ".next", "link", "/" + place + ".last"
        yield place + ".last", "link", up
    elif kind == "loop":
        yield place, "link", os.path.basename(place)
    else:
        yield place, kind, None


def plant(directory, canary):
    for place, kind in cases():
        os.makedirs(os.path.join(directory, name_of(place, kind)))
        plant_one(directory, canary, place, kind)


def plant_one(directory, canary, place, kind):
    for name, what, target in entries(place, kind, canary):
        path = os.path.join(directory, name_of(place, kind), name)
        if what == "link":
            os.symlink(target, path)
        elif what == "directory":
            os.makedirs(path, exist_ok=True)
        else:
            kind = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "file": stat.S_IFREG}[what]
            os.mknod(path, kind | 0o644)


def layer(case, canary):
    kinds = {"link": tarfile.SYMTYPE, "directory": tarfile.DIRTYPE, "fifo": tarfile.FIFOTYPE, "file": tarfile.REGTYPE}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, what, target in entries(*case, canary):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kinds[what], target or "", 0o755
            archive.addfile(member)
    return data.getvalue()


class Layout:
    """An OCI image layout in the making."""

    def __init__(self, directory):
        self.directory, self.manifests = directory, []
        os.makedirs(directory + "/blobs/sha256")

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(text)

    def blob(self, data, kind):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.write("blobs/sha256/" + digest, data)
        kind = "application/vnd.oci.image." + kind
        return {"mediaType": kind, "digest": "sha256:" + digest, "size": len(data)}

    def image(self, name, layers, execution):
        kind = "layer.v1.tar"
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        layers = [self.blob(one, kind) for one in layers]
        diffs = {"type": "layers", "diff_ids": [one["digest"] for one in layers]}
        config = {"architecture": machine, "os": "linux", "config": execution, "rootfs": diffs}
        manifest = {"schemaVersion": 2, "config": self.blob(config, "config.v1+json"), "layers": layers}
        entry = self.blob(manifest, "manifest.v1+json")
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.manifests.append(entry)

    def close(self):
        self.write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        self.write("index.json", json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode())


def name_of(place, kind):
    return place.replace("/", "_") + "-" + kind


def images(base, canary, directory):
    with open(base, "rb") as file:
        base = file.read()
    layout = Layout(directory)
    for place, kind in cases():
        if kind != "socket":  # which a layer cannot have
            layout.image(name_of(place, kind), [base, layer((place, kind), canary)], {"Env": ["PATH=/bin"]})
    layout.close()


def main():
    verb, *rest = sys.argv[1:]
    if verb == "cases":
        for place, kind in cases():
            print("%s+%s %s %d" % (place, kind, name_of(place, kind), code(place, kind)))
    else:
        {"images": images, "plant": plant}[verb](*rest)


if __name__ == "__main__":
    sys.exit(main())
