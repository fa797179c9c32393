"""Debian's packages: which, by hash; and how they are fetched through apt, in a directory of their own.

`packages` says what is wanted, `packages.lock` what exactly is built. Any mirror may give the files, because they are believed by
their hashes; the list is believed by Debian's signature on it. Nothing of the machine's own apt is changed.
"""

import fnmatch
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Failure(Exception):
    """What the person at the keyboard is told."""


class Wanted(NamedTuple):
    suite: str
    component: str
    name: str
    version: str


class Locked(NamedTuple):
    """One package, exactly. `name` is the real one, not that of a meta package; `source` is where its licence and code are."""

    suite: str
    component: str
    name: str
    version: str
    arch: str
    source: str
    size: int
    sha256: str


HEADER = "# Written by os-image/build --refresh from `packages`. What is built is exactly this.\n" \
    "# suite component package version architecture source size sha256\n"


def _rows(path):
    for line in Path(path).read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            yield words


def wanted(path):
    return [Wanted(*words) for words in _rows(path)]


def locked(path):
    found = []
    for words in _rows(path):
        if len(words) != 8 or not re.fullmatch("[0-9a-f]{64}", words[7]) or "/" in words[2] + words[3] + words[4]:
            raise Failure(f"{path}: not a line of the list: {' '.join(words)}")
        found.append(Locked(*words[:6], int(words[6]), words[7]))
    return found


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Apt:
    """apt with lists, cache and sources in `directory`; proxies and other ways out are the machine's."""

    def __init__(self, directory, mirror=None):
        self.directory = Path(directory).resolve()
        self.mirror = mirror or self._mirror()
        self.updated = False
        for part in ("lists/partial", "archives/partial"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()

    @staticmethod
    def _mirror():
        """The mirror that this machine has Debian from."""
        form = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)"
        for line in subprocess.run(["apt-get", "indextargets", "--format", form], capture_output=True, text=True).stdout.splitlines():
            origin, codename, address = line.split("|", 2)
            if origin == "Debian" and not codename.endswith("-security"):
                return address
        raise Failure("apt knows no mirror of Debian (run `apt-get update`), and none was given: --mirror URL")

    def _run(self, program, *words):
        d = self.directory
        options = {
            "Dir::State": d, "Dir::State::Lists": d / "lists", "Dir::State::status": d / "status", "Dir::Cache": d,
            "Dir::Cache::archives": d / "archives", "Dir::Etc::SourceList": d / "sources.list", "Dir::Etc::SourceParts": "/nonexistent",
            "Dir::Etc::preferences": "/nonexistent", "Dir::Etc::preferencesparts": "/nonexistent",
            "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false", "Acquire::Languages": "none",
        }
        command = [program] + [word for key, value in options.items() for word in ("-o", f"{key}={value}")] + list(words)
        done = subprocess.run(command, cwd=d / "archives", capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        return done

    def update(self, suites):
        """Fetches the lists of these suites and components, once."""
        if self.updated:
            return
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        if not os.path.exists(keyring):
            raise Failure(f"{keyring} is missing: install debian-archive-keyring")
        lines = [f"deb [arch=arm64 signed-by={keyring}] {self.mirror} {suite} {component}\n" for suite, component in sorted(suites)]
        (self.directory / "sources.list").write_text("".join(lines))
        done = self._run("apt-get", "update", "--error-on=any")
        if done.returncode != 0:
            raise Failure(f"apt cannot fetch the lists from {self.mirror}:\n{done.stderr.strip()}")
        self.updated = True

    def candidates(self, name, suite):
        """The stanzas of this package in this suite, as dictionaries."""
        rows = self._run("apt-cache", "madison", name).stdout.splitlines()
        versions = [row.split("|")[1].strip() for row in rows if f" {suite}/" in row.split("|")[2] and "Packages" in row]
        found = []
        for version in versions:
            text = self._run("apt-cache", "show", f"{name}={version}").stdout
            found.append(dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", text.split("\n\n")[0], re.MULTILINE)))
        return found

    def refresh(self, wishes):
        """What the archive has now for each wish."""
        self.update({(wish.suite, wish.component) for wish in wishes})
        return [self._newest(wish) for wish in wishes]

    def _newest(self, wish):
        found = [one for one in self.candidates(wish.name, wish.suite) if fnmatch.fnmatchcase(one["Version"], wish.version)]
        if not found:
            raise Failure(f"{wish.suite} has no {wish.name} {wish.version}: write into os-image/packages what is to be taken instead")
        newest = found[0]
        # linux-image-arm64 is a package without files that names the kernel of the day.
        real = re.match(r"(linux-image-[0-9]\S*)", newest.get("Depends", ""))
        if wish.name == "linux-image-arm64" and real:
            newest = next(one for one in self.candidates(real[1], wish.suite) if one["Version"] == newest["Version"])
        # `Source` is left out where it is the package's name and version; a version in brackets where that differs.
        name, _, version = newest.get("Source", newest["Package"]).partition(" ")
        source = f"{name}_{version.strip('()') or newest['Version']}"
        return Locked(wish.suite, wish.component, newest["Package"], newest["Version"], newest["Architecture"], source,
                      int(newest["Size"]), newest["SHA256"])

    def fetch(self, package, every):
        """The file of this package: kept, or fetched now. Its hash is right."""
        # As apt names it: a colon of an epoch cannot be in a file name everywhere.
        path = self.directory / "archives" / f"{package.name}_{package.version.replace(':', '%3a')}_{package.arch}.deb"
        if not path.exists():
            self.update({(one.suite, one.component) for one in every})
            done = self._run("apt-get", "download", f"{package.name}={package.version}")
            if done.returncode != 0 or not path.exists():
                newer = [one["Version"] for one in self.candidates(package.name, package.suite)]
                raise Failure(
                    f"{package.name} {package.version} is no longer in {package.suite} of {self.mirror}"
                    f" ({'which has ' + ', '.join(newer) if newer else 'which has none'}).\n"
                    "Either put the file, from where it is still kept, into\n"
                    f"  {path}\n"
                    "(its hash is checked), which gives the same image; or take what the archive has now with\n"
                    "  os-image/build --refresh\n"
                    f"and look at the difference in packages.lock, which gives another image.\n{done.stderr.strip()}")
        found = sha256(path)
        if found != package.sha256 or path.stat().st_size != package.size:
            path.rename(path.with_suffix(".refused"))
            raise Failure(f"{path.name} is not the file of packages.lock: its SHA-256 is {found}; it was renamed to .refused")
        return path


def write(path, packages):
    Path(path).write_text(HEADER + "".join(" ".join(str(field) for field in package) + "\n" for package in packages))


def unpack(file, directory):
    """The package's files, without its scripts."""
    subprocess.run(["dpkg-deb", "-x", str(file), str(directory)], check=True)


def main():
    """`packages.py [--mirror URL] [--lists DIR] CACHE fetch|refresh|stale`; prints the files, or what there is to say. The lists are those of
    the image, or others of the same form."""
    words = sys.argv[1:]
    mirror, here = None, Path(__file__).resolve().parent.parent
    while words and words[0] in ("--mirror", "--lists"):
        option, value, *words = words
        if option == "--mirror":
            mirror = value
        else:
            here = Path(value)
    cache, verb = words
    apt, lock = Apt(cache, mirror), here / "packages.lock"
    if verb == "fetch":
        every = locked(lock)
        for package in every:
            print(apt.fetch(package, every))
        return
    newest = apt.refresh(wanted(here / "packages"))
    # A list may have the same package of two suites.
    old = {(package.suite, package.name): package for package in locked(lock)} if lock.exists() else {}
    changed = [package for package in newest if old.get((package.suite, package.name)) != package]
    for package in changed:
        listed = old.get((package.suite, package.name))
        print(f"{package.name} {package.version} ({package.suite}), listed {listed.version if listed else 'not at all'}")
    if verb == "refresh":
        write(lock, newest)
    elif changed:
        sys.exit("os-image/packages.lock is stale: `os-image/build --refresh` takes these")
    else:
        print("the archive has nothing newer than os-image/packages.lock")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"\nerror: {failure}")
