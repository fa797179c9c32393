"""Puts the image together out of unpacked packages and two programs. `build` beside this folder is what people call.

Everything here is told where things are and what time it is: two calls with the same arguments in two places give the same bytes.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import card
import initramfs
import modules
import packages
import script
import state
from packages import Failure

HERE = Path(__file__).resolve().parent.parent
# The probe's account in the image. sonde-os names the same number.
PROBE_ID = 900
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "state", "boot", "bin", "etc", "var/empty")

# What a Raspberry Pi's own firmware needs beside config.txt; the trees are those of the boards that the documentation names.
FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
TREES = ("bcm2837-rpi-3-a-plus", "bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus", "bcm2837-rpi-zero-2-w", "bcm2711-rpi-4-b", "bcm2711-rpi-400",
         "bcm2711-rpi-cm4-io")


def one(directory, pattern):
    """The only file that the pattern names."""
    found = sorted(Path(directory).glob(pattern))
    if len(found) != 1:
        raise Failure(f"{pattern} names {len(found)} files in the packages, and should name one")
    return found[0]


def os_release(options):
    """The number decides which system is newer, for the boot loader and for everything of ours; the name is for people."""
    return (f'NAME="Sonde"\nPRETTY_NAME="Sonde {options.name}"\nID=sonde\nIMAGE_ID=sonde\nVERSION_ID={options.name}\n'
            f"IMAGE_VERSION={options.number}\nSONDE_BUILD_TIME={options.time}\nSONDE_TRIAL_SECONDS={options.trial}\n")


def own(root, options):
    """What makes this system another than the next one built of the same sources: programs, number and name, whom it trusts."""
    for name, program in (("init", options.init), ("bin/sonde-probe", options.probe)):
        if program:
            shutil.copyfile(program, root / name)
            (root / name).chmod(0o755)
    (root / "etc/os-release").write_text(os_release(options))
    trusted = root / "etc/sonde/root.json"
    trusted.unlink(missing_ok=True)
    if options.update_root:
        shutil.copyfile(options.update_root, trusted)
        trusted.chmod(0o644)


def tree(root, unpacked, release, options, scratch):
    """The files of the initramfs."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text(f"root:x:0:0::/:/nonexistent\nsonde-probe:x:{PROBE_ID}:{PROBE_ID}::/var/empty:/nonexistent\n")
    (root / "etc/group").write_text(f"root:x:0:\nsonde-probe:x:{PROBE_ID}:\n")
    count = modules.install(HERE / "modules", unpacked, root, release)
    (root / "etc/sonde/state.template").write_bytes(state.template(scratch / "state", options.time))
    own(root, options)
    return count


def pack(work, options):
    """The initramfs, packed. Gives its two lengths."""
    cpio, packed = work / "initramfs.cpio", work / "initramfs.cpio.zst"
    cpio.write_bytes(initramfs.archive(work / "root", options.time))
    subprocess.run(["zstd", "-q", "-f", f"-{options.level}", "-T1", "--no-progress", str(cpio), "-o", str(packed)], check=True)
    return cpio.stat().st_size, packed.stat().st_size


def ukify(work, release, time, out):
    """The signed file before it is signed: systemd's stub with kernel, initramfs and command line as sections."""
    unpacked, root = work / "packages", work / "root"
    tool, kernel = one(unpacked, "usr/bin/ukify"), one(unpacked, "boot/vmlinuz-*")
    stub, initrd = unpacked / "usr/lib/systemd/boot/efi/linuxaa64.efi.stub", work / "initramfs.cpio.zst"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(time), "LC_ALL": "C.UTF-8"}
    subprocess.run(["/usr/bin/python3", str(tool), "build", "--config", "/dev/null", "--efi-arch", "aa64", "--stub", str(stub), "--linux", str(kernel),
                    "--initrd", str(initrd), "--cmdline", (HERE / "cmdline").read_text().strip(), "--os-release", f"@{root}/etc/os-release",
                    "--uname", release, "--output", str(out)], check=True, env=environment, stdout=subprocess.DEVNULL)


