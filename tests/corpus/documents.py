"""Manifests, configs, indexes and archives of images (rows P3, P6 and P7)."""
import gzip
import json

from case import (DIR, END, MACHINE, NAME, OCI, REF_NAME, Case, Image, Layer, archive, as_json, digest, file, hardlink,
                  symlink)

DOCKER = "application/vnd.docker.distribution.manifest."
BODY = file(b"f", b"1") + END


def changed(name, change, code=6, **more):
    """A case whose image is changed before its documents are made."""
    def make():
        image = Image(BODY)
        change(image)
        return image.archive()
    return Case(name, make, code, **{"at": "load", **more})


def field(part, key, value):
    """Sets a field of a part of the image; the part is made first."""
    def change(image):
        image.files() if part == "entry" else None
        getattr(image, part)[key] = value
    return change


def whole(part, text):
    return lambda image: setattr(image, part, text)


def finished(image):
    """The manifest as it would be, to be changed as text."""
    image.files()
    return as_json(image.manifest)


WRONG = {"null": None, "number": 5, "text": "x", "true": True, "list": [], "object": {}, "nested": [[[]]], "negative": -1,
         "fraction": 1.5, "huge": 10 ** 400, "exponent": 1e300}


def types():
    """P7: each field of each document with each wrong type."""
    def put(path, value):
        def change(image):
            image.files()
            manifest = json.loads(as_json(image.manifest))
            at = manifest
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            image.manifest, image.entry, image.index = manifest, {"annotations": {REF_NAME: NAME}}, {"schemaVersion": 2}
        return change

    paths = {"schema": ["schemaVersion"], "media": ["mediaType"], "config": ["config"], "layers": ["layers"], "layer": ["layers", 0],
             "digest": ["layers", 0, "digest"], "size": ["layers", 0, "size"], "config-digest": ["config", "digest"]}
    fine = {("media", "null"), ("media", "text"), ("digest", "text")}
    for name, path in paths.items():
        for wrong, value in WRONG.items():
            if (name, wrong) not in fine and not (name == "layers" and wrong in ("list", "null")):
                yield changed("manifest-%s-%s" % (name, wrong), put(path, value))
    for wrong in ("number", "text", "true", "list", "nested", "fraction", "huge"):
        yield changed("config-rootfs-" + wrong, field("config", "rootfs", WRONG[wrong]))
        yield changed("config-env-" + wrong, field("config", "config", {"Env": WRONG[wrong] if wrong != "list" else [5]}))
        yield changed("config-whole-" + wrong, whole("config", as_json(WRONG[wrong])))
        yield changed("index-manifests-" + wrong, field("index", "manifests", WRONG[wrong] if wrong != "list" else [5]))
        yield changed("index-whole-" + wrong, whole("index", as_json(WRONG[wrong])))


