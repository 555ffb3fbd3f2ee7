# SPDX-License-Identifier: Apache-2.0
"""Root folders of the applications' images: Debian packages unpacked without their scripts, our own small programs, Go, Java and npm beside them.

A root is made once for each recipe and kept outside the tree (PODMIGRATION_CACHE/apps/NAME-HASH)."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("PODMIGRATION_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "podmigration"), "apps")
SUITE = "trixie"

# In every image: users, links of a merged /usr, a shell and small tools in one static program.
BASE = ["base-files", "base-passwd", "busybox-static"]
# Needed only by installation scripts, which are not run.
UNUSED = re.compile(r"^(adduser|debconf|init-system-helpers|passwd|login\.defs|lsb-base|sysvinit-utils|perl.*|libperl.*|dpkg|tar|ssl-cert|ucf|sensible-utils|systemd.*|"
                    r"gcc-\d+-base|libllvm.*|libz3-4|.*-common-dev|locales|libc-l10n|fonts-.*|javascript-common|libjs-.*|iproute2|libbpf1)$")
LINKS = ("sh", "ls", "cat", "sleep", "mkdir", "sed", "grep", "awk", "seq", "head", "tail", "tr", "httpd", "nc", "ps", "kill", "wc", "sort", "env", "id", "chmod", "chown", "rm",
         "mv", "cp", "test", "date", "hostname", "basename", "dirname", "readlink", "uname", "stat", "touch", "tee", "stty", "ip", "mount", "df", "expr", "printf", "xargs", "find")


class Unbuilt(Exception):
    """An image could not be made; the text says why."""


def run(*args, **more):
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, **more)
    if p.returncode:
        raise Unbuilt("%s: %s" % (" ".join(args[:4]), p.stdout.strip()[-600:]))
    return p.stdout


# --- Debian ---

def mirror():
    """Debian's mirror as this host's apt knows it."""
    out = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Component: main")
    found = [u for u in out.split() if "security" not in u]
    if not found and not os.environ.get("LAB_MIRROR"):
        raise Unbuilt("no Debian mirror in apt's configuration; name one in LAB_MIRROR")
    return os.environ.get("LAB_MIRROR") or found[0]


def apt():
    """The environment of an apt of its own: another suite than the host's, and nothing installed."""
    top = os.path.join(CACHE, "apt-" + SUITE)
    conf = os.path.join(top, "apt.conf")
    env = dict(os.environ, APT_CONFIG=conf, DEBIAN_FRONTEND="noninteractive")
    if os.path.exists(os.path.join(top, "ready")):
        return env
    for d in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(top, d), exist_ok=True)
    open(os.path.join(top, "status"), "w").close()
    with open(os.path.join(top, "sources.list"), "w") as f:
        f.write("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n" % (mirror(), SUITE))
    options = {"Dir::Etc::SourceList": top + "/sources.list", "Dir::Etc::SourceParts": "/dev/null", "Dir::State::Lists": top + "/lists", "Dir::State::status": top + "/status",
               "Dir::Cache": top, "Dir::Cache::archives": top + "/archives", "APT::Install-Recommends": "false", "pkgCacheGen::ForceEssential": "none",
               "APT::Sandbox::User": "root", "Acquire::Languages": "none"}
    with open(conf, "w") as f:
        f.writelines('%s "%s";\n' % item for item in options.items())
    run("apt-get", "update", env=env)
    open(os.path.join(top, "ready"), "w").close()
    return env


def closure(packages, env):
    """[(name, version, architecture)] of all that must be there, base first."""
    out = run("apt-get", "-s", "install", *packages, env=env)
    found = re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", out, re.M)
    return sorted((f for f in found if not UNUSED.match(f[0].split(":")[0])), key=lambda f: f[0] != "base-files")


def unpack(packages, exclude, root):
    env = apt()
    packages = BASE + packages
    run("apt-get", "-d", "-y", "install", *packages, env=env)
    archives = os.path.join(CACHE, "apt-" + SUITE, "archives")
    for name, version, arch in closure(packages, env):
        if not any(re.fullmatch(e, name) for e in exclude):
            run("dpkg-deb", "-x", os.path.join(archives, "%s_%s_%s.deb" % (name, version.replace(":", "%3a"), arch)), root)
    for d in ("doc", "man", "locale", "info", "lintian", "bug"):
        shutil.rmtree(os.path.join(root, "usr/share", d), ignore_errors=True)


