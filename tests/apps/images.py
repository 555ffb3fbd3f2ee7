# SPDX-License-Identifier: Apache-2.0
"""Root folders of the applications' images: Debian packages unpacked without their scripts, our own small programs, Go, Java and npm beside them.

A root is made once for each recipe and kept outside the tree (PODMIGRATION_CACHE/apps/NAME-HASH), as is a program of a Go module (apps/go-NAME-HASH): of those some take minutes."""
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("PODMIGRATION_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "podmigration"), "apps")
SUITE = "trixie"    # of Debian, unless an image names another
MODULE_S = 3600     # a large Go module on one slow core

# In every image: users, links of a merged /usr, a shell and small tools in one static program.
BASE = ["base-files", "base-passwd", "busybox-static"]
# Needed only by installation scripts, which are not run.
UNUSED = re.compile(r"^(adduser|debconf|init-system-helpers|passwd|login\.defs|lsb-base|sysvinit-utils|perl.*|libperl.*|dpkg|tar|ssl-cert|ucf|sensible-utils|systemd.*|"
                    r"gcc-\d+-base|libllvm.*|libz3-4|.*-common-dev|locales|libc-l10n|fonts-.*|javascript-common|libjs-.*|iproute2|libbpf1)$")
LINKS = ("sh", "ls", "cat", "sleep", "mkdir", "sed", "grep", "awk", "seq", "head", "tail", "tr", "httpd", "nc", "ps", "kill", "wc", "sort", "env", "id", "chmod", "chown", "rm",
         "mv", "cp", "test", "date", "hostname", "basename", "dirname", "readlink", "uname", "stat", "touch", "tee", "stty", "ip", "mount", "df", "expr", "printf", "xargs", "find")


class Unbuilt(Exception):
    """An image could not be made; the text says why."""


def run(*args, timeout=900, **more):
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **more)
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


def apt(suite):
    """The environment of an apt of its own: another suite than the host's, and nothing installed."""
    top = os.path.join(CACHE, "apt-" + suite)
    conf = os.path.join(top, "apt.conf")
    env = dict(os.environ, APT_CONFIG=conf, DEBIAN_FRONTEND="noninteractive")
    if os.path.exists(os.path.join(top, "ready")):
        return env
    for d in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(top, d), exist_ok=True)
    open(os.path.join(top, "status"), "w").close()
    with open(os.path.join(top, "sources.list"), "w") as f:
        f.write("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n" % (mirror(), suite))
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


def unpack(suite, packages, exclude, root):
    env = apt(suite)
    packages = BASE + packages
    run("apt-get", "-d", "-y", "-o", "DPkg::Lock::Timeout=300", "install", *packages, env=env)   # another run may be at it
    archives = os.path.join(CACHE, "apt-" + suite, "archives")
    for name, version, arch in closure(packages, env):
        if not any(re.fullmatch(e, name) for e in exclude):
            run("dpkg-deb", "-x", os.path.join(archives, "%s_%s_%s.deb" % (name, version.replace(":", "%3a"), arch)), root)
    for d in ("doc", "man", "locale", "info", "lintian", "bug"):
        shutil.rmtree(os.path.join(root, "usr/share", d), ignore_errors=True)


def merge_usr(root):
    """One /usr/bin, /usr/lib .. for all, which base-files brings since Debian 13."""
    for d in ("bin", "sbin", "lib", "lib64"):
        old, new = os.path.join(root, d), os.path.join(root, "usr", d)
        if os.path.isdir(old) and not os.path.islink(old):
            os.makedirs(new, exist_ok=True)
            run("cp", "-a", old + "/.", new)
            shutil.rmtree(old)
            os.symlink("usr/" + d, old)


def finish(root):
    """What the packages' scripts would have done, as far as a program needs it."""
    merge_usr(root)
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

GO = dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod -buildvcs=false", GOWORK="off")


