"""Files that scenarios name: `noise-640x480` is a PNG of noise of that size, `text` is no picture."""

import hashlib
import random
import re
import struct
import zlib


def png(width, height, rgb):
    """A PNG of 8-bit RGB rows."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + rgb[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def make(name, folder):
    """The path of the file of a name, and its hash."""
    path = folder / name
    if not path.exists():
        size = re.fullmatch(r"noise-(\d+)x(\d+)", name)
        if size:
            width, height = map(int, size.groups())
            data = png(width, height, random.Random(name).randbytes(width * height * 3))
        elif name == "text":
            data = b"these are words and no picture\n" * 20
        else:
            raise ValueError(f"no file {name!r}: there are noise-WIDTHxHEIGHT and text")
        path.write_bytes(data)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()
