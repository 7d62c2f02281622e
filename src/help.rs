//! What `--help` prints for the verbs of the front's own.

/// The flags that `run` and `create` have in common.
macro_rules! flags {
    () => {
        "
  -e, --env NAME[=VALUE]      set a variable; without a value, the caller's
  --env-file FILE             set variables, one a line; -e comes after it
  -w, --workdir PATH          the directory to start in
  -u, --user USER[:GROUP]     names or numbers of the image
  --entrypoint PROGRAM        in place of the image's entrypoint and command
  --name NAME                 a name for the container
  -h, --hostname NAME         the host name inside
  -v, --volume SRC:DST[:ro]   mount a directory or file of the host
  --mount type=bind|tmpfs,src=…,dst=…[,ro]
  --tmpfs DST[:OPTION,…]      mount an empty file system in memory
  --read-only                 mount the root file system read-only
  --network private|none|host its own network with loopback alone (default), or the host's
  --platform OS/ARCH[/VAR]    choose the platform of the image
  -l, --label NAME=VALUE      annotate the container
  --cidfile FILE              write the id to a new file too
  -i, --interactive           keep standard input open
  --rm                        remove the container when it has ended
  --pull POLICY               ask the registry if the image is missing (default), always,
                              newer (what is here will do where it fails), or never
  -q, --quiet                 no progress while pulling
  --jobs N, --cacert FILE, --insecure, --tls-verify=false
                              for pulling, as in crate pull
"
    };
}

/// `crate run --help`.
pub const RUN: &str = concat!(
    "\
usage: crate run [FLAG…] IMAGE [COMMAND…]

Runs a program in a new container, pulling the image if it is not here. What follows IMAGE
belongs to the command. IMAGE is a reference, the digest of a manifest, or a source as in
crate pull. The exit code is the program's; 128+n: signal n killed it; 125: crate failed
before it ran; 126: it cannot be executed; 127: there is no such program.
",
    flags!(),
    "
  crate run --rm -v \"$PWD\":/src -w /src debian:12 ls -l
  echo hi | crate run --rm -i busybox cat"
);

/// `crate create --help`.
pub const CREATE: &str = concat!(
    "\
usage: crate create [FLAG…] IMAGE [COMMAND…]

Makes a container without starting it, pulling the image if it is not here, and prints its
id. Exit code 125: it failed.
",
    flags!(),
    "
  crate start -a \"$(crate create debian:12 date)\""
);

/// `crate start --help`.
pub const START: &str = "\
usage: crate start [-a] [-i] CONTAINER

Runs a container's program, in the foreground. CONTAINER is an id, the first digits of it,
or a name. Exit codes are those of crate run.

  -a, --attach        pass on its output: always so, as yet
  -i, --interactive   pass on standard input: so if it was created with -i

  crate create --name job debian:12 date && crate start -a job";

/// `crate pull --help`.
pub const PULL: &str = "\
usage: crate pull [FLAG…] IMAGE…

Brings images into the store, one after another, unpacks their layers, and prints the digest
of each one's manifest. IMAGE is a reference (alpine, localhost:5000/x:1, quay.io/a/b@sha256:…) or a
source: oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], or - for an
archive on standard input. Exit code 3: no such image; 5: the registry or network failed;
6: what came does not match its digest, or is malformed.

  --platform OS/ARCH[/VAR]   choose the platform of the image
  --pull POLICY              always (default), newer, missing or never
  --as REFERENCE             keep the image under this reference
  --jobs N                   fetch so many layers at once
  --cacert FILE              trust these certificates too
  --insecure, --tls-verify=false
                             allow plain http, to other machines too
  -q, --quiet                no progress

  crate pull docker-archive:image.tar --as base:1";
