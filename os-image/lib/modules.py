"""Which of the kernel's modules go into the image: the list `modules`, and what these need."""

import fnmatch
import lzma
import re
import subprocess
from pathlib import Path

from packages import Failure


def _braces(pattern):
    """`a{b,c}d` as `abd` and `acd`."""
    found = re.match(r"(.*)\{([^{}]*)\}(.*)$", pattern)
    return [found[1] + one + found[3] for one in found[2].split(",")] if found else [pattern]


def _name(path):
    """A module's name, of its file. The kernel does not tell `-` from `_`."""
    return re.sub(r"\.ko(\.xz)?$", "", path.rsplit("/", 1)[-1]).replace("-", "_")


def read(path):
    """The list: [(`load` or `have`, pattern)], in order."""
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] not in ("load", "have"):
            raise Failure(f"{path}, line {number}: a line begins with `load` or `have`")
        rows += [(words[0], pattern) for word in words[1:] for pattern in _braces(word)]
    return rows


def choose(rows, modules):
    """Pure: of the files of the kernel (`kernel/fs/ext4/ext4.ko.xz` …) those that the rows name, and what is always loaded.

    A row that names nothing is an error: a driver that has moved would be missed on the board only."""
    names = {_name(path): path for path in modules}
    chosen, load = set(), []
    for verb, pattern in rows:
        if "/" in pattern:
            hits = [path for path in modules if fnmatch.fnmatchcase(re.sub(r"\.xz$", "", path), pattern)]
        else:
            hits = [names[pattern.replace("-", "_")]] if pattern.replace("-", "_") in names else []
        if not hits:
            raise Failure(f"os-image/modules: the kernel has no module {pattern}")
        chosen.update(hits)
        if verb == "load":
            load += [_name(path) for path in hits]
    return chosen, load


def needs(dep_file):
    """`modules.dep` as {file: [files it needs]}."""
    table = {}
    for line in Path(dep_file).read_text().splitlines():
        path, _, rest = line.partition(":")
        table[path] = rest.split()
    return table


def depmod(base, release):
    subprocess.run(["/usr/sbin/depmod", "-b", str(base), release], check=True)


def install(list_file, kernel_root, target, release):
    """Puts the chosen modules, decompressed with their signatures as they are, below `target/lib/modules/release` with their tables."""
    source = Path(kernel_root) / "lib/modules" / release
    depmod(kernel_root, release)
    table = needs(source / "modules.dep")
    chosen, load = choose(read(list_file), sorted(table))
    # What modules.dep names is complete: depmod has followed it to the end.
    wanted = chosen | {one for path in chosen for one in table[path]}
    destination = Path(target) / "lib/modules" / release
    for path in sorted(wanted):
        file = destination / re.sub(r"\.xz$", "", path)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (source / path).read_bytes()
        text = lzma.decompress(text) if path.endswith(".xz") else text
        if not text.endswith(b"~Module signature appended~\n"):
            raise Failure(f"{path} is not signed: a locked-down kernel would refuse it")
        file.write_bytes(text)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (destination / name).write_bytes((source / name).read_bytes())
    depmod(target, release)
    keep = {"modules.dep", "modules.alias", "modules.builtin"}
    for file in destination.glob("modules.*"):
        if file.name not in keep:
            file.unlink()
    etc = Path(target) / "etc/sonde"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "modules").write_text("".join(f"{name}\n" for name in load))
    return len(wanted)
