"""bpf.py FILE ERRNO NAME...: write a seccomp filter, in classic BPF, by which these system calls end with ERRNO."""

import os
import struct
import sys

COLUMN = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
# What an architecture lacks has the number -1: no program makes that call.
CALLS = {
    "add_key": (248, 217),
    "capset": (126, 91),
    "close_range": (436, 436),
    "dup2": (33, -1),
    "fchmod": (91, 52),
    "fchown": (93, 55),
    "ioctl": (16, 29),
    "keyctl": (250, 219),
    "poll": (7, -1),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "request_key": (249, 218),
    "seccomp": (317, 277),
    "sendmsg": (46, 211),
    "sethostname": (170, 161),
    "setgroups": (116, 159),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setsid": (112, 157),
    "umask": (95, 166),
    "wait4": (61, 260),
}

with open(sys.argv[1], "wb") as file:
    step = lambda *fields: file.write(struct.pack("HBBI", *fields))
    step(0x20, 0, 0, 0)  # the number of the call
    for name in sys.argv[3:]:
        step(0x15, 0, 1, CALLS[name][COLUMN] & 0xFFFFFFFF)
        step(0x06, 0, 0, 0x50000 | int(sys.argv[2]))  # SECCOMP_RET_ERRNO
    step(0x06, 0, 0, 0x7FFF0000)  # SECCOMP_RET_ALLOW
