"""The template of the state partition: what mke2fs writes for an empty ext4, as a list of blocks.

Records of a little-endian 64-bit offset and 4096 bytes, offsets rising. It has every block that mke2fs writes, those of zeros
too: on a used card an old journal may lie where the new one will be, and must not be taken for it.
"""

import os
import struct
import subprocess
from pathlib import Path

BLOCK = 4096
# Without what serves growing, which the partition never does.
FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize," \
    "metadata_csum"
SIZE = 120 * 1024 * 1024
# Any value would do, as long as it is always the same one.
IDENTITY = "536f6e64-6500-4000-8000-737461746500"
# A byte that mke2fs writes nowhere for a whole block.
UNTOUCHED = b"\xa5" * BLOCK


def template(scratch, time):
    """The bytes of the template. `scratch` is a file to work in."""
    with open(scratch, "wb") as file:
        for _ in range(SIZE // BLOCK):
            file.write(UNTOUCHED)
    # The machine's own configuration would decide otherwise.
    config = Path(f"{scratch}.conf")
    config.write_text("[defaults]\n\tblocksize = 4096\n[fs_types]\n\text4 = {\n\t\tblocksize = 4096\n\t}\n\tsmall = {\n\t\tblocksize = 4096\n\t}\n")
    subprocess.run(
        ["/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", "256", "-m", "0", "-N", "2048", "-L", "sonde-state",
         "-U", IDENTITY, "-J", "size=4", "-e", "remount-ro", "-O", FEATURES,
         "-E", f"hash_seed={IDENTITY},lazy_itable_init=1,lazy_journal_init=0,nodiscard,root_owner=0:0", str(scratch)],
        check=True, env={**os.environ, "MKE2FS_CONFIG": str(config), "E2FSPROGS_FAKE_TIME": str(time)})
    out = []
    with open(scratch, "rb") as file:
        for offset in range(0, SIZE, BLOCK):
            block = file.read(BLOCK)
            if block != UNTOUCHED:
                out.append(struct.pack("<Q", offset) + block)
    return b"".join(out)


def apply(template_bytes, file):
    """Writes a template into an open file, as sonde-os does."""
    for at in range(0, len(template_bytes), 8 + BLOCK):
        (offset,) = struct.unpack_from("<Q", template_bytes, at)
        file.seek(offset)
        file.write(template_bytes[at + 8:at + 8 + BLOCK])