def ambiguous():
    """P3: what is both, neither, or not what its media type says (CVE-2021-41190)."""
    for name, add in {
        "manifests": {"manifests": []},
        "manifests-full": {"manifests": [{"mediaType": OCI + "manifest.v1+json", "digest": digest(b""), "size": 0}]},
        "as-index": {"mediaType": OCI + "index.v1+json"},
        "as-list": {"mediaType": DOCKER + "list.v2+json"},
        "as-schema1": {"mediaType": DOCKER + "v1+json"},
        "as-schema1-signed": {"mediaType": DOCKER + "v1+prettyjws"},
        "as-text": {"mediaType": "text/markdown"},
        "as-config": {"mediaType": OCI + "config.v1+json"},
        "as-nearly": {"mediaType": OCI + "manifest.v1+json "},
        "as-upper": {"mediaType": (OCI + "manifest.v1+json").upper()},
        "fs-layers": {"fsLayers": [], "manifests": []},
        "schema-1": {"schemaVersion": 1},
        "schema-3": {"schemaVersion": 3},
        "schema-text": {"schemaVersion": "2"},
    }.items():
        yield changed("ambiguous-" + name, lambda image, add=add: image.manifest.update(add))
    # What is null is not there.
    yield changed("manifests-null", lambda image: image.manifest.update(manifests=None), 0, at="unpack")
    for name, media in {"index": OCI + "index.v1+json", "list": DOCKER + "list.v2+json", "layer": OCI + "layer.v1.tar", "text": "x",
                        "schema1": DOCKER + "v1+json", "docker": DOCKER + "v2+json"}.items():
        # Docker's own type is one of a manifest too, but not the one that this manifest states.
        yield changed("descriptor-" + name, field("entry", "mediaType", media))
    for name, text in {
        "schema1": b'{"schemaVersion":1,"name":"x","tag":"1","fsLayers":[],"history":[]}',
        "empty": b"", "space": b" ", "null": b"null", "list": b"[]", "text": b'"x"', "object": b"{}", "open": b"{", "html": b"<html>",
        "bom": b"\xef\xbb\xbf{}", "utf-16": '{"schemaVersion":2}'.encode("utf-16"), "nul": b"\0", "comment": b"{}//", "two": b"{}{}",
        "comma": b'{"schemaVersion":2,}', "single-quotes": b"{'schemaVersion':2}", "nan": b'{"schemaVersion":NaN}', "hex": b'{"schemaVersion":0x2}',
        "zero": b'{"schemaVersion":02}', "plus": b'{"schemaVersion":+2}', "control": b'{"schemaVersion":2,"a":"\x01"}',
        "bad-utf-8": b'{"schemaVersion":2,"a":"\xff"}', "surrogate": b'{"schemaVersion":2,"a":"\\ud800"}', "escape": b'{"schemaVersion":2,"a":"\\x"}',
        "config-only": b'{"schemaVersion":2,"config":{}}', "layers-only": b'{"schemaVersion":2,"layers":[]}',
        "deep-list": b'{"schemaVersion":2,"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "deep-open": b"[" * 100000, "deep-object": b'{"a":' * 100000,
        "deep-40": b'{"schemaVersion":2,"a":' + b"[" * 40 + b"]" * 40 + b"}",
    }.items():
        yield changed("manifest-text-" + name, whole("manifest", text))
        if name not in ("schema1", "config-only", "layers-only"):
            yield changed("config-text-" + name, whole("config", text))
        yield changed("index-text-" + name, whole("index", text))


def duplicates():
    """P3, P7: a field that is there twice would mean one thing to one reader and another to the next."""
    for key in ("schemaVersion", "mediaType", "config", "layers"):
        def twice(image, key=key):
            image.manifest = finished(image)
            value = json.dumps(json.loads(image.manifest)[key])
            image.manifest = image.manifest[:-1] + b',"%s":%s}' % (key.encode(), value.encode())
            image.entry, image.index = {"annotations": {REF_NAME: NAME}}, {"schemaVersion": 2}
        yield changed("twice-" + key, twice)
    for key in (b"rootfs", b"os", b"architecture", b"config"):
        def twice_in_config(image, key=key):
            text = as_json(image.config)
            image.config = text[:-1] + b',"%s":%s}' % (key, as_json(image.config[key.decode()]))
        yield changed("twice-config-" + key.decode(), twice_in_config)


def large():
    """P7: sizes and numbers of values."""
    def padding(image, part, count):
        getattr(image, part)["padding"] = "x" * count

    yield changed("manifest-5-mib", lambda image: padding(image, "manifest", 5 << 20))
    yield changed("config-9-mib", lambda image: padding(image, "config", 9 << 20))
    yield changed("index-5-mib", lambda image: padding(image, "index", 5 << 20))
    yield changed("config-100000-env", field("config", "config", {"Env": ["N%d=v" % n for n in range(100000)]}), 0, at="unpack")
    yield changed("manifest-numbers", lambda image: image.manifest.update(padding=[0] * (1 << 20)))
    many = [{"digest": digest(b"%d" % n), "size": n} for n in range(20000)]
    yield changed("manifest-20000-layers", lambda image: image.manifest.update(layers=many))
    yield changed("layers-not-diffids", lambda image: image.manifest.update(layers=image.layers * 2))
    for name, text in {"path": "sha256:../../../canary/file", "short": "sha256:abc", "upper": "sha256:" + "A" * 64, "none": "", "no-colon": "x" * 64,
                       "md5": "md5:" + "0" * 32, "two-colons": "sha256:sha256:" + "0" * 64, "space": "sha256:" + "0" * 63 + " ",
                       "nul": "sha256:" + "0" * 63 + "\0", "slash": "sha256/" + "0" * 64, "long": "sha256:" + "0" * 65,
                       "512-short": "sha512:" + "0" * 64, "dots": "..:" + "0" * 64, "unicode": "sha256:" + "\u0660" * 64}.items():
        # P6: no digest becomes a path before it is one.
        yield changed("digest-" + name, lambda image, text=text: image.layers[0].update(digest=text))
        yield changed("config-digest-form-" + name, field("manifest", "config", {"mediaType": OCI + "config.v1+json", "digest": text, "size": 2}))
        yield changed("index-digest-" + name, field("entry", "digest", text))
    for name, text in {"path": "../../canary", "absolute": "/etc/passwd", "dash": "-rf", "control": "a\x1b[2J", "space": "a b", "long": "a" * 300,
                       "upper": "A/B", "dots": "a/../b", "empty": "", "tag": "a:" + "t" * 129}.items():
        yield changed("reference-" + name, field("entry", "annotations", {REF_NAME: text}), 2)


def indexes():
    """P3: indexes within one another, and without anything for this machine."""
    def nest(depth):
        def change(image):
            image.files()
            entry = {key: image.entry[key] for key in ("mediaType", "digest", "size")}
            for _ in range(depth):
                entry = image.add(as_json({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry]}), "index.v1+json")
            image.index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {REF_NAME: NAME}}]}
        return change

    yield changed("index-nested-2", nest(2), 0, at="unpack", tree={"f": b"1"})
    for depth in (6, 40):
        yield changed("index-nested-%d" % depth, nest(depth))
    for name, platform in {"other": {"os": "plan9", "architecture": MACHINE}, "unknown": {"os": "unknown", "architecture": "unknown"}}.items():
        def for_other(image, platform=platform):
            image.files()
            inner = {**image.entry, "platform": platform, "annotations": {}}
            entry = image.add(as_json({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [inner]}), "index.v1+json")
            image.index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {REF_NAME: NAME}}]}
        yield changed("index-platform-" + name, for_other, 3)
    yield changed("index-empty", whole("index", b'{"schemaVersion":2,"manifests":[]}'), 3)
    yield changed("index-missing-blob", field("entry", "digest", digest(b"nowhere")))
    yield Case("layout-no-index", lambda: {"oci-layout": as_json(Image(BODY).layout)}, 1, "load", source="oci")
    for name, text in {"version-2": b'{"imageLayoutVersion":"2.0.0"}', "text": b"x", "list": b"[]"}.items():
        yield Case("layout-" + name, lambda text=text: {**Image(BODY).files(), "oci-layout": text}, 6, "load", source="oci")


