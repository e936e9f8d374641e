"""The table of bench/RESULTS.md as a plot: requests/s as ratios to nginx, which is the
line at 1."""

import re
from xml.sax.saxutils import escape

LOADS = ["31 B, 1", "31 B, 64", "31 B, 512", "10 KiB, 64", "1 MiB, 64", "POST 1 KiB, 64", "31 B, new connections, 64"]
NAMES = {"31 B, new connections, 64": "new connections, 64"}
SCHEMES = {
    "light": {"ground": "#ffffff", "text": "#16202c", "quiet": "#4d5b69", "line": "#d8dee6", "balancer": "#1d5fbf", "haproxy": "#b06a00"},
    "dark": {"ground": "#0f151c", "text": "#e6edf3", "quiet": "#a5b3c1", "line": "#2c3947", "balancer": "#79b0ff", "haproxy": "#ffc870"},
}
MOST, LEFT, WIDTH, ROW, TOP = 1.75, 190, 800, 56, 84


def ratios(results):
    """Ratios of requests/s by load and front, and the line that says how they were had."""
    section = results.split("## Compared with nginx and HAProxy\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for row in section.splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        ratio = len(cells) > 2 and re.fullmatch(r"[\d,]+ \(([\d.]+)\)", cells[2])
        if ratio:
            found[cells[0], cells[1]] = float(ratio[1])
    return found, section.strip().splitlines()[0]


def plot(results, scheme):
    found, how = ratios(results)
    colours = SCHEMES[scheme]
    at = lambda ratio: LEFT + (WIDTH - LEFT - 40) * ratio / MOST
    bottom = TOP + ROW * len(LOADS)
    parts = []

    def text(x, y, words, size=17, fill="text", anchor="start", weight="normal"):
        parts.append(f'<text x="{x:.0f}" y="{y}" font-size="{size}" fill="{colours[fill]}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>')

    text(20, 30, "Requests/s in front of the same four processes; nginx is 1", 19, weight="bold")
    for index, (name, label) in enumerate([("balancer", "balancer"), ("haproxy", "HAProxy")]):
        parts.append(f'<rect x="{LEFT + 130 * index}" y="48" width="16" height="16" rx="3" fill="{colours[name]}"/>')
        text(LEFT + 130 * index + 23, 62, label)
    for tick in (0, 0.5, 1, 1.5):
        strong = "text" if tick == 1 else "line"
        parts.append(f'<path d="M{at(tick):.0f} {TOP - 8}V{bottom}" stroke="{colours[strong]}" stroke-width="{2 if tick == 1 else 1}"/>')
        text(at(tick), bottom + 22, f"{tick:g}" if tick != 1 else "1 = nginx", 16, "quiet", "middle")
    for index, load in enumerate(LOADS):
        y = TOP + ROW * index
        text(LEFT - 12, y + 27, NAMES.get(load, load), 16, anchor="end")
        for below, front in enumerate(("balancer", "haproxy")):
            ratio = found[load, front]
            parts.append(f'<rect x="{LEFT}" y="{y + 3 + 20 * below}" width="{at(ratio) - LEFT:.0f}" height="17" rx="3" fill="{colours[front]}"/>')
            # Within the bar, where the line at 1 does not cross it.
            text(at(ratio) - 7, y + 17 + 20 * below, f"{ratio:.2f}", 15, "ground", "end", "bold")
    text(20, bottom + 46, "Left: body, connections. " + how.split(";")[0].split(", loopback")[0], 13, "quiet")
    height = bottom + 60
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="system-ui, sans-serif">
<title>Requests per second as ratios to nginx</title>
<rect width="100%" height="100%" rx="10" fill="{colours['ground']}"/>
{chr(10).join(parts)}
</svg>
"""
