"""The initramfs: a tree of files as a cpio archive (`newc`), the same bytes for the same tree.

Written here and not by cpio(1), because owner, times, numbers and device nodes are said and not those of the builder's disk,
and because nobody needs to be root for a node.
"""

import os
import stat
from pathlib import Path

# Type and permissions of the nodes that exist before anything is mounted: (path, mode, major, minor).
NODES = [("dev/console", stat.S_IFCHR | 0o600, 5, 1)]


def _entry(number, name, mode, links, time, data=b"", device=(0, 0)):
    fields = [number, mode, 0, 0, links, time, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def archive(tree, time):
    """The bytes of the archive. Everything belongs to root; only the owner's bit for execution counts of a file's permissions."""
    tree = Path(tree)
    found = {}
    for directory, folders, files in os.walk(tree):
        for name in folders:
            path = Path(directory) / name
            found[str(path.relative_to(tree))] = (stat.S_IFDIR | 0o755, 2, b"", (0, 0))
        for name in files:
            path = Path(directory) / name
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            found[str(path.relative_to(tree))] = (stat.S_IFREG | mode, 1, path.read_bytes(), (0, 0))
    for name, mode, major, minor in NODES:
        found[name] = (mode, 1, b"", (major, minor))
    # Sorted by the parts of the path, so that a folder comes before what is in it.
    names = sorted(found, key=lambda name: name.split("/"))
    out = [_entry(number, name, found[name][0], found[name][1], time, found[name][2], found[name][3]) for number, name in enumerate(names, 1)]
    text = b"".join(out) + _entry(0, "TRAILER!!!", 0, 1, 0)
    return text + b"\0" * (-len(text) % 512)
