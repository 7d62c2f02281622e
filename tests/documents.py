#!/usr/bin/env python3
"""documents.py: what registry.py is to serve, made of numbers alone, the same bytes each time.

    image DIR TAG COUNT SIZE [SEED]   adds to the OCI image layout at DIR an image with COUNT layers of SIZE bytes each, which
                                      are no archives; images of one SEED share their layers
    cuts DIR FILE                     where registry.py --cuts is to cut each layer of the last image: evenly spread
    index DIR TAG OF                  adds an index with the image OF for this machine, and an attestation
    ambiguous DIR OUT                 bodies for registry.py --bodies that no strict reader takes; each is refused (6)
    huge OUT                          bodies that would cost much time or memory to read
    platforms DIR OUT                 indexes for --bodies; prints TAG PLATFORM DIGEST|none: what is to be chosen
"""

import hashlib
import json
import os
import platform
import random
import sys

OCI = "application/vnd.oci.image."
NAME = "org.opencontainers.image.ref.name"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def blob(layout, kind, data):
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(os.path.join(layout, "blobs", "sha256"), exist_ok=True)
    with open(os.path.join(layout, "blobs", "sha256", digest), "wb") as file:
        file.write(data)
    return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}


def put(layout, kind, document):
    return blob(layout, kind, json.dumps(document).encode())


def entries(layout):
    try:
        with open(os.path.join(layout, "index.json")) as file:
            return json.load(file)["manifests"]
    except OSError:
        return []


def name(layout, tag, descriptor):
    kept = entries(layout) + [dict(descriptor, annotations={NAME: tag})]
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": kept}, file)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')


def manifest(layout, layers, **config):
    zero = "sha256:" + "0" * 64
    config = {"architecture": MACHINE, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [zero] * len(layers)}, **config}
    return put(layout, "manifest.v1+json", {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "layers": layers,
                                            "config": put(layout, "config.v1+json", config)})


def image(layout, tag, count, size, seed="0"):
    layers = []
    for number in range(int(count)):
        data = random.Random("%s %d" % (seed, number)).randbytes(int(size))
        layers.append(blob(layout, "layer.v1.tar+gzip", data))
    name(layout, tag, manifest(layout, layers, created=tag))


def cuts(layout, out):
    with open(os.path.join(layout, "blobs", "sha256", entries(layout)[-1]["digest"][7:])) as file:
        layers = json.load(file)["layers"]
    with open(out, "w") as file:
        json.dump({layer["digest"]: layer["size"] * number // len(layers) for number, layer in enumerate(layers)}, file)


def index(layout, tag, of):
    entry = [e for e in entries(layout) if e["annotations"][NAME] == of][0]
    entry = {key: entry[key] for key in ("mediaType", "digest", "size")}
    unknown = dict(manifest(layout, []), platform={"os": "unknown", "architecture": "unknown"})
    entry["platform"] = {"os": "linux", "architecture": MACHINE}
    document = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [unknown, entry]}
    name(layout, tag, put(layout, "index.v1+json", document))


def write(out, tag, body, media_type=None):
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, tag), "wb") as file:
        file.write(body if isinstance(body, bytes) else body.encode())
    if media_type:
        with open(os.path.join(out, tag + ".type"), "w") as file:
            file.write(media_type)


