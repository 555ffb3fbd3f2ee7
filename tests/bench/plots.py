# SPDX-License-Identifier: Apache-2.0
"""How the pause grows with one thing at a time: docs/gap-*.svg. Median as a line, each run's range as a bar. Plain SVG, light and dark."""
import math
import os
from xml.sax.saxutils import escape

import report

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 64, 24, 48, 52

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; }
.line { stroke: #0969da; fill: none; stroke-width: 2; }
.range { stroke: #0969da; }
.dot { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .page { fill: #0d1117; }
  .grid { stroke: #3d444d; }
  .line, .range { stroke: #58a6ff; }
  .dot { fill: #58a6ff; }
}
"""

# file, title, what the axis says, its places: (label, row)
PLOTS = (
    ("gap-memory", "Pause and memory (PreCopy)", "memory of one container",
     (("1 MiB", "smallest"), ("16 MiB", "memory_16"), ("256 MiB", "memory_256"), ("1 GiB", "one_gib"), ("4 GiB", "memory_4096"))),
    ("gap-containers", "Pause and number of containers", "containers of 8 MiB",
     tuple((str(n), "containers_%d" % n) for n in (1, 2, 3, 5, 10))),
    ("gap-dirty", "Pause and what is written meanwhile", "MB/s written, 512 MiB", tuple((str(n), "dirty_%d" % n) for n in (0, 10, 50, 200))),
    ("gap-link", "Pause and link", "link, 256 MiB",
     (("100 Mbit/s", "link_100m"), ("1 Gbit/s, 20 ms", "link_20ms"), ("10 Gbit/s", "link_10g"), ("not limited", "memory_256"))),
    ("gap-strategy", "Pause and strategy", "1 GiB", (("PreCopy", "one_gib"), ("PostCopy", "one_gib_postcopy"), ("StopAndCopy", "one_gib_stopandcopy"))),
)


def nice(v):
    """The next round number: 1, 2 or 5 times a power of ten."""
    step = 10 ** math.floor(math.log10(v))
    return next(m * step for m in (1, 2, 5, 10) if m * step >= v)


def draw(title, axis, points):
    """points: [(label, stats)]"""
    top = nice(max(s["max"] for _, s in points))
    step = (WIDTH - LEFT - RIGHT) / len(points)
    out, places = [], []

    def y(v):
        return HEIGHT - BOTTOM - v / top * (HEIGHT - TOP - BOTTOM)

    def text(x, at, what, kind="", anchor="middle"):
        out.append('<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, at, kind, anchor, escape(what)))

    for i in range(5):
        v = top * i / 4
        out.append('<path class="grid" d="M%d %.1fH%d"/>' % (LEFT, y(v), WIDTH - RIGHT))
        text(LEFT - 8, y(v) + 4, "%g" % v, anchor="end")
    for i, (label, s) in enumerate(points):
        x = LEFT + step * (i + 0.5)
        places.append("%.1f %.1f" % (x, y(s["median"])))
        out.append('<path class="range" d="M%.1f %.1fV%.1f"/>' % (x, y(s["min"]), y(s["max"])))
        out.append('<circle class="dot" cx="%.1f" cy="%.1f" r="4"><title>%s ms (n=%d)</title></circle>' % (x, y(s["median"]), report.number(s["median"]), s["n"]))
        text(x, y(s["max"]) - 8, report.number(s["median"]))
        text(x, HEIGHT - BOTTOM + 18, label)
    out.append('<path class="line" d="M%s"/>' % "L".join(places))
    text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 10, axis)
    text(12, 22, "%s, ms" % title, "title", "start")
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img"><title>%s</title><style>%s</style><rect class="page" width="100%%" height="100%%"/>\n%s\n</svg>\n'
            % (WIDTH, HEIGHT, escape(title), STYLE, "\n".join(out)))


def draw_all(result, folder):
    """Those of which two places at least were measured; returns the names of the files."""
    names = []
    for name, title, axis, places in PLOTS:
        points = [(label, report.lookup(result, key + ".podmigration.gap_ms")) for label, key in places]
        points = [p for p in points if p[1]]
        if len(points) < 2:
            continue
        with open(os.path.join(folder, name + ".svg"), "w", encoding="utf-8") as f:
            f.write(draw(title, axis, points))
        names.append(name + ".svg")
    return names
