#!/usr/bin/env python3
"""A host on loopback that answers a manifest's request with bytes of its own, as an entry of BEHAVIOURS says.

    python3 tests/wire.py [--host ADDRESS] [--log FILE]

prints HOST:PORT once it listens, and serves until it is killed. The repository's name is the behaviour: a request for
/v2/NAME/... is answered by BEHAVIOURS[NAME], /v2/ by an honest 200. `python3 tests/wire.py --list` prints the names,
each with the exit codes that crate-fetch may have (a manifest of these bytes is never an image).

    python3 tests/wire.py --proxy [USER:PASSWORD] [--log FILE]

is a proxy: CONNECT to any name leads to the port asked for on 127.0.0.1, as does an absolute URL.
"""

import base64
import socket
import sys
import threading
import time

OK = b"HTTP/1.1 200 OK\r\n"
FORM = b"Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"


def send(*parts):
    return lambda connection: connection.sendall(b"".join(parts))


def endless(head, part, pause=0.0):
    def answer(connection):
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(pause)
    return answer


def silent(head=b""):
    def answer(connection):
        connection.sendall(head)
        time.sleep(60)
    return answer


# Name: exit codes, and what is done with the connection. 5 may pass, 6 is refused.
BEHAVIOURS = {
    "nothing": ("5", send()),
    "silence": ("5", silent()),
    "no-http": ("5", send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
    "no-line-end": ("56", endless(b"HTTP/1.1 200 OK", b"x" * 4096)),
    "zeros": ("56", endless(b"", b"\0" * 4096)),
    "http-2": ("6", send(b"HTTP/2.0 200 OK\r\n\r\n")),
    "no-status": ("6", send(b"HTTP/1.1\r\n\r\n")),
    "status-99": ("6", send(b"HTTP/1.1 99 No\r\n\r\n")),
    "status-1000": ("6", send(b"HTTP/1.1 1000 No\r\n\r\n")),
    "status-text": ("6", send(b"HTTP/1.1 abc OK\r\n\r\n")),
    "cut-head": ("5", send(OK, b"Content-Le")),
    "no-colon": ("6", send(OK, b"Nonsense\r\n\r\n")),
    "space-name": ("6", send(OK, b"Content-Length : 2\r\n\r\n{}")),
    "folded": ("6", send(OK, b"A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}")),
    "bare-cr": ("6", send(OK, b"A: b\rContent-Length: 5\r\n\r\n{}")),
    "nul": ("6", send(OK, b"A: \0\r\nContent-Length: 2\r\n\r\n{}")),
    "large-header": ("6", send(OK, b"A: ", b"x" * 70000, b"\r\n\r\n")),
    "many-headers": ("6", endless(OK, b"A: b\r\n" * 100)),
    # The lengths at which minreq's own limit would bring it to panic.
    "exact-header": ("6", send(OK, b"A: ", b"x" * 8187, b"\r\n", b"B: c\r\n\r\n{}")),
    "dripping-head": ("5", endless(OK, b"A: b\r\n", 0.3)),
    "endless-1xx": ("6", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "dripping-1xx": ("5", endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.3)),
    "switching": ("6", send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")),
    "two-lengths": ("6", send(OK, b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")),
    "length-text": ("6", send(OK, b"Content-Length: two\r\n\r\n{}")),
    "length-negative": ("6", send(OK, b"Content-Length: -1\r\n\r\n{}")),
    "length-huge": ("6", send(OK, b"Content-Length: 99999999999999999999999\r\n\r\n{}")),
    "length-and-chunks": ("6", send(OK, b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")),
    "short-body": ("5", send(OK, FORM, b"Content-Length: 10\r\n\r\n{}")),
    "large-body": ("6", endless(OK + FORM + b"\r\n", b" " * 65536)),
    "dripping-body": ("5", endless(OK + FORM + b"Content-Length: 4000000\r\n\r\n", b" ", 0.3)),
    "stalled-body": ("5", silent(OK + FORM + b"Content-Length: 10\r\n\r\n{")),
    "chunk-text": ("6", send(OK, FORM, b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")),
    "chunk-huge": ("6", send(OK, FORM, b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}")),
    "chunk-cut": ("5", send(OK, FORM, b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}")),
    "chunk-long-line": ("6", endless(OK + FORM + b"Transfer-Encoding: chunked\r\n\r\n2", b";x" * 4096)),
    "endless-trailers": ("6", endless(OK + FORM + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n")),
    "gzip": ("6", send(OK, FORM, b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")),
    "unknown-coding": ("6", send(OK, FORM, b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
    "proxy-login": ("6", send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")),
}


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        if not part:
            return ""
        head += part
    head = head.decode()
    if option("--log"):
        with open(option("--log"), "a") as log:
            log.write(head)
    return head


def registry(connection):
    path = (read_head(connection).split(" ") + [""])[1]
    if path == "/v2/":
        return send(OK, b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")(connection)
    return BEHAVIOURS[path.split("/")[2]][1](connection)


def copy(source, target):
    try:
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def proxy(connection):
    head = read_head(connection)
    method, target = head.split(" ")[:2]
    login = option("--proxy")
    wanted = "Proxy-Authorization: Basic " + base64.b64encode((login or "").encode()).decode()
    if login and ":" in login and wanted not in head.split("\r\n"):
        return connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    authority = target if method == "CONNECT" else target.split("/")[2]
    other = socket.create_connection(("127.0.0.1", int(authority.rpartition(":")[2])))
    if method == "CONNECT":
        connection.sendall(b"HTTP/1.1 200 Here you are\r\nX-Long: " + b"x" * 600 + b"\r\n\r\n")
    else:
        other.sendall(head.replace("http://" + authority, "", 1).encode())
    threading.Thread(target=copy, args=(connection, other), daemon=True).start()
    return copy(other, connection)


def serve(connection, answer):
    with connection:
        try:
            answer(connection)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):
                pass
        except (OSError, IndexError, KeyError):
            pass  # A client that went away is no news.


def main():
    if "--list" in sys.argv:
        for name, (codes, _) in BEHAVIOURS.items():
            print(name, codes)
        return
    host = option("--host") or "127.0.0.1"
    listener = socket.create_server((host, 0), backlog=128)
    print("%s:%d" % (host, listener.getsockname()[1]), flush=True)
    answer = proxy if "--proxy" in sys.argv else registry
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], answer), daemon=True).start()


if __name__ == "__main__":
    main()
