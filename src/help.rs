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
  --cap-add CAP[,…], --cap-drop CAP[,…]
                              change docker's default set of capabilities; ALL for all
  --privileged                all capabilities and system calls, the host's devices
  --security-opt OPTION       no-new-privileges[=false], seccomp=FILE|unconfined,
                              mask=PATH[:…], unmask=ALL|PATH[:…], systempaths=unconfined
  --userns private|ranges|keep-id|host
                              which ids of the host it has
  --root-emulation on|off     where one id is mapped, pretend that owners change (default)
  --ulimit NAME=SOFT[:HARD]   limit a resource of its processes, such as nofile
  --sysctl NAME=VALUE         a kernel setting of its namespaces, such as net.ipv4.ip_forward
  --device HOST[:DST][:rwm]   let it use a device of the host
  --shm-size SIZE             the size of /dev/shm; the default is 64m
  -m, --memory SIZE, --memory-swap SIZE
                              limit memory; and memory and swap together, -1 for any
  --cpus N                    limit processor time to that of N processors, such as 1.5
  -c, --cpu-shares N, --cpu-period MICROSECONDS, --cpu-quota MICROSECONDS
                              weight and limit of processor time, as the kernel has them
  --pids-limit N              limit processes and threads
  --cgroupns private, --ipc private, --pid private, --uts private
                              so it is in any case, and nothing else is to be had
  --platform OS/ARCH[/VAR]    choose the platform of the image
  -l, --label NAME=VALUE      annotate the container
  --cidfile FILE              write the id to a new file too
  -i, --interactive           keep standard input open
  -t, --tty                   give the program a terminal
  --rm                        remove the container when it has ended
  --init                      a first process that reaps; the program is its child
  --restart POLICY            start it again when it has ended: no (default), on-failure[:N],
                              always
  --stop-signal SIGNAL        ask it to end with this one, in place of the image's or TERM
  --stop-timeout SECONDS      kill it so long after that; the default is 10
  --pidfile FILE              write the process id to this file at each start
  --log-driver k8s-file|none  keep what it writes (default), or nothing
  --log-opt max-size=10m, --log-opt max-file=3
                              how much of it is kept at most
  --pull POLICY               ask the registry if the image is missing (default), always,
                              newer (what is here will do where it fails), or never
  -q, --quiet                 no progress while pulling
  --lock FILE                 write what the image's name led to into this lock file
  --locked FILE               take what this lock file says, wherever the name leads by now
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
On a terminal, with none of -i, -t and -d, it is as with -it.
",
    flags!(),
    "  -d, --detach                print the id, and leave it running
  --detach-keys KEYS          leave the terminal by these; ctrl-p,ctrl-q where none are given
  --ready-fd N                write a newline to this descriptor once the program runs
  --events-fd N               write a line of JSON to it for each start and end

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
usage: crate start [-a] [-i] CONTAINER…
       crate start --all

Starts containers, and prints each as it was given. CONTAINER is an id, the first digits of
it, or a name. Exit code 3: no such container; 4: it runs already.

  -a, --attach        stay with one: pass on its output; the exit code is the program's
  -i, --interactive   pass on standard input, if it was created with -i
  -d, --detach        do not stay, as without -a and -i
  --all               all that do not run
  --detach-keys KEYS  leave its terminal by these; ctrl-p,ctrl-q where none are given
  --ready-fd N, --events-fd N
                      as in crate run

  crate create --name job debian:12 date && crate start -a job";

/// `crate stop --help`.
pub const STOP: &str = "\
usage: crate stop [-t SECONDS] CONTAINER…|--all

Asks the programs of containers to end, by their stop signals, and kills those that have not
ended in time; prints each as it was given. All have the same time. What does not run is
stopped already.

  -a, --all            all that run
  -t, --time SECONDS   in place of the containers' own, which is 10 by default; -1: without end

  crate stop -t 2 web db";

/// `crate kill --help`.
pub const KILL: &str = "\
usage: crate kill [-s SIGNAL] CONTAINER…|--all

Sends the programs of containers a signal, and prints each container as it was given.

  -a, --all             all that run
  -s, --signal SIGNAL   by name or number, as signal(7) has them; KILL where none is given
  --wait                until they have ended
  --quiet               say nothing, not even that one does not run

  crate kill -s HUP web";

/// `crate restart --help`.
pub const RESTART: &str = "\
usage: crate restart [-t SECONDS] CONTAINER…|--all

Stops containers as crate stop does, starts them again, and prints each as it was given.

  -a, --all            all containers, also those that do not run
  -t, --time SECONDS   in place of the containers' own, which is 10 by default; -1: without end

  crate restart web";

/// `crate wait --help`.
pub const WAIT: &str = "\
usage: crate wait CONTAINER…

Waits until each has ended, and prints the exit codes, one a line. The code of a program
whose supervisor was killed is lost: 255.

  crate wait job";

/// `crate rm --help`.
pub const RM: &str = "\
usage: crate rm [-f] CONTAINER…|--all

Removes containers that do not run, with all that they have written, and prints each as it was
given. Exit code 3: no such container; 4: it runs.

  -a, --all     all containers
  -f, --force   end them first; one that is not there is no failure

  crate rm -f web 4f5c0d";