def ambiguous(layout, out):
    """Each is an image's true manifest, or an index that leads to it, with something that can be read in two ways."""
    entry = entries(layout)[0]
    with open(os.path.join(layout, "blobs", "sha256", entry["digest"][7:])) as file:
        text = file.read()
    true = json.loads(text)
    config, layers = json.dumps(true["config"]), json.dumps(true["layers"])
    plain = {key: entry[key] for key in ("mediaType", "digest", "size")}
    one = json.dumps([plain])
    types = [OCI + "index.v1+json", OCI + "manifest.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
             "application/vnd.docker.distribution.manifest.v2+json"]
    whole = '{"schemaVersion":2,"config":%s,"layers":%s%%s}' % (config, layers)
    listing = '{"schemaVersion":2,"manifests":%s%%s}' % one
    bodies = []
    # Fields of both, in each order (CVE-2021-41190), under each type.
    for media_type in types + ["application/json"]:
        bodies += [(whole % (',"manifests":' + one), media_type), (listing % (',"layers":' + layers), media_type),
                   (listing % (',"config":' + config), media_type)]
    # A type of its own, a Content-Type, and fields that do not agree.
    for own in types:
        for announced in types:
            is_list = "index" in own or "list" in own
            if own != announced:
                bodies.append(((listing if is_list else whole) % (',"mediaType":"%s"' % own), announced))
    bodies += [(whole % ',"mediaType":"%s"' % types[0], None), (listing % ',"mediaType":"%s"' % types[1], None),
               (whole % ',"mediaType":"text/html"', None), (whole % "", "text/html"), (listing % "", OCI + "config.v1+json")]
    # The same field twice: readers take the first, or the last.
    for key, value in (("schemaVersion", "2"), ("config", config), ("layers", layers), ("layers", "[]"), ("config", "null")):
        bodies.append((whole % (',"%s":%s' % (key, value)), types[1]))
    bodies += [(listing % (',"manifests":%s' % one), types[0]), (listing % ',"manifests":[]', types[0])]
    # Of a version or form that is another's.
    bodies += [(text.replace('"schemaVersion": 2', '"schemaVersion": ' + other), types[1])
               for other in ("1", "3", '"2"', "2.0", "-2", "null", "[2]", "2e0")]
    bodies += [(whole % ',"fsLayers":[]', None), (text[:-1], None), (text + "{}", None), (text + "x", None),
               ("\ufeff" + text, None), ("[%s]" % text, None), (text.replace("sha256:", "SHA256:"), None),
               (text.replace('"size": ', '"size": -'), None), (text.replace('"size": ', '"size": 0'), None),
               (text.replace('"size": ', '"size": 1e'), None), (text.replace("sha256:", "sha256:../"), None),
               (text.replace('"layers": [', '"layers": [,'), None), (text.replace('"layers": [', '"layers": [null,'), None),
               (text.replace(OCI + "config", "application/vnd.cncf.helm.config"), None),
               (text.encode().replace(b'"schemaVersion"', b'"\xff":1,"schemaVersion"'), None),
               (text.encode("utf-16"), None), (b"\x1f\x8b" + text.encode(), None)]
    for number, (body, media_type) in enumerate(bodies):
        write(out, "body%d" % number, body, media_type)


def huge(out):
    most = 4 << 20
    entry = '{"mediaType":"%slayer.v1.tar","digest":"sha256:%s","size":1}' % (OCI, "0" * 64)
    start = '{"schemaVersion":2,"config":%s,"layers":[' % entry.replace("layer.v1.tar", "config.v1+json")
    write(out, "long", start + " " * (most + 1) + "]}")
    write(out, "string", '{"schemaVersion":2,"' + "x" * (most - 100) + '":1}')
    write(out, "arrays", "[" * most)
    write(out, "objects", '{"a":' * (most // 5))
    write(out, "deep-inside", start + '{"annotations":' * 100_000)
    write(out, "numbers", '{"schemaVersion":2,"x":[' + "1," * (most // 2 - 20) + "1]}")
    write(out, "empty", start + "{}," * (most // 3 - 200) + "{}]}")
    write(out, "digits", '{"schemaVersion":' + "2" * (most - 100) + "}")
    write(out, "escapes", '{"schemaVersion":2,"x":"' + "\\u0041" * (most // 6 - 20) + '"}')
    write(out, "fields", '{"schemaVersion":2' + "".join(',"%x":1' % number for number in range(300_000)) + "}")


def platforms(layout, out):
    made = {}

    def of(text):
        names = dict(zip(("os", "architecture", "variant"), text.split("/")))
        if text not in made:
            made[text] = dict(manifest(layout, [], created=text, **names), platform=names)
        return made[text]

    arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"]
    other = ["unknown/unknown", "windows/amd64", "linux/amd64", "linux/arm64/v8"]
    cases = [(list(order), wanted, best) for order in (arm, arm[::-1], arm[2:] + arm[:2]) for wanted, best in (
        ("linux/arm/v8", arm[3]), ("linux/arm/v7", arm[2]), ("linux/arm/v6", arm[1]), ("linux/arm/v5", arm[0]))]
    cases += [(arm[:2], "linux/arm/v7", arm[1]), (arm[:1], "linux/arm/v7", arm[0]), (arm[3:], "linux/arm/v7", None),
              (["linux/arm"], "linux/arm/v7", "linux/arm"), (["linux/arm"], "linux/arm/v6", None),
              (other, "linux/amd64", other[2]), (other, "linux/arm64", other[3]), (other[::-1], "linux/amd64", other[2]),
              (other, "linux/s390x", None), (other[:1], "linux/amd64", None), (other[:1], "unknown/unknown", None),
              (other, "windows/amd64", other[1]), ([], "linux/amd64", None)]
    for number, (has, wanted, best) in enumerate(cases):
        document = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [of(text) for text in has]}
        write(out, "index%d" % number, json.dumps(document))
        print("index%d" % number, wanted, of(best)["digest"] if best else "none")


if __name__ == "__main__":
    {"image": image, "cuts": cuts, "index": index, "ambiguous": ambiguous, "huge": huge, "platforms": platforms}[
        sys.argv[1]](*sys.argv[2:])