def add_go(root, source):
    """One file of Go without dependencies becomes /app."""
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(os.path.join(HERE, "files", source), os.path.join(d, "main.go"))
        version = re.search(r"go(\d+\.\d+)", run("go", "version"))[1]
        with open(os.path.join(d, "go.mod"), "w") as f:
            f.write("module app\n\ngo %s\n" % version)
        run("go", "build", "-trimpath", "-o", os.path.join(root, "app"), ".", cwd=d, env=GO)


def copy_module(name, folder, cwd=HERE):
    """The folder of a module, NAME@VERSION, as a copy that can be changed; its sum."""
    text = run("go", "mod", "download", "-json", name, env=GO, cwd=cwd)
    said = json.loads(text[text.index("{"):])   # after what go may say of the download
    shutil.copytree(said["Dir"], folder, symlinks=True)
    for top, _, names in os.walk(folder):
        for path in [top, *(os.path.join(top, n) for n in names)]:
            os.chmod(path, os.stat(path).st_mode | 0o200)
    return said.get("Sum")


def take_module(m, folder):
    """A module to be built as its authors do. What their go.mod replaces by folders of their repository is not in it: those are taken as the modules that they are also published as, whose lines of go.sum the recipe
    tells."""
    found = copy_module("%s@%s" % (m["path"], m["version"]), folder)
    if found != m["sum"]:
        raise Unbuilt("%s %s has the sum %s" % (m["path"], m["version"], found))
    for r in json.loads(run("go", "mod", "edit", "-json", cwd=folder, env=GO)).get("Replace") or []:
        if r["New"]["Path"].startswith("./"):
            run("go", "mod", "edit", "-dropreplace", r["Old"]["Path"], cwd=folder, env=GO)
    for more in m.get("require", []):
        run("go", "mod", "edit", "-require", more, cwd=folder, env=GO)
    with open(os.path.join(folder, "go.sum"), "a") as f:
        f.writelines(line + "\n" for line in m.get("sums", []))


def leave_out(patterns, folder):
    """Lines that match are not built: {"file": "pattern"}; a pattern may go on over the ends of lines."""
    for name, pattern in patterns.items():
        path = os.path.join(folder, name)
        with open(path) as f:
            text = f.read()
        kept = re.sub(r"(?m)^.*(?:%s).*\n" % pattern, "", text)
        if kept == text:
            raise Unbuilt("no line of %s matches %s" % (name, pattern))
        with open(path, "w") as f:
            f.write(kept)


def leave_out_inside(other, patterns, folder, copy):
    """The same in a module that this one needs."""
    version = run("go", "list", "-m", "-f", "{{.Version}}", other, cwd=folder, env=GO).split()[-1]
    copy_module("%s@%s" % (other, version), copy, cwd=folder)
    leave_out(patterns, copy)
    run("go", "mod", "edit", "-replace", "%s=%s" % (other, copy), cwd=folder, env=GO)


def module(name, m):
    """The program of a Go module, built as its authors do, with the versions of their go.mod; kept, so that a change of its image does not build it again."""
    h = hashlib.sha256((json.dumps(m, sort_keys=True) + "".join(inspect.getsource(f) for f in (copy_module, take_module, leave_out, leave_out_inside, module))).encode())
    path = os.path.join(CACHE, "go-%s-%s" % (name, h.hexdigest()[:12]))
    if os.path.exists(path):
        return path
    with tempfile.TemporaryDirectory() as d:
        folder = os.path.join(d, "module")
        take_module(m, folder)
        leave_out(m.get("without", {}), folder)
        for number, (other, patterns) in enumerate(m.get("inside", {}).items()):
            leave_out_inside(other, patterns, folder, os.path.join(d, "inside-%d" % number))
        run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path + ".new", m.get("package", "."), cwd=folder, env=GO, timeout=MODULE_S)
    os.rename(path + ".new", path)
    return path


def add_module(root, name, m):
    """It becomes /usr/bin/NAME."""
    shutil.copy(module(name, m), os.path.join(root, "usr/bin", name))


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
    unpack(image.get("suite", SUITE), image.get("packages", []), image.get("exclude", []), root)
    finish(root)
    if "go" in image:
        add_go(root, image["go"])
    for name, m in image.get("module", {}).items():
        add_module(root, name, m)
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
