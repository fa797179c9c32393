"""The card's image: an MBR, the boot partition as FAT32, room for the state. Files alone, no loop device, nobody needs to be root.

An MBR and type 0x0C, not GPT and 0xEF, because the ROM of a Raspberry Pi 3 reads only that, while UEFI takes any FAT partition of
a removable disk. The state partition is left empty: sonde-os writes its template there at the first start.
"""

import os
import struct
import subprocess
from pathlib import Path

SECTOR = 512
MIB = 1024 * 1024
# Where the first partition begins, as every tool does it.
START = MIB
# Room for three signed files of some 60 MB: two slots and one that is being written.
BOOT = 256 * MIB
STATE = 128 * MIB
# "SOND": the MBR's signature, and the FAT's number.
SIGNATURE = 0x534F4E44
LABEL = "SONDE"
# What is written on a card in use: the settings by people, the count of tries by U-Boot and sonde-os.
CHANGING = ("sonde.toml", "ab.env")


def mbr():
    """The first sector: two partitions, no code."""
    def entry(active, kind, start, length):
        # The old addresses by heads and cylinders say "beyond": only the ones by sectors count.
        return struct.pack("<B3sB3sII", active, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start // SECTOR, length // SECTOR)

    table = entry(0x80, 0x0C, START, BOOT) + entry(0, 0x83, START + BOOT, STATE)
    return bytes(440) + struct.pack("<IH", SIGNATURE, 0) + table.ljust(64, b"\0") + b"\x55\xaa"


def _as_of(time):
    """The environment in which mtools writes this time into directories, whatever zone the builder lives in."""
    return {**os.environ, "SOURCE_DATE_EPOCH": str(time), "TZ": "UTC", "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}


def fat(path, files, time):
    """A FAT32 of `BOOT` bytes with these files ({name on the card: file})."""
    path = Path(path)
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(BOOT)
    environment = _as_of(time)
    # Number and label are given, so nothing is of the moment.
    subprocess.run(["/usr/sbin/mkfs.vfat", "--invariant", "-F", "32", "-s", "4", "-S", str(SECTOR), "-h", str(START // SECTOR), "-i", f"{SIGNATURE:08X}",
                    "-n", LABEL, str(path)], check=True, env=environment, stdout=subprocess.DEVNULL)
    folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
    for folder in folders:
        subprocess.run(["mmd", "-i", str(path), f"::{folder}"], check=True, env=environment)
    for name in sorted(files):
        # Not -m: the files' own times are those of the builder's disk.
        subprocess.run(["mcopy", "-i", str(path), str(files[name]), f"::{name}"], check=True, env=environment)


def write(path, boot):
    """The whole image, sparse."""
    with open(path, "wb") as out, open(boot, "rb") as source:
        out.write(mbr())
        out.seek(START)
        while block := source.read(MIB):
            if any(block):
                out.write(block)
            else:
                out.seek(len(block), os.SEEK_CUR)
        out.truncate(START + BOOT + STATE)
