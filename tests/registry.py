#!/usr/bin/env python3
"""A registry on loopback that serves an OCI image layout, and misbehaves when asked to.

    python3 tests/registry.py LAYOUT [OPTION]...

prints HOST:PORT on standard output once it listens, and serves until it is killed. Every repository name has the
same content: a tag is an entry of LAYOUT's index.json by its org.opencontainers.image.ref.name, a digest is a blob.

  --host ADDRESS     listen on this address of loopback (default 127.0.0.1)
  --port N           listen on this port (default: any free one)
  --tls CERT KEY     speak TLS with this certificate and key (PEM)
  --ask CA           and only with clients whose certificate this one (PEM) vouches for
  --log FILE         append one line of JSON for each request: method, path, status, and the headers received
  --times N          the faults below that name an answer apply to the first N answers of each path (default: all)

Faults of blobs that are layers; with --of config, manifest or index, the first three of those:
  --flip             one bit is flipped in the middle
  --short            the last byte is missing, and Content-Length agrees
  --long             one byte more, and Content-Length agrees
  --cut N            the connection is closed after N bytes of the body, though more was promised
  --stall N          nothing comes after N bytes of the body
  --cuts FILE        the first answer for each blob that is named in this JSON object is cut after so many bytes
  --slow N           N bytes each second
  --delay SECONDS    nothing comes for so long
  --no-range         Range is ignored: always 200 and the whole blob
  --wrong-range      Range is answered with 206 and another range
  --unsatisfied      Range is answered with 416
  --chunked          chunked encoding instead of Content-Length
Faults of manifests:
  --size N           the first layer's size is N more than it is
  --digest TEXT      the first layer's digest is TEXT
  --type TEXT        this Content-Type
  --body FILE        these bytes instead of any manifest that is asked for by tag
  --bodies DIR       the tag TAG is the bytes of DIR/TAG, with the Content-Type that is in DIR/TAG.type
  --moving           a tag that several entries have is each of them in turn
  --no-head          HEAD is answered with 405
  --no-digest        without Docker-Content-Digest
Faults of all answers:
  --busy SECONDS     429 with `Retry-After: SECONDS` (give --times too)
  --dated            the same as a date
  --remaining TEXT   `ratelimit-remaining: TEXT`
  --flap             500 (give --times too)
  --headers N        N bytes of headers
  --redirect URL     blobs are redirected to URL/v2/..., with the status that the repository is called by, else 307 (with
                     --times 1 only when they are asked for first); URL may be `self`
  --basic USER:PASS  asks for Basic authentication
  --token SECONDS    asks for bearer tokens, which it hands out at /token and which live so long (--basic guards them)
  --realm URL        the realm of the token challenge, instead of its own
"""

import argparse
import base64
import collections
import email.utils
import hashlib
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time

NAME = "org.opencontainers.image.ref.name"


