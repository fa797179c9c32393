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


def os_release(version, time):
    return (f'NAME="Sonde"\nPRETTY_NAME="Sonde {version}"\nID=sonde\nIMAGE_ID=sonde\nVERSION_ID={version}\nIMAGE_VERSION={version}\n'
            f"SONDE_BUILD_TIME={time}\n")


def tree(root, unpacked, release, programs, version, time, scratch):
    """The files of the initramfs."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for name, program in programs.items():
        shutil.copyfile(program, root / name)
        (root / name).chmod(0o755)
    (root / "etc/os-release").write_text(os_release(version, time))
    (root / "etc/passwd").write_text(f"root:x:0:0::/:/nonexistent\nsonde-probe:x:{PROBE_ID}:{PROBE_ID}::/var/empty:/nonexistent\n")
    (root / "etc/group").write_text(f"root:x:0:\nsonde-probe:x:{PROBE_ID}:\n")
    count = modules.install(HERE / "modules", unpacked, root, release)
    (root / "etc/sonde/state.template").write_bytes(state.template(scratch / "state", time))
    return count


def ukify(tool, stub, kernel, initrd, root, release, time, out):
    """The signed file before it is signed: systemd's stub with kernel, initramfs and command line as sections."""
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
    work, out = Path(options.work), Path(options.out)
    shutil.rmtree(work, ignore_errors=True)
    (work / "root").mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    unpacked = work / "packages"
    for file in options.package:
        packages.unpack(file, unpacked)
    release = release_of(unpacked)
    version, time = options.version, options.time
    programs = {"init": options.init, "bin/sonde-probe": options.probe}
    count = tree(work / "root", unpacked, release, programs, version, time, work)
    cpio = initramfs.archive(work / "root", time)
    (work / "initramfs.cpio").write_bytes(cpio)
    subprocess.run(["zstd", "-q", "-f", "-19", "-T1", "--no-progress", str(work / "initramfs.cpio"), "-o", str(work / "initramfs.cpio.zst")], check=True)
    kernel = one(unpacked, "boot/vmlinuz-*")
    efi = unpacked / "usr/lib/systemd/boot/efi"
    unsigned = out / f"sonde_{version}.unsigned.efi"
    ukify(one(unpacked, "usr/bin/ukify"), efi / "linuxaa64.efi.stub", kernel, work / "initramfs.cpio.zst", work / "root", release, time, unsigned)
    sign(options, options.signed, unsigned, out / f"sonde_{version}.efi")
    sign(options, options.signed_loader, efi / "systemd-bootaa64.efi", work / "BOOTAA64.EFI")
    shutil.copyfile(kernel, work / "Image")
    firmware, trees = unpacked / "usr/lib/raspi-firmware", unpacked / f"usr/lib/linux-image-{release}/broadcom"
    files = {
        "EFI/BOOT/BOOTAA64.EFI": work / "BOOTAA64.EFI",
        f"EFI/Linux/sonde_{version}.efi": out / f"sonde_{version}.efi",
        "loader/loader.conf": work / "loader.conf",
        "config.txt": work / "config.txt",
        "sonde.toml": work / "sonde.toml",
        "u-boot.bin": unpacked / "usr/lib/u-boot/rpi_arm64/u-boot.bin",
        **{name: firmware / name for name in FIRMWARE},
        **{f"{name}.dtb": trees / f"{name}.dtb" for name in TREES},
    }
    for name in ("loader.conf", "config.txt", "sonde.toml"):
        shutil.copyfile(HERE / "card" / name, work / name)
    # What verify-image compares on a card; the settings are everybody's own.
    listed = "".join(f"{packages.sha256(path)}  {name}\n" for name, path in sorted(files.items()) if name != "sonde.toml")
    (out / f"sonde-os-{version}-arm64.boot.sha256").write_text(listed)
    card.fat(work / "boot.fat", files, time)
    card.write(out / f"sonde-os-{version}-arm64.img", work / "boot.fat")
    size = len(cpio)
    print(f"{release}, {count} modules, initramfs {size} bytes ({(work / 'initramfs.cpio.zst').stat().st_size} packed), "
          f"signed file {(out / f'sonde_{version}.efi').stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(prog="image.py", description=__doc__)
    for name in ("work", "out", "version", "init", "probe"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--time", type=int, required=True)
    for name in ("key", "cert", "signed", "signed-loader"):
        parser.add_argument(f"--{name}")
    parser.add_argument("package", nargs="+")
    build(parser.parse_args())


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"\nerror: {failure}")
