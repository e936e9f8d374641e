"""A session in a terminal as a picture: commands are run in a pseudo-terminal, and what
they print, colours included, is drawn as SVG. Lines only grow at their end: there is no
cursor to be moved."""

import os
import pty
import re
import struct
import fcntl
import termios
from xml.sax.saxutils import escape

# The xterm colours 0 to 7 and 8 to 15, chosen to be read on the dark ground.
COLOURS = ["#6e7781", "#ff8b8b", "#7ee2a0", "#f2cc60", "#8ab8ff", "#d9a8ff", "#7fd7e0", "#d7dee6"] * 2
GROUND, TEXT, FAINT, PROMPT = "#10161d", "#e6edf3", "#98a6b4", "#7ee2a0"
SIZE, CELL, LINE, MARGIN = 14, 8.43, 20, 16


def run(command, directory, environment, columns, until=None):
    """Runs a command in a pseudo-terminal; returns what it printed and, if it is to go
    on, its pid. `until` is what it prints when enough has been seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe("bash", ["bash", "-c", command], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    printed = b""
    while until is None or until not in printed:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed.
            more = b""
        if not more:
            os.waitpid(pid, 0)
            os.close(terminal)
            return printed.decode(), None
        printed += more
    return printed.decode(), (pid, terminal)


def style(codes, now):
    """The style after a sequence of SGR codes (ECMA-48, section 8.3.117)."""
    now = dict(now)
    for code in (int(code or 0) for code in codes.split(";")):
        if code == 0:
            now = {}
        elif code == 1:
            now["font-weight"] = "bold"
        elif code == 2:
            now["fill"] = FAINT
        elif 30 <= code <= 37 or 90 <= code <= 97:
            now["fill"] = COLOURS[code - 30 if code < 90 else code - 82]
        elif code == 39:
            now.pop("fill", None)
    return now


def line(text, y, columns):
    """One line as SVG text; each run of a style stands at its column."""
    spans, now, column = [], {}, 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z])", text):
        if part.startswith("\x1b["):
            now = style(part[2:-1], now) if part.endswith("m") else now
            continue
        part = part[: max(0, columns - column)]
        if part.strip():
            attributes = "".join(f' {name}="{value}"' for name, value in now.items())
            width = f' textLength="{len(part) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
            spans.append(f'<tspan x="{MARGIN + column * CELL:.1f}"{width}{attributes}>{escape(part)}</tspan>')
        column += len(part)
    return f'<text y="{y}" xml:space="preserve">{"".join(spans)}</text>' if spans else ""


def draw(text, columns, title):
    """The whole session as an SVG document."""
    lines = [part.rstrip("\r") for part in text.rstrip().split("\n")]
    width, height = 2 * MARGIN + columns * CELL, 2 * MARGIN + 26 + len(lines) * LINE
    dots = "".join(f'<circle cx="{22 + 18 * index}" cy="20" r="5.5" fill="{colour}"/>' for index, colour in enumerate(["#ff8b8b", "#f2cc60", "#7ee2a0"]))
    rows = "\n".join(filter(None, (line(text, 26 + MARGIN + SIZE + index * LINE, columns) for index, text in enumerate(lines))))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img">
<title>{escape(title)}</title>
<rect width="100%" height="100%" rx="10" fill="{GROUND}"/>{dots}
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="{SIZE}" fill="{TEXT}">
{rows}
</g></svg>
"""


def prompt(command):
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\n"