def arguments():
    p = argparse.ArgumentParser(usage=__doc__, add_help=False)
    p.add_argument("layout")
    p.add_argument("--host", default="127.0.0.1")
    for name in ("port", "times", "cut", "stall", "slow", "size", "busy", "headers"):
        p.add_argument("--" + name, type=int)
    for name in ("flip", "short", "long", "no-range", "wrong-range", "unsatisfied", "chunked", "flap", "dated", "moving",
                 "no-head", "no-digest"):
        p.add_argument("--" + name, action="store_true")
    for name in ("ask", "log", "digest", "type", "body", "redirect", "basic", "realm", "cuts", "bodies", "remaining"):
        p.add_argument("--" + name)
    p.add_argument("--token", type=float)
    p.add_argument("--delay", type=float)
    p.add_argument("--of", default="layer")
    p.add_argument("--tls", nargs=2)
    return p.parse_args()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options = None
    seen = collections.Counter()
    tokens = {}
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def send_response(self, status, message=None):
        if self.options.log:
            line = {"method": self.command, "path": self.path, "status": status, "headers": dict(self.headers)}
            with self.lock, open(self.options.log, "a") as log:
                log.write(json.dumps(line) + "\n")
        super().send_response(status, message)
        self.send_header("Connection", "close")
        for number in range((self.options.headers or 0) // 100):
            self.send_header("X-%05d" % number, "x" * 90)

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code, **headers):
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
        self.answer(status, body.encode(), Content_Type="application/json", **headers)

    def basic(self):
        wanted = base64.b64encode((self.options.basic or "").encode()).decode()
        return not self.options.basic or self.headers.get("Authorization") == "Basic " + wanted

    def allowed(self):
        """Is this request authorized? Otherwise the challenge has been sent."""
        o = self.options
        if o.token is not None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if self.tokens.get(token, 0) > time.monotonic():
                return True
            scheme = "https" if o.tls else "http"
            own = "%s://%s:%d/token" % (scheme, o.host, self.server.server_port)
            realm = own if o.realm is None else o.realm
            self.fail(401, "UNAUTHORIZED", WWW_Authenticate='Bearer realm="%s",service="test"' % realm)
            return False
        if not self.basic():
            self.fail(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="test"')
            return False
        return True

    def do_GET(self):
        o = self.options
        self.close_connection = True
        path, _, query = self.path.partition("?")
        if path == "/token":
            if not self.basic():
                return self.fail(401, "UNAUTHORIZED")
            token = os.urandom(16).hex()
            self.tokens[token] = time.monotonic() + (o.token or 0)
            return self.answer(200, json.dumps({"token": token, "expires_in": 60}).encode())
        if path == "/v2/":
            return self.answer(200, b"{}") if self.allowed() else None
        with self.lock:
            self.seen[path] += 1
            self.faulty = o.times is None or self.seen[path] <= o.times
        if self.faulty and o.busy is not None:
            date = email.utils.formatdate(time.time() + o.busy, usegmt=True)
            headers = {"ratelimit_remaining": o.remaining} if o.remaining else {}
            return self.fail(429, "TOOMANYREQUESTS", Retry_After=date if o.dated else str(o.busy), **headers)
        if self.faulty and o.flap:
            return self.fail(500, "UNKNOWN")
        if not self.allowed():
            return None
        kind, name = path.split("/")[-2:]
        if kind == "manifests":
            return self.manifest(name)
        if kind == "blobs" and o.redirect and self.faulty:
            repository = path.split("/")[2]
            there = "" if o.redirect == "self" else o.redirect
            return self.answer(int(repository) if repository.isdigit() else 307, Location=there + self.path)
        if kind == "blobs":
            return self.blob(name)
        return self.fail(404, "UNSUPPORTED")

    do_HEAD = do_GET

    def read(self, digest):
        algorithm, _, digits = digest.partition(":")
        if not digits.isalnum():
            return None
        try:
            with open(os.path.join(self.options.layout, "blobs", algorithm, digits), "rb") as file:
                return file.read()
        except OSError:
            return None

    def index(self):
        with open(os.path.join(self.options.layout, "index.json")) as file:
            return json.load(file)["manifests"]

    def manifest(self, name):
        o = self.options
        if self.command == "HEAD" and o.no_head:
            return self.fail(405, "UNSUPPORTED")
        entries = [e for e in self.index() if name in (e.get("annotations", {}).get(NAME), e["digest"])]
        with self.lock:
            turn = (self.seen[self.path] - 1) % len(entries) if o.moving and entries else 0
        body = self.read(entries[turn]["digest"] if entries else name)
        media_type = o.type
        if ":" not in name and (o.body or o.bodies):
            path = o.body or os.path.join(o.bodies, name)
            with open(path, "rb") as file:
                body = file.read()
            if os.path.exists(path + ".type"):
                with open(path + ".type") as file:
                    media_type = file.read()
        if body is None:
            return self.fail(404, "MANIFEST_UNKNOWN")
        headers = {}
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = {}
        layers = document.get("layers") if isinstance(document, dict) else None
        if layers and (o.size is not None or o.digest is not None):
            layers[0]["size"] += o.size or 0
            layers[0]["digest"] = o.digest or layers[0]["digest"]
            body = json.dumps(document).encode()
        else:
            headers = {} if o.no_digest else {"Docker_Content_Digest": digest}
        own = document.get("mediaType") if isinstance(document, dict) else None
        kind = "index" if isinstance(document, dict) and "manifests" in document else "manifest"
        own = own or "application/vnd.oci.image.%s.v1+json" % kind
        body = self.damaged(body, kind)
        return self.answer(200, body, Content_Type=media_type or own, **headers)

    def damaged(self, body, kind):
        """The body as it is sent: with one of the faults that --of names the place of."""
        o = self.options
        if not self.faulty or o.of != kind:
            return body
        if o.flip:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
        return (body[:-1] if o.short else body) + (b"x" if o.long else b"")

    def blob(self, digest):
        o = self.options
        body = self.read(digest)
        if body is None:
            return self.fail(404, "BLOB_UNKNOWN")
        kind = "config" if body.startswith(b"{") else "layer"
        faulty = self.faulty and kind == "layer"
        body = self.damaged(body, kind)
        cut = o.cut if faulty else None
        if o.cuts and self.seen[self.path] == 1:
            with open(o.cuts) as file:
                cut = json.load(file).get(digest)
        total, first, status = len(body), 0, 200
        wanted = self.headers.get("Range", "").removeprefix("bytes=").split("-")[0]
        if wanted and not (faulty and o.no_range):
            first, status = int(wanted), 206
            if first >= total or faulty and o.unsatisfied:
                return self.fail(416, "RANGE_INVALID")
            if faulty and o.wrong_range:
                first = max(first - 1, 0)
        body = body[first:]
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        if status == 206:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (first, total - 1, total))
        chunked = faulty and o.chunked
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
        self.end_headers()
        if cut is not None:
            body = body[:cut]
        stalled = faulty and o.stall is not None
        if stalled:
            body = body[:o.stall]
        if faulty and o.delay:
            time.sleep(o.delay)
        step = max(o.slow // 20, 1) if faulty and o.slow else 1 << 16
        for at in range(0, len(body), step):
            part = body[at:at + step]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            if faulty and o.slow:
                time.sleep(0.05)
        if stalled:
            self.wfile.flush()
            time.sleep(3600)
        if chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")
        return None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # A client that went away is no news.


def main():
    o = Registry.options = arguments()
    if ":" in o.host:
        Server.address_family = socket.AF_INET6
    server = Server((o.host, o.port or 0), Registry)
    if o.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*o.tls)
        if o.ask:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(o.ask)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("%s:%d" % ("[%s]" % o.host if ":" in o.host else o.host, server.server_port), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
