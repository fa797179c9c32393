"""Names of the workspace's integration tests that match none of the patterns given, one a line. Reads `cargo metadata`."""

import fnmatch
import json
import sys

names = {
    target["name"]
    for package in json.load(sys.stdin)["packages"]
    for target in package["targets"]
    if target["kind"] == ["test"] and target["test"]
}
for name in sorted(names):
    if not any(fnmatch.fnmatch(name, pattern) for pattern in sys.argv[1:]):
        print(name)
