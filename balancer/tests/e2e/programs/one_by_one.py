"""A server that has a port and a lock of its own for each WORKER_ID, so that two processes of
one worker cannot run side by side.

SECOND_HOST is the address of that port. FAIL_AT names workers that do not start, HANG_AT
workers that never listen, SLOW_START seconds before it listens, STUBBORN that SIGTERM does nothing."""

import fcntl
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WORKER = os.environ["WORKER_ID"]

if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(float(os.environ.get("SLOW_START", "0")))
if WORKER in os.environ.get("FAIL_AT", "").split(","):
    sys.exit("this release does not work here")
if host := os.environ.get("SECOND_HOST"):
    second = socket.socket()
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    second.bind((host, 9000 + int(WORKER)))
    second.listen()
lock = open(f"lock-{WORKER}", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
if WORKER in os.environ.get("HANG_AT", "").split(","):
    time.sleep(3600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A response is one write, for which no client waits twice.
    wbufsize = -1

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        if url.path == "/up":
            self.send_response(101)
            self.send_header("Connection", "upgrade")
            self.send_header("Upgrade", "x")
            self.end_headers()
            self.wfile.write(b"hello")
            self.wfile.flush()
            self.close_connection = True
            while self.rfile.read(1):
                pass
            return
        time.sleep(float(parse_qs(url.query).get("s", ["0"])[0]))
        if not body:
            body = f"{WORKER} {os.getpid()} {os.environ.get('RELEASE', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
