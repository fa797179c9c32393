"""U-Boot's script as it reads it: a legacy image (`mkimage -T script`), written here so that its time is said and nobody needs mkimage.

The header is `struct legacy_img_hdr` of U-Boot's include/image.h, big-endian; the data of a script begins with a list of lengths that ends
with a zero.
"""

import struct
import zlib
from pathlib import Path

MAGIC = 0x27051956
# IH_OS_LINUX, IH_ARCH_ARM64, IH_TYPE_SCRIPT, IH_COMP_NONE.
KIND = (5, 22, 6, 0)
NAME = b"sonde"


def image(source, out, time):
    """Writes the script `source` into `out`."""
    text = Path(source).read_bytes()
    data = struct.pack(">II", len(text), 0) + text

    def header(checksum):
        return struct.pack(">7I4B32s", MAGIC, checksum, time, len(data), 0, 0, zlib.crc32(data), *KIND, NAME)

    Path(out).write_bytes(header(zlib.crc32(header(0))) + data)
