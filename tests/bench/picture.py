# SPDX-License-Identifier: Apache-2.0
"""One migration as a picture: the applications' own pauses above the agents' steps, on one time axis. Plain SVG, light and dark."""
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 880, 150, 24
LANE, BAR = 40, 22
TOP = 62

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 11px; fill: #59636e; }
.title { font-size: 15px; font-weight: 600; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.run { fill: #2da44e; }
.stop { fill: #ffd8d3; stroke: #cf222e; stroke-width: 1; }
.source { fill: #b6d4fe; stroke: #0969da; stroke-width: 1; }
.destination { fill: #e2d0fb; stroke: #8250df; stroke-width: 1; }
.decision { fill: #fbe5a2; stroke: #9a6700; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .page { fill: #0d1117; }
  .grid { stroke: #3d444d; }
  .run { fill: #238636; }
  .stop { fill: #5d1f1a; stroke: #ff7b72; }
  .source { fill: #0c3a75; stroke: #58a6ff; }
  .destination { fill: #3c1e70; stroke: #bc8cff; }
  .decision { fill: #4d3800; stroke: #d29922; }
}
"""

# lane, class, from, to, what happens; a step that was not reported is left out
STEPS = (
    ("source agent", "source", "freeze", "frozen", "freeze"),
    ("source agent", "source", "frozen", "sent", "dump, read, send"),
    ("destination agent", "destination", "sent", "prepared", "restore"),
    ("API server", "decision", "prepared", "committed", "commit"),
    ("destination agent", "destination", "committed", "running", "open"),
)


class Canvas:
    def __init__(self, begin, end, lanes):
        self.begin, self.scale = begin, (WIDTH - LEFT - RIGHT) / (end - begin)
        self.lanes = lanes
        self.height = TOP + LANE * len(lanes) + 44
        self.out = []

    def x(self, ms):
        return LEFT + (ms - self.begin) * self.scale

    def y(self, lane):
        return TOP + LANE * self.lanes.index(lane)

    def text(self, x, y, what, kind="", anchor="start"):
        self.out.append('<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, y, kind, anchor, escape(what)))

    def bar(self, lane, kind, begin, end, label, tip, label_before=False):
        x, width = self.x(begin), max(1.5, (end - begin) * self.scale)
        self.out.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2" class="%s"><title>%s</title></rect>' %
                        (x, self.y(lane), width, BAR, kind, escape(tip)))
        if len(label) * 7 < width:
            self.text(x + width / 2, self.y(lane) + 15, label, anchor="middle")
        elif label_before or x + width + len(label) * 7 > WIDTH:
            self.text(x - 4, self.y(lane) + 15, label, anchor="end")
        else:
            self.text(x + width + 4, self.y(lane) + 15, label)

    def axis(self):
        span = (WIDTH - LEFT - RIGHT) / self.scale
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 10 ** 9) if span / s <= 12)
        bottom = TOP + LANE * len(self.lanes)
        ms = -(-self.begin // step) * step
        while self.x(ms) <= WIDTH - RIGHT:
            self.out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" class="grid"/>' % (self.x(ms), TOP - 8, self.x(ms), bottom))
            self.text(self.x(ms), bottom + 16, "%d" % ms, "small", "middle")
            ms += step
        self.text(LEFT, bottom + 34, "milliseconds since the first container was told to freeze", "small")


def draw(run, title):
    """The SVG text of one result of product.move()."""
    mark = dict(run["timeline"])
    zero = mark.get("freeze") or mark["frozen"]
    at = {step: ms - zero for step, ms in mark.items()}
    apps = [(c["start"] - zero, c["end"] - zero, c["gap_ms"]) for c in run["containers"]]
    last = max([*at.values(), *(a[1] for a in apps)])
    first = min([0, *(a[0] for a in apps)])
    margin = (last - first) * 0.12
    names = ["application c%d" % i for i in range(len(apps))]
    lanes = names + ["source agent", "destination agent", "API server"]
    c = Canvas(first - margin, last + margin, lanes)
    c.axis()
    for name, (begin, end, gap) in zip(names, apps):
        c.bar(name, "run", c.begin, begin, "counts", "counts once a millisecond, at the source")
        c.bar(name, "stop", begin, end, "stands %d ms" % gap, "%d ms between two counts, by the application's own clock" % gap)
        c.bar(name, "run", end, last + margin, "counts", "counts on, in the other cluster")
    for lane, kind, begin, end, what in STEPS:
        if begin in at and end in at:
            ms = at[end] - at[begin]
            c.bar(lane, kind, at[begin], at[end], "%s %.0f" % (what, ms), "%s: %.1f ms" % (what, ms), begin == "freeze")
    for lane in lanes:
        c.text(LEFT - 10, c.y(lane) + 15, lane, anchor="end")
    c.text(LEFT, 26, title, "title")
    c.text(LEFT, 44, "numbers in bars are milliseconds", "small")
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">\n<style>%s</style>\n'
            '<rect width="100%%" height="100%%" class="page"/>\n%s\n</svg>\n' % (WIDTH, c.height, escape(title), STYLE, "\n".join(c.out)))