def finish(root):
    """What the packages' scripts would have done, as far as a program needs it."""
    for kind in ("passwd", "group"):
        shutil.copyfile(os.path.join(root, "usr/share/base-passwd", kind + ".master"), os.path.join(root, "etc", kind))
    with open(os.path.join(root, "etc/passwd"), "a") as f:
        f.write("app:x:1000:1000::/tmp:/bin/sh\n")
    with open(os.path.join(root, "etc/group"), "a") as f:
        f.write("app:x:1000:\n")
    with open(os.path.join(root, "etc/nsswitch.conf"), "w") as f:
        f.write("passwd: files\ngroup: files\nhosts: files dns\n")
    for name in LINKS:
        if not os.path.lexists(os.path.join(root, "usr/bin", name)):
            os.symlink("busybox", os.path.join(root, "usr/bin", name))
    run("ldconfig", "-r", root)


# --- what is not from Debian ---

def add_go(root, source):
    """One file of Go without dependencies becomes /app."""
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(os.path.join(HERE, "files", source), os.path.join(d, "main.go"))
        version = re.search(r"go(\d+\.\d+)", run("go", "version"))[1]
        with open(os.path.join(d, "go.mod"), "w") as f:
            f.write("module app\n\ngo %s\n" % version)
        run("go", "build", "-trimpath", "-o", os.path.join(root, "app"), ".", cwd=d, env=dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod", GOWORK="off"))


def add_java(root, source):
    os.makedirs(os.path.join(root, "srv"), exist_ok=True)
    release = os.environ.get("APPS_JAVA_RELEASE", "17")
    run("javac", "--release", release, "-d", os.path.join(root, "srv"), os.path.join(HERE, "files", source))


def add_npm(root, packages):
    os.makedirs(os.path.join(root, "srv"), exist_ok=True)
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", os.path.join(root, "srv"), *packages)


def add_programs(root, programs):
    for p in programs:
        shutil.copy(os.path.join(ROOT, "build/apps", p), os.path.join(root, p))


def add_files(root, files):
    for target, source in files.items():
        path = os.path.join(root, target.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.join(HERE, "files", source), path)


def add_folders(root, folders):
    """{"/data": "1000 0700"}: owner (and group), mode."""
    for path, how in folders.items():
        owner, mode = how.split()
        path = os.path.join(root, path.lstrip("/"))
        os.makedirs(path, exist_ok=True)
        os.chown(path, int(owner), int(owner))
        os.chmod(path, int(mode, 8))


# --- all of it ---

def recipe(image):
    h = hashlib.sha256(json.dumps(image, sort_keys=True).encode())
    h.update(open(os.path.abspath(__file__), "rb").read())
    for f in [*image.get("files", {}).values(), *(image[k] for k in ("go", "java") if k in image)]:
        h.update(open(os.path.join(HERE, "files", f), "rb").read())
    for p in image.get("programs", []):
        h.update(open(os.path.join(ROOT, "build/apps", p), "rb").read())
    return h.hexdigest()[:12]


def make(image, root):
    unpack(image.get("packages", []), image.get("exclude", []), root)
    finish(root)
    if "go" in image:
        add_go(root, image["go"])
    if "java" in image:
        add_java(root, image["java"])
    if image.get("npm"):
        add_npm(root, image["npm"])
    add_programs(root, image.get("programs", []))
    add_files(root, image.get("files", {}))
    add_folders(root, image.get("folders", {}))
    for command in image.get("run", []):
        run("chroot", root, "/bin/sh", "-euc", command)
    # of its own content: the same content under another name would be found by its digest
    with open(os.path.join(root, "etc/application"), "w") as f:
        f.write(json.dumps(image, sort_keys=True) + "\n")


def build(name, image):
    """The folder of this application's root."""
    path = os.path.join(CACHE, "%s-%s" % (name, recipe(image)))
    if os.path.isdir(path):
        return path
    os.makedirs(CACHE, exist_ok=True)
    tmp = tempfile.mkdtemp(prefix="." + name + "-", dir=CACHE)
    os.chmod(tmp, 0o755)
    try:
        make(image, tmp)
    except Exception:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    os.rename(tmp, path)
    return path
