"""A server with one thread, as Python's standard library has it: while it is at work on
one request it answers nothing else. Notes in the file $BEGUN each request that it begins."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

if burn := float(os.environ.get("BURN", "0")):
    while time.process_time() < burn:
        pass
ballast = bytearray(os.urandom(1)) * (int(os.environ.get("BALLAST_MIB", "0")) << 20)
for _ in range(int(os.environ.get("FORKS", "0"))):
    if os.fork() == 0:
        time.sleep(3600)
        sys.exit()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/slow":
            with open(os.environ["BEGUN"], "a") as begun:
                begun.write(f"{os.getpid()}\n")
            time.sleep(float(parse_qs(url.query)["s"][0]))
        if url.path == "/spin":
            until = time.process_time() + float(parse_qs(url.query)["s"][0])
            while time.process_time() < until:
                pass
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"{os.getpid()}".encode()
        if url.path == "/large":
            body = bytes(int(parse_qs(url.query)["mb"][0]) << 20)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
