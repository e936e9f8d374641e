"""Somebody's server that says where it runs: its directory, the file `version` in it, and
its environment."""
import http.server
import json
import os
import threading

VERSION = open("version").read().strip() if os.path.exists("version") else None
HERE = os.getcwd()
if VERSION == "broken":
    raise SystemExit("a broken release")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/exit":
            threading.Timer(0.05, os._exit, [1]).start()
        seen = {"version": VERSION, "cwd": HERE, "pid": os.getpid(), "env": dict(os.environ)}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


address = (os.environ["HOST"], int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
