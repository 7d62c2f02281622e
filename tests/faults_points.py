"""faults_points.py: where faults can be put into a command, by a run of it under strace(1)."""

import collections
import re

# What changes a file system; of open and openat, those that may make a file.
CHANGES = re.compile(
    r"p?write(v|64|v2)?|f(data)?sync|syncfs|sync_file_range|rename(at2?)?|link(at)?|openat2?|open|creat|mkdir(at)?|symlink(at)?|"
    r"mknod(at)?|f?chmod(at2?)?|[fl]?chown(at)?|utimensat|futimens|[fl]?(set|remove)xattr|f?truncate|fallocate|copy_file_range|"
    r"sendfile|unlink(at)?|rmdir")
CALL = re.compile(r"(\d+) +([a-z0-9_]+)\((.*)")


def traced(log, dir):
    """The system calls of a traced run: thread, name, arguments."""
    with open(log, errors="replace") as file:
        for text in file:
            found = CALL.match(text)
            if found:
                yield found[1], found[2], found[3].replace(dir, "{}")


def points(log, dir):
    """The calls that change a file: (call, number, path).

    strace counts the calls of each thread for itself, and the first to come to the number is taken. So a call that
    another thread has made as often before is told apart by the path it is about.
    """
    counts, found = collections.Counter(), {}
    for thread, name, arguments in traced(log, dir):
        path = re.search(r'["<](\{\}/store[^">]*)', arguments)
        path = path and path[1].removesuffix("(deleted)")
        change = CHANGES.fullmatch(name) and not re.match(r"\d+<(socket|pipe|anon_inode|TCP)", arguments)
        if name in ("open", "openat"):
            change = "O_CREAT" in arguments
        counts[thread, name] += 1
        counts[thread, name, path] += 1
        point = name, counts[thread, name], None
        if point in found and path:
            point = name, counts[thread, name, path], path
        found[point] = found.get(point) or change
    return [point for point, change in found.items() if change]
