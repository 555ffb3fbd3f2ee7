# SPDX-License-Identifier: Apache-2.0
"""From the single runs to tables (Markdown) and to build/bench.json."""
import math

STEPS = (("freeze", "frozen"), ("frozen", "sent"), ("sent", "prepared"), ("prepared", "committed"), ("committed", "running"))
MICROS = ("dumpMicros", "stageMicros", "restoreMicros", "openMicros")

# key in the JSON, what it means, what it should be at most (or at least, when negative)
GOALS = (
    ("two_containers.gap_ms.median", "2 containers, 64 + 16 MiB: downtime, median, ms", 220),
    ("two_containers.gap_ms.p99", "2 containers, 64 + 16 MiB: downtime, p99, ms", 350),
    ("smallest.gap_ms.median", "1 container of 1 MiB: downtime, median, ms", 120),
    ("one_gib.gap_ms.precopy.median", "1 GiB: downtime, median, ms", 300),
    ("growth.gap_4gib_over_256mib", "4 GiB over 256 MiB: downtime, ratio of medians", 2),
    ("link_1g.gap_ms.median", "1 GiB, 50 MB/s written, 1 Gbit/s and 1 ms: downtime, median, ms", 700),
    ("ten_over_one", "10 containers of 8 MiB over 1: downtime, ratio of medians", 2.5),
    ("two_containers.ratio_to_seated", "2 containers: SEATED's downtime over this one", -20),
    ("apply_to_succeeded_s", "2 containers: apply to Succeeded, median, s", 4),
    ("two_containers.wire_over_state", "2 containers: bytes on the wire over bytes of state", 1.1),
    ("link_1gbit.goodput_share", "1 GiB through 1 Gbit/s: share of the link used while sending", -0.9),
    ("at_once.arrived", "20 pods at once: how many arrived", -20),
    ("at_once.slowest_over_turn", "20 pods at once: the slowest over its fair turn", 3),
)


def quantile(values, q):
    """By nearest rank: with fewer than 100 values p99 is the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def stats(values):
    values = [v for v in values if v is not None]
    if not values:
        return None
    return {"median": round(median(values), 3), "p99": round(quantile(values, 0.99), 3), "min": round(min(values), 3),
            "max": round(max(values), 3), "n": len(values)}


def steps_of(run):
    at = dict(run["timeline"])
    return {"%s..%s" % (a, b): at[b] - at[a] for a, b in STEPS if a in at and b in at}


def sending_bytes_per_s(run):
    took = steps_of(run).get("frozen..sent")
    return run["payload_bytes"] / took * 1000 if took and run["payload_bytes"] else None


def ours(runs):
    if not runs:
        return None
    steps = [steps_of(r) for r in runs]
    return {
        "gap_ms": stats([r["gap_ms"] for r in runs]),
        "agents_ms": stats([r["agents_ms"] for r in runs]),
        "apply_to_succeeded_s": stats([r["total_s"] for r in runs]),
        "agents_cpu_s": stats([r["agents_cpu_s"] for r in runs]),
        "pace": stats([c["pace"] for r in runs for c in r["containers"]]),
        "pause_before_ms": stats([c["pause_before_ms"] for r in runs for c in r["containers"]]),
        "state_bytes": median([r["state_bytes"] for r in runs]),
        "wire_bytes": median([r["wire_bytes"] for r in runs]),
        "wire_over_state": round(median([r["wire_bytes"] / r["state_bytes"] for r in runs]), 3),
        "sending_mb_per_s": stats([(sending_bytes_per_s(r) or 0) / 1e6 for r in runs]),
        "steps_ms": {k: stats([s[k] for s in steps if k in s]) for k in ("%s..%s" % s for s in STEPS)},
        "phases_ms": {k: stats([r["phases_ms"].get(k) for r in runs]) for k in {k for r in runs for k in r["phases_ms"]}},
        "container_micros": {k: stats([c.get(k) for r in runs for c in r["reports"]]) for k in MICROS},
    }


def seated(runs):
    if not runs:
        return None
    return {
        "gap_ms": stats([r["gap_ms"] for r in runs]),
        "since_checkpoint_ms": stats([max(c["since_checkpoint_ms"] for c in r["containers"]) for r in runs]),
        "lost_counts": stats([max(c["lost_counts"] for c in r["containers"]) for r in runs]),
        "pause_at_source_ms": stats([max(c["pause_at_source_ms"] for c in r["containers"]) for r in runs]),
        "total_s": stats([r["total_s"] for r in runs]),
        "bytes": median([r["bytes"] for r in runs]),
        "steps_ms": {k: stats([r["steps_ms"][k] for r in runs]) for k in runs[0]["steps_ms"]},
    }


def row(runs, baseline):
    r = {"podmigration": ours(runs), "seated": seated(baseline)}
    r.update({k: r["podmigration"][k] for k in ("gap_ms", "wire_over_state")} if runs else {})
    if runs and baseline:
        r["ratio_to_seated"] = round(r["seated"]["gap_ms"]["median"] / r["podmigration"]["gap_ms"]["median"], 1)
    return r


def at_once(results, wanted, one):
    """Migrations created together. A fair turn: what one takes alone (None: the time the whole took, divided by their number), times one's place in the order of arrival: as if one came after the other."""
    done = sorted(r["since_first_s"] for r in results)
    turn = one or done[-1] / len(done)
    return {"wanted": wanted, "arrived": len(done), "gap_ms": stats([r["gap_ms"] for r in results]), "all_s": round(done[-1], 2), "each_turn_s": round(turn, 2),
            "since_first_s": stats(done), "slowest_over_turn": round(max(t / (turn * (i + 1)) for i, t in enumerate(done)), 2)}


