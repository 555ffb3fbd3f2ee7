# SPDX-License-Identifier: Apache-2.0
"""The compatibility table: lines for a terminal, Markdown for docs/applications.md."""

HEAD = "%-10s %-8s %14s %16s %22s %10s %7s %9s  %s" % ("app", "verdict", "downtime ms", "client's gap ms", "p99 ms calm, moving", "MiB", "errors", "checked", "notes")


COLUMNS = ("application", "verdict", "downtime ms", "client's gap ms", "client's p99 ms: calm, moving", "MiB sent", "errors its client saw", "checked at the end",
           "what to configure, and why")

# What Python's exceptions are to a reader.
ERRORS = {"ConnectionRefusedError": "refused", "ConnectionResetError": "resets", "BrokenPipeError": "resets", "TimeoutError": "timeouts", "Closed": "closed or not ready"}


def between(numbers):
    known = [n for n in numbers if n is not None]
    return "%d-%d" % (min(known), max(known)) if known else "-"


def p99(r):
    """The client's p99 of three seconds before the first move, and of the moves, each from mark to mark."""
    return "%.0f, %s" % (r["client_ms_calm"][1], between([s[1] for s in r["client_ms"]])) if r.get("client_ms_calm") else ""


def mib(r):
    return "%.0f" % (max(r["bytes"]) / 2**20)


def notes(r):
    if r["verdict"] == "FAILS":
        return r["problem"]
    if r["verdict"] == "refused":
        return r["reason"]
    return "; ".join("%s %d" % item for item in sorted(r["errors"].items()))


def errors(r):
    """All together, and what they were."""
    kinds = {}
    for name, n in r["errors"].items():
        kind = ERRORS.get(name, name)
        kinds[kind] = kinds.get(kind, 0) + n
    return ", ".join("%d %s" % (n, kind) for kind, n in sorted(kinds.items(), key=lambda item: -item[1])) or "none"


def line(r):
    if r["verdict"] != "moves":
        return "%-10s %-8s %s" % (r["name"], r["verdict"], notes(r))
    return "%-10s %-8s %14s %16s %22s %10s %7d %9d  %s" % (r["name"], r["verdict"], between(r["downtime_ms"]), between(r["client_gap_ms"]), p99(r), mib(r), sum(r["errors"].values()),
                                                      r["verified"], notes(r))


def markdown(results):
    out = ["| %s |" % " | ".join(COLUMNS), "|" + "---|" * len(COLUMNS)]
    for r in results:
        advice = "%s: %s" % (r["configure"], r["why"]) if "configure" in r else ""
        if r["verdict"] == "moves":
            cells = ["moves", between(r["downtime_ms"]), between(r["client_gap_ms"]), p99(r), mib(r), errors(r), "%d: %s" % (r["verified"], r["verified_what"])]
        else:
            cells = ["%s (`%s`)" % (r["verdict"], r.get("reason") or r.get("problem")), "", "", "", "", "", r.get("verified_what", "")]
        out.append("| %s |" % " | ".join([r["title"], *cells, advice]))
    return "\n".join(out)