/// `crate logs --help`.
pub const LOGS: &str = "\
usage: crate logs [-f] [-t] [-n LINES] [--since TIME] [--until TIME] CONTAINER

Prints what the program of a container has written, each stream to its own.

  -f, --follow       go on until it has ended
  -t, --timestamps   begin each line with its time
  -n, --tail LINES   the last so many
  --since TIME, --until TIME
                     2024-02-29T12:34:56Z, 2024-02-29, seconds since 1970, or how long ago:
                     1h30m

  crate logs -f --tail 100 web";

/// `crate exec --help`.
pub const EXEC: &str = "\
usage: crate exec [FLAG…] CONTAINER COMMAND…

Runs another program in a container that runs. What follows CONTAINER belongs to the command.
Exit codes are those of crate run; 126 also where the container does not run.

  -i, --interactive        pass on standard input
  -t, --tty                give the program a terminal
  -d, --detach             leave it running
  -e, --env NAME[=VALUE]   set a variable; without a value, the caller's
  --env-file FILE          set variables, one a line; -e comes after it
  -w, --workdir PATH       the directory to start in
  -u, --user USER[:GROUP]  names or numbers of the container
  --privileged             with all capabilities; else as confined as the container's own
  --detach-keys KEYS       leave the terminal by these; ctrl-p,ctrl-q where none are given

  crate exec -it web sh";

/// `crate attach --help`.
pub const ATTACH: &str = "\
usage: crate attach [--no-stdin] [--sig-proxy=false] [--detach-keys KEYS] CONTAINER

Goes to a container that runs: shows what its program writes from now on, and gives it what is
typed. The exit code is the program's.

  --no-stdin           give it nothing
  --sig-proxy=false    keep signals to itself
  --detach-keys KEYS   leave it by these; ctrl-p,ctrl-q where none are given

  crate attach web";

/// `crate top --help`.
pub const TOP: &str = "\
usage: crate top CONTAINER

Lists the processes of a container.

  crate top web";

/// `crate export --help`.
pub const EXPORT: &str = "\
usage: crate export [-o FILE] CONTAINER

Writes a container's root file system, as its program sees it but for mounts, to standard
output as a tar archive.

  -o, --output FILE   to this file, which is replaced when all has been written

  crate export web | tar -t";

/// `crate pull --help`.
pub const PULL: &str = "\
usage: crate pull [FLAG…] IMAGE…

Brings images into the store, one after another, unpacks their layers, and prints the digest
of each one's manifest. IMAGE is a reference (alpine, localhost:5000/x:1, quay.io/a/b@sha256:…)
or a source: oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], or - for an
archive on standard input. Exit code 3: no such image; 5: the registry or network failed;
6: what came does not match its digest, or is malformed.

  --platform OS/ARCH[/VAR]   choose the platform of the image
  --pull POLICY              always (default), newer, missing or never
  --as REFERENCE             keep the image under this reference
  --lock FILE                write what the reference led to into this lock file
  --locked FILE              bring what this lock file says, wherever the tag leads by now
  --stamp FILE               write the digest into this file, unless it is there already
  --force                    let a reference come to mean the image of a layout or archive
  --jobs N                   fetch so many layers at once
  --cacert FILE              trust these certificates too
  --insecure, --tls-verify=false
                             allow plain http, to other machines too
  -q, --quiet                no progress

  crate pull docker-archive:image.tar --as base:1";

/// `crate check --help`.
pub const CHECK: &str = "\
usage: crate check [--format table|json]

Tries each thing that the programs want of this system (user namespaces, ranges of ids, overlay,
seccomp, Landlock, control groups, pasta, …) and prints what works, what is degraded, what fails,
and how to mend it. Exit code 1: something fails that containers cannot do without.

  crate check --format json | jq -r '.[] | select(.state != \"works\") | .fix'";

/// `crate login --help`.
pub const LOGIN: &str = "\
usage: crate login [FLAG…] [REGISTRY]

Tries a user name and a password at a registry, and keeps them for it in containers' auth.json,
where podman and skopeo find them too; or in a credential helper, if that file names one.
REGISTRY is HOST[:PORT], perhaps with a namespace behind it, and docker.io where none is given.
What is not given is asked for at the terminal. Exit code 1: they are not accepted; 5: the
registry or network failed.

  -u, --username USER        the user name
  --password-stdin           read the password from standard input
  --get-login                print the user name that is kept, and do no more
  --authfile FILE            keep them in this file; see REGISTRY_AUTH_FILE in crate-fetch(1)
  --cacert FILE              trust these certificates too
  --insecure, --tls-verify=false
                             allow plain http, to other machines too

  pass show registry | crate login -u me --password-stdin registry.example:5000";

/// `crate logout --help`.
pub const LOGOUT: &str = "\
usage: crate logout [--authfile FILE] [REGISTRY]
       crate logout --all [--authfile FILE]

Removes what crate login has kept for a registry, docker.io where none is given. Exit code 3:
there was nothing.

  -a, --all         what is kept for all registries
  --authfile FILE   of this file

  crate logout registry.example:5000";
