"""Pictures in and out: bytes of files, paths, Pillow images and NumPy arrays. Pillow and NumPy are asked for only when they are
used."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any, Union

from easel import _errors

if TYPE_CHECKING:
    import numpy
    import PIL.Image

    PictureLike = Union[bytes, bytearray, memoryview, str, os.PathLike[str], PIL.Image.Image, numpy.ndarray[Any, Any]]
else:
    PictureLike = Any

# Colour types of PNG by the number of channels.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def file_of(picture: Any) -> bytes:
    """The bytes of a picture file. Arrays are (height, width) or (height, width, 1 to 4 channels) of uint8 or uint16, and Pillow
    images are written as PNG; both without loss."""
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, (str, os.PathLike)):
        with open(picture, "rb") as file:
            return file.read()
    if hasattr(picture, "__array_interface__") and hasattr(picture, "dtype"):
        return _from_array(picture)
    if hasattr(picture, "save") and hasattr(picture, "mode"):
        out = io.BytesIO()
        keep = picture if picture.mode in ("L", "LA", "RGB", "RGBA", "P", "I;16") else picture.convert("RGB")
        keep.save(out, "PNG", compress_level=1)
        return out.getvalue()
    raise _errors.setup(f"a picture is bytes, a path, a Pillow image or a NumPy array, not {type(picture).__name__}")


def png(width: int, height: int, channels: int, depth: int, rows: bytes) -> bytes:
    """A PNG of raw rows: 1 to 4 channels (grey, grey with alpha, RGB, RGBA) of 8 bits, or of 16 bits with the high byte first."""
    stride = width * channels * depth // 8
    if len(rows) != stride * height:
        raise _errors.setup(f"{width} x {height} pixels need {stride * height} bytes, not {len(rows)}")
    lines = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[channels], 0, 0, 0)
    body = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in body)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _from_array(array: Any) -> bytes:
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise _errors.setup(f"an array must be (height, width) or (height, width, 1 to 4), not {array.shape}")
    if str(array.dtype) not in ("uint8", "uint16"):
        raise _errors.setup(f"an array must be uint8 or uint16, not {array.dtype}")
    depth = array.dtype.itemsize * 8
    swap = depth == 16 and (array.dtype.byteorder == "<" or (array.dtype.byteorder == "=" and sys.byteorder == "little"))
    rows = array.byteswap().tobytes() if swap else array.tobytes()
    return png(array.shape[1], array.shape[0], array.shape[2] if array.ndim == 3 else 1, depth, rows)


def to_pillow(file: bytes) -> PIL.Image.Image:
    """A Pillow image of the bytes of a picture file. Needs Pillow: ``pip install easel[pillow]``."""
    try:
        import PIL.Image
    except ImportError:
        raise _errors.setup("Pillow is not installed: pip install easel[pillow]") from None
    image = PIL.Image.open(io.BytesIO(file))
    image.load()
    return image


def to_numpy(file: bytes) -> numpy.ndarray[Any, Any]:
    """An array (height, width, channels) of the bytes of a picture file. Needs NumPy and Pillow."""
    try:
        import numpy
    except ImportError:
        raise _errors.setup("NumPy is not installed: pip install easel[numpy,pillow]") from None
    array = numpy.asarray(to_pillow(file))
    return array if array.ndim == 3 else array[:, :, None]
