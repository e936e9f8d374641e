"""A server that notes in the file $NOTES, one line each, that it listens ("up"), each SIGTERM,
and its end ("closed"), with its pid. Its kind is the first argument:

alone      one process
prefork    a master that has bound the socket, and two workers that have inherited it
reuseport  a master without the socket, which starts its workers anew, and two with one each
closed     a master that has closed its socket and ignores SIGTERM, and two workers

A second SIGTERM means at once, without "closed". Masters end their workers by a pipe: a
worker that gets SIGTERM from somebody else notes it.
"""

import http.server
import os
import select
import signal
import socket
import sys
import time
from urllib.parse import parse_qs, urlsplit

kind = sys.argv[1]
TERMS = 0


def note(what):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


def term(*_):
    global TERMS
    TERMS += 1
    note("SIGTERM")
    if TERMS > 1:
        os._exit(1)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        time.sleep(float(parse_qs(url.query).get("s", ["0"])[0]))
        body = f"{os.getpid()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def bound(reuse):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((os.environ["HOST"], int(os.environ["PORT"])))
    listener.listen(64)
    listener.setblocking(False)
    return listener


def serve(listener, master=None):
    """Until a SIGTERM, or the end of the master's side of the pipe."""
    signal.signal(signal.SIGTERM, term)
    note("up")
    while not TERMS:
        ready, _, _ = select.select([listener] + ([master] if master else []), [], [], 0.05)
        if master in ready:
            break
        if listener in ready:
            try:
                client, address = listener.accept()
            except BlockingIOError:
                continue
            client.setblocking(True)
            Handler(client, address, None)
            client.close()
    # Long enough for a second signal to be noticed.
    time.sleep(0.2)
    note("closed")
    sys.exit(0)


def fork(listener):
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(listener or bound(True), os.fdopen(read))
    os.close(read)
    return write


if kind == "alone":
    serve(bound(False))
listener = None if kind == "reuseport" else bound(False)
pipes = [fork(listener) for _ in range(2)]
if kind == "closed":
    listener.close()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, term)
note("master")
ended = 0
while ended < 2:
    if TERMS:
        while pipes:
            os.close(pipes.pop())
    pid, _ = os.waitpid(-1, os.WNOHANG)
    if pid and not TERMS and kind == "reuseport":
        note("anew")
        pipes.append(fork(None))
    elif pid:
        ended += 1
    time.sleep(0.01)
note("closed")
