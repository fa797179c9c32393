"""What the image consists of: a CycloneDX list, and every licence text, beside the image.

Of Debian's packages those of packages.lock; of Rust's crates those that the two programs are linked of, by cargo's own account.
"""

import argparse
import datetime
import json
import re
import subprocess
import uuid
from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent.parent
PROGRAMS = ("sonde-os", "sonde-probe")
TARGET = "aarch64-unknown-linux-musl"
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# The texts that Debian's copyright files only point to.
COMMON = ("GPL-2", "LGPL-2.1", "Apache-2.0")


def crates():
    """The packages of cargo's metadata that are linked into one of the programs, with the hashes of Cargo.lock. Sorted."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE).stdout)
    every = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in every.items() if package["name"] in PROGRAMS and package["source"] is None]
    reached = set()
    while waiting:
        id = waiting.pop()
        if id in reached:
            continue
        reached.add(id)
        # What only builds or tests is not in the program.
        waiting += [dep["pkg"] for dep in nodes[id]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    lock = (HERE.parent / "Cargo.lock").read_text()
    sums = {(name, version): checksum for name, version, checksum in
            re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = [^\n]+\nchecksum = "([0-9a-f]{64})"', lock)}
    found = [(every[id], sums.get((every[id]["name"], every[id]["version"]))) for id in reached]
    return sorted(found, key=lambda row: (row[0]["name"], row[0]["version"]))


def bill(version, time, debian, rust):
    """The CycloneDX document. Its number is made of its contents."""
    components = []
    for package in debian:
        purl = f"pkg:deb/debian/{package.name}@{package.version}?arch={package.arch}&distro={package.suite}"
        components.append({"type": "operating-system" if package.name.startswith("linux-") else "firmware", "bom-ref": purl, "name": package.name,
                           "version": package.version, "purl": purl, "hashes": [{"alg": "SHA-256", "content": package.sha256}],
                           "properties": [{"name": "debian:source", "value": package.source.replace("_", " ")}]})
    for package, checksum in rust:
        row = {"type": "application" if package["name"] in PROGRAMS else "library", "name": package["name"], "version": package["version"],
               "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}]}
        if checksum:
            row["purl"] = row["bom-ref"] = f"pkg:cargo/{package['name']}@{package['version']}"
            row["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(row)
    made = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": made, "component": {"type": "firmware", "name": "sonde-os", "version": version}},
        "components": components,
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "serialNumber": f"urn:uuid:{number}", **document}


def texts(unpacked, debian, rust):
    """All licence texts, one after the other; the same text of several crates once."""
    out = []
    for package in debian:
        path = unpacked / "usr/share/doc" / package.name / "copyright"
        out.append((f"Debian package {package.name} {package.version}, source package {package.source.replace('_', ' ')}",
                    path.read_text(errors="replace")))
    for name in COMMON:
        path = Path("/usr/share/common-licenses") / name
        if path.exists():
            out.append((f"{name}, which the above name", path.read_text(errors="replace")))
    crates_of = {}
    for package, _ in rust:
        folder = Path(package["manifest_path"]).parent
        # The workspace's own programs have theirs in its root.
        folder = HERE.parent if package["source"] is None else folder
        files = sorted(path for path in folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name))
        text = "\n\n".join(path.read_text(errors="replace").strip() for path in files)
        text = text or f"(no text in the crate; its licence is {package['license']})"
        crates_of.setdefault(text, []).append(f"{package['name']} {package['version']} ({package['license']})")
    for text, names in sorted(crates_of.items(), key=lambda row: row[1]):
        out.append(("Rust crates " + ", ".join(names), text))
    rule = "=" * 100
    return "".join(f"{rule}\n{title}\n{rule}\n\n{text.strip()}\n\n" for title, text in out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("out", "version", "unpacked"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--time", type=int, required=True)
    options = parser.parse_args()
    debian, rust = packages.locked(HERE / "packages.lock"), crates()
    stem = Path(options.out) / f"sonde-os-{options.version}-arm64"
    document = json.dumps(bill(options.version, options.time, debian, rust), indent=1)
    Path(f"{stem}.cdx.json").write_text(document + "\n")
    Path(f"{stem}.licences.txt").write_text(texts(Path(options.unpacked), debian, rust))
    print(f"{len(debian)} packages of Debian, {len(rust)} crates")


if __name__ == "__main__":
    main()
