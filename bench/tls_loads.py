"""Loads over TLS 1.3 and HTTP/2 for `compare`: HTTPS on kept connections (wrk), full and
resumed handshakes (loadtest, a new connection for each request) and HTTP/2 with 1, 10 and
100 streams on each connection (h2load). One tool for all fronts, one certificate (ECDSA,
P-256) and one cipher suite (TLS_AES_256_GCM_SHA384, which wrk and loadtest prefer)."""

import json
import re
import subprocess

import lab

SUITE = "TLS_AES_256_GCM_SHA384"
STREAMS = {"h2s1": 1, "h2s10": 10, "h2s100": 100}
TITLES = {"https": "HTTPS, 31 B", "full": "full TLS handshakes", "resumed": "resumed TLS handshakes",
          **{kind: f"HTTP/2, {streams} streams, 31 B" for kind, streams in STREAMS.items()}}
CELLS = ["https-1", "https-64", "https-512", "full-64", "resumed-64", *(f"{kind}-64" for kind in STREAMS)]

# nginx and HAProxy as their own documentation has them tuned; tickets are on in all.
NGINX = f"""
  server {{
    listen 127.0.0.1:@TLS@ ssl@HTTP2@ reuseport backlog=4096;
    ssl_certificate tls.pem; ssl_certificate_key tls.key; ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites {SUITE}; ssl_session_cache shared:TLS:10m; ssl_session_tickets on;
    @HTTP2_ON@
"""
HAPROXY = f"  bind 127.0.0.1:@TLS@ backlog 4096 ssl crt tls-both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3 ciphersuites {SUITE}\n"


def certificate(room):
    """Makes tls.pem, tls.key, and both in tls-both.pem, for 127.0.0.1."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.pem"]
    made = subprocess.run(command, cwd=room.directory, capture_output=True, text=True, check=False)
    if made.returncode:
        lab.fail(f"openssl made no certificate:\n{made.stderr}")
    both = (room.directory / "tls.pem").read_text() + (room.directory / "tls.key").read_text()
    room.write("tls-both.pem", both)
    # nginx, started by root, has read it before it becomes somebody else.


def nginx_server(executable, port):
    """The head of nginx's server for TLS; `http2` was an option of `listen` before 1.25.1."""
    version = tuple(int(part) for part in re.findall(r"\d+", lab.version([executable, "-v"]))[:3])
    old = version < (1, 25, 1)
    return (NGINX.replace("@TLS@", str(port)).replace("@HTTP2@", " http2" if old else "")
            .replace("@HTTP2_ON@", "" if old else "http2 on;"))


def drive(front, kind, concurrency, seconds, loadtest):
    """One run of loadtest or h2load: requests, seconds, milliseconds of p50 and p99 (None: not told), failures."""
    url = f"https://127.0.0.1:{front.tls}/31"
    if kind in STREAMS:
        return h2load(url, STREAMS[kind], concurrency, seconds)
    command = [loadtest, "--insecure", "--no-keepalive", "-t", "1", "-c", concurrency, "-d", f"{seconds}s", "--json", url]
    command += ["--no-resumption"] if kind == "full" else []
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not run.stdout.startswith("{"):
        lab.fail(f"loadtest failed on {front.name}, {kind}:\n{run.stdout}{run.stderr}")
    report = json.loads(run.stdout)
    outcome, made = report["outcome"], report["tls"]["handshakes"]
    if made[kind] < 0.95 * (made["full"] + made["resumed"]):
        lab.fail(f"{front.name} has {made['full']} full handshakes and {made['resumed']} resumed ones: no load of {kind}")
    times = report["serviceTime"]
    return outcome["answered"], outcome["seconds"], times["p50"], times["p99"], outcome["failed"]


def h2load(url, streams, concurrency, seconds):
    command = ["h2load", "-t", "1", "-c", concurrency, "-m", str(streams), "-D", str(seconds),
               f"--tls13-ciphers={SUITE}", url]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    done = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", run.stdout, re.M)
    rate = re.search(r"^finished in [\d.]+m?s, ([\d.]+) req/s", run.stdout, re.M)
    if not done or not rate or "Application protocol: h2" not in run.stdout:
        lab.fail(f"h2load failed on {url}:\n{run.stdout}{run.stderr}")
    succeeded, *bad = map(int, done.groups())
    return succeeded, succeeded / max(float(rate.group(1)), 1e-9), None, None, sum(bad)
