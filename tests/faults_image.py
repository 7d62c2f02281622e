"""faults_image.py: a small image with all kinds of entries, as a layout and as archives of both kinds."""

import gzip
import hashlib
import io
import json
import os
import platform
import random
import tarfile

REF_NAME = "org.opencontainers.image.ref.name"
NAME = "example.org/small:1"
OCI = "application/vnd.oci.image."
ENTRIES = [
    # Of each layer: type, name, mode, content or target.
    [("d", "./", 0o755, ""), ("d", "etc/", 0o755, ""), ("f", "etc/text", 0o644, "text\n" * 50), ("d", "bin/", 0o755, ""),
     ("f", "bin/tool", 0o4755, "tool" * 5000), ("h", "bin/again", 0o755, "bin/tool"), ("l", "sh", 0o777, "bin/tool"),
     ("d", "gone/", 0o755, ""), ("f", "gone/file", 0o600, "x"), ("p", "pipe", 0o600, "")],
    [("d", "etc/", 0o755, ""), ("f", "etc/.wh.text", 0o644, ""), ("d", "gone/", 0o1777, ""),
     ("f", "gone/.wh..wh..opq", 0o644, ""), ("f", "gone/new", 0o640, "new")],
    [("d", "./", 0o755, ""), ("f", "last", 0o444, "")],
]


def layer(entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for kind, name, mode, text in entries:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime, entry.uid, entry.gid = mode, 1_000_000_000, 0, 0
            types = {"d": tarfile.DIRTYPE, "h": tarfile.LNKTYPE, "l": tarfile.SYMTYPE, "p": tarfile.FIFOTYPE}
            entry.type = types.get(kind, tarfile.REGTYPE)
            if kind in "hl":
                entry.linkname = text
            if name == "bin/tool":
                entry.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            content = text if isinstance(text, bytes) else text.encode()
            entry.size = len(content) if kind == "f" else 0
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def archive(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def make(dir, bulk=0):
    """Makes DIR/oci (a layout), DIR/oci.tar and DIR/docker.tar, the same image in each, with BULK bytes that nothing packs."""
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(kind, content):
        files["blobs/sha256/" + digest(content)[7:]] = content
        return {"mediaType": OCI + kind, "digest": digest(content), "size": len(content)}

    more = [("f", "bulk", 0o444, random.Random(1).randbytes(bulk))] if bulk else []
    layers = [layer(entries) for entries in (*ENTRIES[:2], ENTRIES[2] + more)]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = json.dumps({"architecture": machine, "os": "linux", "config": {"Cmd": ["true"]},
                         "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]}}).encode()
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": blob("config.v1+json", config),
                "layers": [blob("layer.v1.tar+gzip", gzip.compress(one, mtime=0)) for one in layers]}
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    index = [{**entry, "annotations": {REF_NAME: name}} for name in (NAME, "1")]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": index[1:]}).encode()
    for name, content in files.items():
        path = os.path.join(dir, "oci", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": index[:1]}).encode()
    archive(os.path.join(dir, "oci.tar"), files)
    names = ["%d/layer.tar" % number for number in range(len(layers))]
    table = json.dumps([{"Config": "config.json", "RepoTags": [NAME], "Layers": names}]).encode()
    archive(os.path.join(dir, "docker.tar"), {"config.json": config, **dict(zip(names, layers)), "manifest.json": table})
