"""The digest of an EFI program that its signature covers: the same before and after signing (Authenticode, SHA-256).

It is what a volunteer compares: the signature needs the vendor's key, everything else anybody can build again.
"""

import hashlib
import struct
import sys

from packages import Failure


def digest(image):
    """Of the bytes of a PE32+ file. Everything counts but the checksum, the place of the signatures, and the signatures."""
    (header,) = struct.unpack_from("<I", image, 0x3C)
    optional = header + 24
    magic = struct.unpack_from("<H", image, optional)[0]
    if image[:2] != b"MZ" or image[header:header + 4] != b"PE\0\0" or magic != 0x20B:
        raise Failure("not an EFI program of 64 bits")
    checksum, place = optional + 64, optional + 112 + 4 * 8
    start, size = struct.unpack_from("<II", image, place)
    end = start if size else len(image)
    counted = image[:checksum] + image[checksum + 4:place] + image[place + 8:end]
    # Signing fills up to eight bytes before it appends.
    return hashlib.sha256(counted + b"\0" * (-end % 8)).hexdigest()


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            print(digest(file.read()), path)
