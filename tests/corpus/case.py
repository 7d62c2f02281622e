"""What a case of the corpus is, and the images that carry it."""
import dataclasses
import gzip
import hashlib
import json
import os
import platform
import sys
import typing

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from layers import Layer, gnu_long, header, padded, pax  # noqa: E402

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OCI = "application/vnd.oci.image."
NAME = "localhost/case:1"
REF_NAME = "org.opencontainers.image.ref.name"
END = bytes(1024)

# What stands at a path of an unpacked layer. A file is its content, as bytes.
DIR, OPAQUE, FIFO, WHITEOUT, DEVICE = "directory", "opaque directory", "fifo", "whiteout", "device"


def link(target):
    return "link to " + target


@dataclasses.dataclass
class Case:
    """Archives are made when they are needed: all of them together would be large."""
    name: str
    make: typing.Callable[[], object]  # an archive, or the files of a layout's directory: a map from path to bytes
    code: int = 6
    at: str = "unpack"  # the verb that ends with the code: load or unpack
    tree: dict = None  # all that the last layer holds
    source: str = "oci-archive"
    modes: dict = None
    kinds: dict = None  # another code for one kind of user


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_json(value):
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def archive(files):
    """A tar archive of these files: pairs of name and content, or of name and ready blocks."""
    parts = []
    for name, content in files:
        name = name.encode()
        parts += [pax([(b"path", name)])] if len(name) > 100 else []
        parts += [header(name[:100], b"0", len(content)), padded(content)]
    return b"".join(parts) + END


class Image:
    """An image of which anything can be wrong: change its parts, or what is made of them."""

    def __init__(self, *layers, packed=None):
        layers = layers or (Layer().end(),)
        self.blobs = {}
        self.layers = [self.add(packed or gzip.compress(one, 1, mtime=0), "layer.v1.tar+gzip") for one in layers]
        self.config = {"architecture": MACHINE, "os": "linux", "config": {},
                       "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]}}
        self.manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json"}
        self.entry = {"annotations": {REF_NAME: NAME}}
        self.index = {"schemaVersion": 2}
        self.layout = {"imageLayoutVersion": "1.0.0"}

    def add(self, data, kind):
        self.blobs[digest(data)] = data
        return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}

    def files(self):
        """The files of its layout; what was set already stays as it is."""
        if isinstance(self.manifest, dict):
            self.manifest = {"config": self.add(as_json(self.config), "config.v1+json"), "layers": self.layers, **self.manifest}
        if isinstance(self.index, dict):
            self.entry = {**self.add(as_json(self.manifest), "manifest.v1+json"), **self.entry}
            self.index = {"manifests": [self.entry], **self.index}
        files = {"oci-layout": as_json(self.layout), "index.json": as_json(self.index)}
        for key, data in self.blobs.items():
            files["blobs/" + key.replace(":", "/")] = data
        return files

    def archive(self):
        return archive(self.files().items())


def layer(name, data, code=6, below=None, **more):
    """A case of one layer, given as the blocks of its archive, or a function that makes them; perhaps with one below."""
    blocks = data if callable(data) else lambda: data
    return Case(name, lambda: Image(*([below] if below else []), blocks()).archive(), code, **more)


def blocks(*entries):
    """The archive of these entries and its end."""
    return b"".join(entries) + END


def file(name, content=b"", kind=b"0", **fields):
    return header(name, kind, len(content), **fields) + padded(content)


def directory(name, **fields):
    return header(name, b"5", **{"mode": 0o755, **fields})


def symlink(name, target, **fields):
    return header(name, b"2", link=target, mode=0o777, **fields)


def hardlink(name, target):
    return header(name, b"1", link=target)


def node(name, kind, **fields):
    return header(name, kind, **fields)


def long(name, link=None):
    records = ([(b"path", name)] if name else []) + ([(b"linkpath", link)] if link else [])
    return pax(records)
