#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real applications, moved under load there and back twice by a client that checks every answer (docs/applications.md).

  run.py [--list] [--images-only] [--keep] [--no-install] [--moves N] [NAME ..]

One file NAME.toml says everything about an application. LAB_NAME (default apps) names the lab, which is brought up when it is not, and then taken down at the end
unless --keep or KEEP=1. The table goes to stdout, the results to build/apps.json, as Markdown to build/apps.md, what was going on in a failure to build/check/apps/NAME.txt."""
import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib

os.environ.setdefault("LAB_NAME", "apps")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))

import images  # noqa: E402
import install  # noqa: E402
import table  # noqa: E402
from cluster import PATIENCE, ROOT, Cluster, Failed, lab  # noqa: E402
from pods import NS, condition, explain, is_running, migrate, migration, reason_of  # noqa: E402

OUT = os.path.join(ROOT, "build/apps.json")
MARKDOWN = os.path.join(ROOT, "build/apps.md")
EVIDENCE = os.path.join(ROOT, "build/check/apps")
THREADS = 4
CALM_S = 3


def load(name):
    with open(os.path.join(HERE, name + ".toml"), "rb") as f:
        app = tomllib.load(f)
    app["name"] = name
    return app


def all_names():
    return sorted(f[:-5] for f in os.listdir(HERE) if f.endswith(".toml"))


def image_names(app):
    return {c.get("image", app["name"]) for c in app["pod"]["containers"]}


def image_ref(name):
    return "localhost/apps/%s:1" % name


# --- the pod ---

def pod(app):
    spec = json.loads(json.dumps(app["pod"]))
    for c in spec["containers"]:
        c["image"] = image_ref(c.get("image", app["name"]))
        c["imagePullPolicy"] = "IfNotPresent"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": app["name"], "namespace": NS, "labels": {"app": app["name"]}},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}, "terminationGracePeriodSeconds": 1, **spec}}


def service(app):
    port = app["client"]["port"]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": app["name"], "namespace": NS},
            "spec": {"selector": {"app": app["name"]}, "ports": [{"port": port, "targetPort": port}]}}


def is_ready(p):
    return is_running(p) and condition(p, "Ready").get("status") == "True"


def restarts(p):
    return sum(s["restartCount"] for s in p["status"].get("containerStatuses", []))


class Case:
    """What pods.migrate expects of a case."""

    def __init__(self):
        self.cleanups, self.migrations = [], []

    def clean(self, f):
        self.cleanups.append(f)

    def end(self):
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception as e:  # the next application must not suffer
                print("    cleaning up: %s" % e, file=sys.stderr)


# --- the client ---

class Client:
    """load/main.py in the network of cluster a's node: it reaches Services and pods as any program there does."""

    def __init__(self, home, app, host):
        c = app["client"]
        self.process = subprocess.Popen([*home.in_network(), sys.executable, os.path.join(HERE, "load/main.py"), c["kind"], host, str(c["port"]),
                                         str(c.get("threads", THREADS)), json.dumps(c.get("options", {}))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the client has ended")
        answer = json.loads(line)
        if answer["wrong"]:
            raise Failed("client: " + "; ".join(answer["wrong"][:3]))
        if answer.get("silent"):
            raise Failed("client: no answer for 60 s (%s)" % answer["errors"])
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()


# --- one application ---

def setup(home, app):
    """Commands in the containers, until they succeed: the application may still be starting."""
    for s in app.get("setup", []):
        end = time.monotonic() + 60
        while True:
            rc, out, err = home.run("exec", "-n", NS, app["name"], "-c", s["container"], "--", *s["command"])
            if rc == 0:
                break
            if time.monotonic() > end:
                raise Failed("setup %s: %s" % (" ".join(s["command"][:3]), (err or out).strip()[-300:]))


def milliseconds(duration):
    found = re.fullmatch(r"(?:(\d+)m)?(?:([\d.]+)s)?(?:([\d.]+)ms)?", duration or "")
    return round(sum(float(g or 0) * k for g, k in zip(found.groups(), (60000, 1000, 1)))) if found and duration else None


def move(case, home, app, name, number, where):
    """One move; the name of the pod that runs then."""
    m = migrate(case, home, migration("%s-%d" % (app["name"], number), name, NS, **where), 180)
    if m["status"].get("phase") != "Succeeded":
        raise Failed("move %d: %s" % (number, explain(m)))
    name = m["status"]["destinationPod"]["name"]
    case.clean(lambda: home.delete("pod", name, NS, "--grace-period=1"))
    p = home.watch("pods", name, NS, is_ready, 60, "ready after move %d" % number)
    if restarts(p):
        raise Failed("a container was restarted after move %d" % number)
    return name, milliseconds(m["status"].get("downtime")), m["status"].get("bytesTransferred", 0)


def refused(case, home, app, away):
    m = migrate(case, home, migration(app["name"], app["name"], NS, cluster=away.name), 180)
    said = {reason_of(m), condition(m, "Migratable").get("reason")}
    if m["status"]["phase"] != "Failed" or app["refused"] not in said:
        raise Failed("expected to be refused with %s, but it ended %s" % (app["refused"], explain(m)))
    p = home.get("pod", app["name"], NS)
    if not p or restarts(p) or not is_running(p):
        raise Failed("the pod was touched")
    return {"verdict": "refused", "reason": app["refused"]}


def moved(case, home, app, away, moves):
    home.apply(service(app))
    case.clean(lambda: home.delete("service", app["name"], NS))
    client = Client(home, app, home.get("service", app["name"], NS)["spec"]["clusterIP"])
    case.clean(client.close)
    client.say("mark")
    time.sleep(CALM_S)
    calm = client.say("mark")
    name, downs, gaps, sizes, steps, errors = app["name"], [], [], [], [], {}
    for i in range(moves):
        name, down, size = move(case, home, app, name, i + 1, {"node": home.name} if i % 2 else {"cluster": away.name})
        seen = client.say("mark")
        downs.append(down)
        sizes.append(size)
        gaps.append(seen["gap_ms"])
        steps.append([seen["p50_ms"], seen["p99_ms"]])
        for kind, n in seen["errors"].items():
            errors[kind] = errors.get(kind, 0) + n
    seen = client.say("stop")
    return {"verdict": "moves", "downtime_ms": downs, "bytes": sizes, "client_gap_ms": gaps, "client_ms_calm": [calm["p50_ms"], calm["p99_ms"]], "client_ms": steps, "errors": errors, "answers": seen["answers"], "verified": seen["verified"]}


def evidence(app, home, away, text):
    os.makedirs(EVIDENCE, exist_ok=True)
    with open(os.path.join(EVIDENCE, app["name"] + ".txt"), "w") as f:
        f.write(text + "\n")
        for c in (home, away):
            for args in (["get", "podmigrations", "-A", "-o", "yaml"], ["get", "pods", "-A", "-o", "wide"], ["get", "events", "-A", "--sort-by=.lastTimestamp"],
                         ["logs", "-A", "-l", "app=" + app["name"], "--all-containers", "--prefix", "--tail=40"],
                         ["logs", "-n", "podmigration-agent", "ds/podmigration-agent", "--tail=100"]):
                if "-A" in args and args[0] == "logs":
                    args = ["logs", "-n", NS if c is home else NS + "-a", *args[2:]]
                try:
                    _, out, err = c.run(*args, timeout=20)
                except Exception as e:
                    out, err = "", str(e)
                f.write("\n=== %s: kubectl %s\n%s%s" % (c.name, " ".join(args), out, err))


def run_app(app, home, away, moves):
    case, start, result = Case(), time.monotonic(), {}
    try:
        names = image_names(app)
        for n in sorted(names):
            lab("image", "%s,%s" % (home.name, away.name), image_ref(n), images.build(n, load(n)["image"]), "[]")
        home.apply(pod(app))
        case.clean(lambda: home.delete("pod", app["name"], NS, "--grace-period=1"))
        home.watch("pods", app["name"], NS, is_ready if not app.get("setup") else is_running, 120, "ready")
        setup(home, app)
        home.watch("pods", app["name"], NS, is_ready, 60, "ready")
        result = refused(case, home, app, away) if "refused" in app else moved(case, home, app, away, moves)
    except (Failed, images.Unbuilt) as e:
        result = {"verdict": "FAILS", "problem": str(e)}
    except Exception as e:  # of the test itself
        result = {"verdict": "FAILS", "problem": "%s: %s" % (type(e).__name__, e)}
    if result["verdict"] == "FAILS":
        evidence(app, home, away, result["problem"])
    case.end()
    home.ok("delete", "podmigrations,pods", "--all", "-n", NS, "--timeout=120s", timeout=150)
    result.update({k: app[k] for k in ("name", "title", "configure", "why") if k in app}, verified_what=app["verified"], seconds=round(time.monotonic() - start, 1))
    print(table.line(result), flush=True)
    return result


def is_up():
    try:
        return Cluster("b").run("get", "--raw", "/readyz", timeout=20)[0] == 0
    except Exception:
        return False


def save(results):
    """Beside what was found of other applications before."""
    known = {}
    if os.path.exists(OUT):
        with open(OUT) as f:
            known = {r["name"]: r for r in json.load(f)["applications"]}
    known.update({r["name"]: r for r in results})
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    applications = [known[n] for n in all_names() if n in known]
    with open(OUT, "w") as f:
        json.dump({"applications": applications}, f, indent=1)
    with open(MARKDOWN, "w") as f:
        f.write(table.markdown(applications) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--list", action="store_true", help="name the applications")
    p.add_argument("--table", action="store_true", help="print the table of build/apps.json as Markdown")
    p.add_argument("--images-only", action="store_true", help="make the images' folders, and end")
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--no-install", action="store_true", help="podmigration is there already")
    p.add_argument("--moves", type=int, default=4, help="how often each is moved, there and back in turn")
    args = p.parse_args()
    apps = [load(n) for n in args.names or all_names()]
    if args.list:
        for a in apps:
            print("%-12s %s" % (a["name"], a["title"]))
        return 0
    if args.table:
        print(table.markdown(json.load(open(OUT))["applications"]))
        return 0
    if args.images_only:
        for n in sorted({n for a in apps for n in image_names(a)}):
            print("%-12s %s" % (n, images.build(n, load(n)["image"])), flush=True)
        return 0
    was_up, results = is_up(), []
    try:
        if not was_up:
            lab("up")
        home, away = Cluster("a"), Cluster("b")
        if not args.no_install:
            install.images([home, away])
            install.install(home, [away])
        home.ok("delete", "podmigrations,pods", "--all", "-n", NS, "--timeout=120s", timeout=150)
        print(table.HEAD, flush=True)
        for a in apps:
            results.append(run_app(a, home, away, args.moves))
            save(results)
    except Failed as e:
        print("apps: %s" % e, file=sys.stderr)
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)
    failed = sum(r["verdict"] == "FAILS" for r in results) + len(apps) - len(results)
    print("%d passed, %d failed" % (len(apps) - failed, failed or (0 if results else 1)))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
