"""What the scripts in this directory share: a temporary directory, processes that
end with the script however it ends, what /proc says of them, and RESULTS.md.

Needs nothing but Python's standard library, on Linux."""

import datetime
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
BALANCER = HERE.parent / "target" / "release" / "balancer"
LOADTEST = BALANCER.with_name("loadtest")
CPUS = len(os.sched_getaffinity(0))
# Programs and the Debian packages that have them.
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "node": "nodejs",
            "slowhttptest": "slowhttptest", "h2load": "nghttp2-client", "openssl": "openssl"}


def fail(message):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def need(programs, balancer):
    """Ends the script with what to do when something that it runs is not there."""
    # Debian keeps servers where only root's path has them.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted(PACKAGES[name] for name in programs if not shutil.which(name))
    if missing:
        fail(f"these programs are missing: apt-get install --no-install-recommends {' '.join(missing)}")
    if not os.access(balancer, os.X_OK):
        fail(f"{balancer} is not there: cargo build --release -p balancer, or name one with --balancer")


def get(port, path, timeout=5):
    """The body of an answer of 200; None when there is another one, or none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
            return answer.read() if answer.status == 200 else None
    except OSError:
        return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lab:
    """Use it as a context: the directory and all processes end with it."""

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(130))
        self.processes = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        # nginx, started by root, becomes somebody else.
        self.directory.chmod(0o755)
        return self

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in self.processes:
            self.signal(process, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                self.signal(process, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def signal(self, process, number):
        """Each process has been started as the first of a group of its own."""
        if process.poll() is None:
            os.killpg(process.pid, number)

    def write(self, name, text):
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def start(self, name, command, **variables):
        """Starts a process of which nothing is read; what it says is in NAME.log."""
        with open(self.directory / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.directory), **variables})
        self.processes.append(process)
        return process

    def wait(self, name, process, condition, patience=20):
        """Waits until `condition` gives something, which is returned."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if process.poll() is not None:
                break
            time.sleep(0.02)
        said = (self.directory / f"{name}.log").read_text(errors="replace")
        fail(f"{name} did not get ready; it said:\n{said[-2000:]}")


def children(pid):
    """Processes that `pid` has started, without theirs."""
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def cpu(pids):
    """Seconds of CPU that these processes have used, user and system (proc(5))."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids):
    """Resident MiB of these processes; pages that they share count once (Pss)."""
    kilobytes = 0
    for pid in pids:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        kilobytes += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1))
    return kilobytes / 1024


def connections(port):
    """Open connections to this port (proc(5), /proc/net/tcp: local address, and state 01)."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(f" 0100007F:{port:04X} " in line and line.split()[3] == "01" for line in lines)


def version(command):
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    # HAProxy calls a version in development 3.4-dev10-1234567.
    found = re.search(r"\d+\.\d+(\.\d+|-dev\d+)", said.stdout + said.stderr)
    return found.group(0) if found else "?"


def machine():
    """The machine, and when this was, in one line."""
    processor = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory_total = re.search(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)
    gibibytes = round(int(memory_total.group(1)) / 2**20)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return (f"{today}: {processor.group(1) if processor else platform.machine()}, {CPUS} usable CPUs, {gibibytes} GiB,"
            f" Linux {platform.release()}, loopback; everything runs on these CPUs")


def save(section, text):
    """Puts `text` into RESULTS.md, as the section with this heading."""
    old = RESULTS.read_text() if RESULTS.exists() else "# Results\n\nWritten by the scripts beside this file.\n"
    part = f"## {section}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(section)}\n.*?(?=^## |\Z)", re.M | re.S)
    if pattern.search(old):
        new = pattern.sub(lambda _: part + "\n", old)
    else:
        new = f"{old.rstrip()}\n\n{part}"
    RESULTS.write_text(new.rstrip() + "\n")


def section(name):
    """What is saved under this heading."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found.group(1) if found else ""