def docker():
    """P6: the files of docker archives, and links among them."""
    config = as_json(Image(BODY).config)
    listed = {"Config": "c.json", "RepoTags": [NAME], "Layers": ["l.tar"]}

    def case(name, entries, code=6, **more):
        at = "unpack" if not code else "load"
        return Case("docker-" + name, lambda: b"".join(entries) + END, code, at, source="docker-archive", **more)

    base = [file(b"c.json", config), file(b"l.tar", BODY)]
    manifest = lambda value=listed, **change: file(b"manifest.json", as_json([{**value, **change}]))
    good = {"tree": {"f": b"1"}}
    yield case("good", [*base, manifest()], 0, **good)
    yield case("good-first", [manifest(), *base], 0, **good)
    yield case("good-dots", [file(b"./c.json", config), file(b"./l.tar", BODY), manifest()], 0, **good)
    yield case("good-link", [base[0], file(b"a/layer.tar", BODY), symlink(b"l.tar", b"a/layer.tar"), manifest()], 0, **good)
    yield case("no-manifest", base)
    yield case("empty", [])
    for name, entries in {
        "link-out": [symlink(b"l.tar", b"../../canary/file")],
        "link-absolute": [symlink(b"l.tar", b"/etc/passwd")],
        "hardlink-out": [hardlink(b"l.tar", b"../canary/file")],
        "link-itself": [symlink(b"l.tar", b"l.tar")],
        "link-cycle": [symlink(b"l.tar", b"m.tar"), symlink(b"m.tar", b"l.tar")],
        "link-chain": [symlink(b"l.tar", b"n0"), *[symlink(b"n%d" % n, b"n%d" % (n + 1)) for n in range(20)], file(b"n20", BODY)],
        "link-missing": [symlink(b"l.tar", b"nowhere")],
        "name-up": [file(b"../l.tar", BODY)],
        "name-up-inner": [file(b"a/../../l.tar", BODY)],
        "device": [file(b"l.tar", BODY), file(b"x", kind=b"3")],
        "fifo": [file(b"l.tar", BODY), file(b"x", kind=b"6")],
        "twice": [file(b"l.tar", BODY), file(b"l.tar", BODY)],
        "twice-dots": [file(b"l.tar", BODY), file(b"./l.tar", b"other")],
        "manifest-twice": [file(b"l.tar", BODY), manifest()],
        "layer-other": [file(b"l.tar", b"x" + BODY[1:])],
        "layer-missing": [],
        "layer-dir": [file(b"l.tar", kind=b"5")],
        "many": [file(b"l.tar", BODY)] + [file(b"n/%d" % number, kind=b"2", link=b"x") for number in range(3)] + [file(b"n/1", b"")] * 2,
    }.items():
        yield case(name, [base[0], *entries, manifest()])
    for name, change in {
        "config-up": {"Config": "../../canary/file"}, "config-absolute": {"Config": "/etc/passwd"}, "config-missing": {"Config": "no.json"},
        "config-none": {"Config": None}, "config-layer": {"Config": "l.tar"}, "layers-up": {"Layers": ["../../canary/file"]},
        "layers-none": {"Layers": None}, "layers-text": {"Layers": "l.tar"}, "layers-two": {"Layers": ["l.tar", "l.tar"]},
        "layers-empty": {"Layers": []}, "tags-text": {"RepoTags": "x"}, "tags-number": {"RepoTags": [5]},
    }.items():
        yield case("lists-" + name, [*base, manifest(**change)])
    for name, tags in {"up": ["../../canary:1"], "upper": ["A:1"], "control": ["a\x1b[2J:1"], "none": [], "null": None}.items():
        yield case("tags-" + name, [*base, manifest(RepoTags=tags)], 2)
    for name, text in {"empty": b"", "object": b"{}", "null": b"null", "number": b"5", "deep": b"[" * 5000, "cut": b'[{"Config":'}.items():
        yield case("text-" + name, [*base, file(b"manifest.json", text)])
    yield case("none-listed", [*base, file(b"manifest.json", b"[]")], 3)
    yield Case("archive-gzip-bad", lambda: gzip.compress(Image(BODY).archive())[:-4], 6, "load")
    yield Case("archive-cut", lambda: Image(BODY).archive()[:2000], 6, "load")
    yield Case("archive-garbage", lambda: Image(BODY).archive() + b"x", 6, "load")
    yield Case("archive-gzip", lambda: gzip.compress(Image(BODY).archive()), 0, tree={"f": b"1"})


def cases(_):
    for family in (types, ambiguous, duplicates, large, indexes, docker):
        yield from family()