def across(result):
    """Figures that need several rows."""
    def gap(key):
        return lookup(result, key + ".podmigration.gap_ms.median")

    def ratio(a, b):
        return round(gap(a) / gap(b), 2) if gap(a) and gap(b) else None

    # one key for the three ways; the row's own figures stay in one_gib.podmigration
    ways = {name: lookup(result, key + ".podmigration.gap_ms")
            for name, key in (("precopy", "one_gib"), ("stopandcopy", "one_gib_stopandcopy"), ("postcopy", "one_gib_postcopy"))}
    if any(ways.values()):
        result.setdefault("one_gib", {})["gap_ms"] = {k: v for k, v in ways.items() if v}
    found = {"ten_over_one": ratio("containers_10", "containers_1"),
             "apply_to_succeeded_s": lookup(result, "two_containers.podmigration.apply_to_succeeded_s.median")}
    result.update({k: v for k, v in found.items() if v})
    if ratio("memory_4096", "memory_256"):
        result["growth"] = {"gap_4gib_over_256mib": ratio("memory_4096", "memory_256")}


def lookup(tree, path):
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def goals(result, wanted=GOALS):
    out = []
    for path, what, limit in wanted:
        value = lookup(result, path)
        if value is not None:
            out.append({"goal": what, "value": value, "limit": abs(limit), "met": value <= limit if limit > 0 else value >= -limit,
                        "at": "most" if limit > 0 else "least"})
    return out


def goals_table(found):
    return table(["goal", "at", "limit", "measured", "met"],
                 [[g["goal"], g["at"], g["limit"], number(g["value"]), "yes" if g["met"] else "no"] for g in found])


def number(v):
    if v is None:
        return "-"
    if v >= 100:
        return "%d" % round(v)
    return "%.1f" % v if v >= 10 else "%.2f" % v


def spread(s, scale=1):
    return "%s / %s (%d)" % (number(s["median"] / scale), number(s["p99"] / scale), s["n"]) if s else "-"


def mib(b):
    return number(b / (1 << 20))


def table(head, rows):
    return "\n".join(["| %s |" % " | ".join(map(str, r)) for r in [head, ["---"] * len(head), *rows]]) + "\n"


def tables(result, titles):
    """Markdown; titles: {row key: what is moved}."""
    rows = [(titles[k], result[k]) for k in titles if k in result and (result[k].get("podmigration") or result[k].get("seated"))]
    parts = ["### Downtime, ms: median / p99 (n)\n", table(
        ["pod", "podmigration", "SEATED way", "ratio"],
        [[t, spread((r["podmigration"] or {}).get("gap_ms")), spread((r["seated"] or {}).get("gap_ms")), number(r.get("ratio_to_seated"))]
         for t, r in rows])]
    mine = [(t, r["podmigration"]) for t, r in rows if r["podmigration"]]
    if mine:
        parts += ["### Time and bytes\n", table(
            ["pod", "apply to Succeeded, s", "state, MiB", "on the wire, MiB", "wire / state", "MB/s while sending", "processor time of both agents, s"],
            [[t, spread(r["apply_to_succeeded_s"]), mib(r["state_bytes"]), mib(r["wire_bytes"]), "%.2f" % r["wire_over_state"],
              spread(r["sending_mb_per_s"]), spread(r["agents_cpu_s"])] for t, r in mine])]
        parts += ["### The program before its pause: median / p99 (n)\n", table(
            ["pod", "a count while memory is sent, over one before", "longest pause meanwhile, ms"],
            [[t, spread(r["pace"]), spread(r["pause_before_ms"])] for t, r in mine])]
        parts += ["### Where the downtime goes, ms (median of each step, by the agents)\n", table(
            ["pod", *("%s to %s" % s for s in STEPS), "freeze to running", "by the application"],
            [[t, *(number((r["steps_ms"]["%s..%s" % s] or {}).get("median")) for s in STEPS), number(r["agents_ms"]["median"]),
              number(r["gap_ms"]["median"])] for t, r in mine])]
        parts += ["### Of one container, ms: median / p99 (n)\n", table(
            ["pod", "dump (source)", "stage", "restore up to the barrier", "barrier to running"],
            [[t, *(spread(r["container_micros"][k], 1000) for k in MICROS)] for t, r in mine])]
    theirs = [(t, r["seated"]) for t, r in rows if r["seated"]]
    if theirs:
        parts += ["### The SEATED way in detail: median\n", table(
            ["pod", "checkpoint, ms", "upload, ms", "delete and import, ms", "restore, ms", "whole, s", "archives, MiB", "paused at the source, ms",
             "counts lost"],
            [[t, *(number(r["steps_ms"][k]["median"]) for k in ("checkpoint", "upload", "delete_and_import", "restore")),
              number(r["total_s"]["median"]), mib(r["bytes"]), number(r["pause_at_source_ms"]["median"]), number(r["lost_counts"]["median"])]
             for t, r in theirs])]
    many = result.get("at_once")
    if many:
        parts += ["### %d pods of 8 MiB at once\n" % many["wanted"], table(
            ["arrived", "the last one after, s", "a turn, s", "slowest over its turn", "downtime, ms"],
            [[many["arrived"], many["all_s"], many["each_turn_s"], many["slowest_over_turn"], spread(many["gap_ms"])]])]
    parts += ["### Goals\n", goals_table(goals(result))]
    return "\n".join(parts)