def sign(options, given, source, out):
    """Authenticode by sbsign. In a check `given` is what was signed before and is taken as it is; without a key nothing is signed."""
    if options.key:
        done = subprocess.run(["sbsign", "--key", options.key, "--cert", options.cert, "--output", str(out), str(source)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"sbsign cannot sign {source}: {done.stderr.strip()}")
    else:
        shutil.copyfile(given or source, out)


def release_of(unpacked):
    """The kernel's own name of itself."""
    return one(unpacked, "lib/modules/*").name


def build(options):
    """Everything: the signed file and the card."""
    work, out = Path(options.work), Path(options.out)
    shutil.rmtree(work, ignore_errors=True)
    (work / "root").mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    unpacked = work / "packages"
    for file in options.package:
        packages.unpack(file, unpacked)
    release = release_of(unpacked)
    count = tree(work / "root", unpacked, release, options, work)
    size, packed = pack(work, options)
    system = out / f"sonde_{options.number}.efi"
    unsigned = system.with_suffix(".unsigned.efi")
    ukify(work, release, options.time, unsigned)
    sign(options, options.signed, unsigned, system)
    sign(options, options.signed_loader, unpacked / "usr/lib/systemd/boot/efi/systemd-bootaa64.efi", work / "BOOTAA64.EFI")
    cards(work, out, unpacked, release, system, options)
    print(f"{release}, {count} modules, initramfs {size} bytes ({packed} packed), signed file {system.stat().st_size} bytes")


def cards(work, out, unpacked, release, system, options):
    """The card that counts tries in the names of files and, if it is wanted, the one that counts them in a file."""
    shutil.copyfile(one(unpacked, "boot/vmlinuz-*"), work / "Image")
    firmware, trees = unpacked / "usr/lib/raspi-firmware", unpacked / f"usr/lib/linux-image-{release}/broadcom"
    for name in ("loader.conf", "config.txt", "sonde.toml"):
        shutil.copyfile(HERE / "card" / name, work / name)
    files = {
        "config.txt": work / "config.txt",
        "sonde.toml": work / "sonde.toml",
        "u-boot.bin": unpacked / "usr/lib/u-boot/rpi_arm64/u-boot.bin",
        **{name: firmware / name for name in FIRMWARE},
        **{f"{name}.dtb": trees / f"{name}.dtb" for name in TREES},
    }
    stem = out / f"sonde-os-{options.name}-arm64"
    by_name = {
        "EFI/BOOT/BOOTAA64.EFI": work / "BOOTAA64.EFI",
        f"EFI/Linux/{system.name}": system,
        "loader/loader.conf": work / "loader.conf",
    }
    one_card(work, stem, {**files, **by_name}, options.time)
    if options.counter_card:
        script.image(HERE / "card/boot.cmd", work / "boot.scr", options.time)
        # One sector, as the script writes it.
        (work / "ab.env").write_bytes((HERE / "card/ab.env").read_bytes().ljust(card.SECTOR, b"\0"))
        # No BOOTAA64.EFI: U-Boot would start that first.
        by_file = {"boot.scr": work / "boot.scr", "ab.env": work / "ab.env", "slot_a.efi": system}
        one_card(work, Path(f"{stem}-counter"), {**files, **by_file}, options.time)


def one_card(work, stem, files, time):
    """One card's image, and the list of what is on it, which verify-image compares: but the settings, which are everybody's own."""
    listed = "".join(f"{packages.sha256(path)}  {name}\n" for name, path in sorted(files.items()) if name not in card.CHANGING)
    Path(f"{stem}.boot.sha256").write_text(listed)
    card.fat(work / "boot.fat", files, time)
    card.write(f"{stem}.img", work / "boot.fat")


def again(options):
    """Another signed file of the last build's parts, with another number, programs or root; quickly, so packed loosely. For tests."""
    last, work, out = Path(options.work), Path(options.again), Path(options.out)
    if not (last / "root").is_dir() or not (last / "packages").is_dir():
        raise Failure(f"{last} has nothing of a build: os-image/build first")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(last / "root", work / "root", symlinks=True)
    (work / "packages").symlink_to((last / "packages").resolve())
    own(work / "root", options)
    pack(work, options)
    unsigned, system = work / "unsigned.efi", out / f"sonde_{options.number}.efi"
    ukify(work, release_of(work / "packages"), options.time, unsigned)
    sign(options, None, unsigned, system)
    shutil.rmtree(work)
    print(system)


def main():
    parser = argparse.ArgumentParser(prog="image.py", description=__doc__)
    for name in ("work", "out", "name"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("time", "number", "trial"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("init", "probe", "key", "cert", "signed", "signed-loader", "update-root", "again"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--level", type=int, default=19)
    parser.add_argument("--counter-card", action="store_true")
    parser.add_argument("package", nargs="*")
    options = parser.parse_args()
    again(options) if options.again else build(options)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"\nerror: {failure}")
