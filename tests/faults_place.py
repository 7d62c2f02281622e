"""faults_place.py: a store of one process's own, what is put into it, and what can be seen of it."""

import argparse
import hashlib
import json
import os
import re
import stat
import subprocess
import time

import faults_image
import tree

DEADLINE = 60  # Seconds for one program.
OLD = 2 * 24 * 3600  # Older than anything that gc keeps for a while.
OPTIONS = argparse.Namespace(
    no_special=False, no_times=False, no_dir_times=False, no_nlink=False, squash=False, uid_map=[], skip_xattr=[])


class Place:
    """A store of one process's own, and the runs in it."""

    def __init__(self, bench, number):
        self.dir = os.path.join(bench.dir, str(number))
        self.store, self.run_dir = os.path.join(self.dir, "store"), os.path.join(self.dir, "run")
        os.makedirs(self.dir)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.dir, "CRATE_ROOT": self.store, "CRATE_RUN": self.run_dir}

    def run(self, *words, prefix=()):
        """The exit code, standard output and standard error of a program."""
        with open(self.dir + "/out", "w+b") as out, open(self.dir + "/err", "w+b") as err:
            code = subprocess.run([*prefix, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.dir,
                                  env=self.environment, timeout=DEADLINE, check=False).returncode
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def must(self, *words):
        code, _, err = self.run(*words)
        if code != 0:
            raise SystemExit("%s: exit code %d: %s" % (" ".join(words), code, err))

    def clear(self):
        subprocess.run(["rm", "-rf", self.store, self.run_dir], check=True)

    def prepare(self, steps):
        self.clear()
        for step in steps:
            if step == ("fill",):
                self.fill()
            elif step == ("litter",):
                self.litter()
            else:
                self.must(*step)

    def containers(self):
        place = self.store + "/containers"
        names = os.listdir(place) if os.path.isdir(place) else []
        return [name for name in names if not os.path.islink(os.path.join(place, name))]

    def fill(self):
        """What a container leaves when it has run."""
        for container in self.containers():
            upper = os.path.join(self.store, "containers", container, "upper")
            os.makedirs(upper + "/a/b")
            os.makedirs(upper + "/closed", mode=0)
            for name in ("/file", "/a/b/file"):
                with open(upper + name, "w") as file:
                    file.write("written\n" * 100)

    def litter(self):
        """What nothing leads to: an image without a name, names of no container, and unfinished things of an age."""
        with open(self.store + "/index.json", "w") as file:
            file.write('{"schemaVersion":2,"manifests":[]}')
        os.symlink("f" * 64, self.store + "/containers/nobody")
        os.makedirs(self.store + "/ingest/layer.0123456789abcdef/etc")
        os.makedirs(self.run_dir + "/" + "e" * 64, exist_ok=True)
        for name in ("sha256-" + "a" * 64, "file.0123456789abcdef", "layer-" + "b" * 64 + ".lock"):
            with open(self.store + "/ingest/" + name, "w") as file:
                file.write("x")
        self.age()

    def age(self):
        """Makes everything that gc keeps while it is young old."""
        then = time.time() - OLD
        for folder in ("ingest", "blobs/sha256"):
            for name in os.listdir(os.path.join(self.store, folder)):
                os.utime(os.path.join(self.store, folder, name), (then, then), follow_symlinks=False)

    def copy_from(self, saved):
        self.clear()
        subprocess.run(["cp", "-a", saved + "/.", self.dir], check=True)

    def state(self):
        """Everything visible: references, blobs with their content's digest, layers, and containers by their names."""
        state = {"names": [], "blobs": {}, "layers": {}, "containers": {}, "dangling": []}
        if not os.path.exists(self.store + "/oci-layout"):
            return state
        with open(self.store + "/index.json") as file:
            for entry in json.load(file)["manifests"]:
                state["names"].append((entry["annotations"][faults_image.REF_NAME], entry["digest"]))
        for name in os.listdir(self.store + "/blobs/sha256"):
            with open(self.store + "/blobs/sha256/" + name, "rb") as file:
                state["blobs"][name] = hashlib.sha256(file.read()).hexdigest()
        for name in os.listdir(self.store + "/layers"):
            state["layers"][name] = self.tree(os.path.join(self.store, "layers", name))
        names = {id: id for id in self.containers()}
        for name in os.listdir(self.store + "/containers"):
            path = os.path.join(self.store, "containers", name)
            if os.path.islink(path) and os.readlink(path) in names:
                names[os.readlink(path)] = name
            elif os.path.islink(path):
                state["dangling"].append(name)
        for container, name in names.items():
            files = os.listdir(os.path.join(self.store, "containers", container))
            state["containers"][name] = sorted(set(files) - {"lock"})
        return state

    def unfinished(self):
        place = self.store + "/ingest"
        return os.listdir(place) if os.path.isdir(place) else []

    def tree(self, top):
        lines = []
        for folder, folders, files in os.walk(top):
            for name in [*folders, *files, "."]:
                path = os.path.normpath(os.path.join(folder, name))
                text = tree.line(os.fsencode(path), os.fsencode(os.path.relpath(path, top)), OPTIONS)
                # What the archive gives no time, a whiteout say, has that of its making.
                lines.append(re.sub(r" 1[1-9]\d{8}\.\d{9} ", " - ", text))
        return sorted(set(lines))

    def fingerprint(self):
        """All that is on the disk, but for times and names made up at random: what two of one are left as is the same."""
        ids = [os.fsencode(id) for id in self.containers()]
        digest = hashlib.sha256()
        for top in (self.store, self.run_dir):
            for folder, folders, files in os.walk(os.fsencode(top)):
                folders.sort()
                for name in sorted([*folders, *files, b"."]):
                    path = os.path.join(folder, name)
                    found, what = os.lstat(path), b""
                    if stat.S_ISREG(found.st_mode):
                        with open(path, "rb") as file:
                            what = file.read()
                    elif stat.S_ISLNK(found.st_mode):
                        what = os.readlink(path)
                    marks = [os.listxattr(path, follow_symlinks=False), found.st_mode, found.st_nlink, time.time() - found.st_mtime > OLD / 2]
                    for id in ids:
                        what, path = (part.replace(id, b"ID").replace(id[:12], b"ID") for part in (what, path))
                    path = re.sub(rb"\.[0-9a-f]{16}(?=/|$)", b".random", path)
                    digest.update(b"%s\0%s\0%d\0%s\0" % (path, repr(marks).encode(), len(what), what))
        return digest.hexdigest()
