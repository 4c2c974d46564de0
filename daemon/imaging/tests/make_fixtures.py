"""Writes tests/fixtures: small files in every mode that Pillow can write, beside the RGB that Pillow reads from them.

    python -m venv venv && venv/bin/pip install pillow numpy && venv/bin/python tests/make_fixtures.py

Each `name.ext` has `name.ext.rgb`, the bytes of diffusers.utils.load_image: exif_transpose, then convert("RGB").
`fixtures.json` has the sizes, the difference that is allowed, and the version of Pillow.
"""
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, PngImagePlugin

FOLDER = Path(__file__).parent / "fixtures"
JPEG_TOLERANCE = 3  # decoders of lossy files differ in the last bits
rows = []


def scene(width=24, height=16, seed=0):
    """Smooth colours with edges and a little noise."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 9, (height, width, 3))
    base = np.stack([x * 255 // width, y * 255 // height, (x * 7 + y * 11) % 256], -1) * 240 // 255
    base[2:5, 3:9] = (250, 10, 30)
    return Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))


def alpha(width=24, height=16):
    return Image.fromarray((np.mgrid[0:height, 0:width][1] * 255 // (width - 1)).astype(np.uint8))


def keep(name, data, tolerance=0):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    (FOLDER / name).write_bytes(data)
    (FOLDER / f"{name}.rgb").write_bytes(picture.tobytes())
    rows.append({"file": name, "width": picture.width, "height": picture.height, "tolerance": tolerance})


def save(name, picture, tolerance=0, **options):
    file = io.BytesIO()
    picture.save(file, Image.registered_extensions()[Path(name).suffix], **options)
    keep(name, file.getvalue(), tolerance)


def png(name, width, height, kind, raw_rows, chunks=()):
    """A PNG by hand, for what Pillow does not write. kind: (bit depth, colour type, interlace)."""
    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    depth, colour, interlace = kind
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = b"".join(chunk(tag, data) for tag, data in chunks)
    data = zlib.compress(b"".join(raw_rows))
    keep(name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def words(count, seed=1):
    values = np.random.default_rng(seed).integers(0, 65536, count)
    values[:8] = (0, 1, 254, 255, 256, 32768, 65280, 65535)
    return values.astype(">u2")


def adam7(pixels):
    """The filtered rows of the seven passes over pixels of shape (height, width, bytes)."""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in pixels[y::dy, x::dx]:
            if row.size:
                yield b"\0" + row.tobytes()


def pngs(picture):
    transparent = picture.convert("RGBA")
    transparent.putalpha(alpha())
    grey_alpha = picture.convert("L").convert("LA")
    grey_alpha.putalpha(alpha())
    palette = picture.quantize(32)
    save("rgb.png", picture)
    save("rgba.png", transparent)
    save("grey.png", picture.convert("L"))
    save("grey_alpha.png", grey_alpha)
    save("bilevel.png", picture.convert("1"))
    save("palette.png", palette)
    save("palette_one_transparent.png", palette, transparency=3)
    save("palette_alphas.png", palette, transparency=bytes(range(0, 256, 8)))
    save("palette_4bit.png", picture.quantize(13), bits=4)
    save("rgb_transparent_colour.png", picture, transparency=picture.getpixel((0, 0)))
    save("grey_transparent_value.png", picture.convert("L"), transparency=77)
    save("grey16_by_pillow.png", Image.fromarray(words(24 * 16).reshape(16, 24).astype(np.uint16)))
    for name, colour, channels in (("grey16", 0, 1), ("grey_alpha16", 4, 2), ("rgb16", 2, 3), ("rgba16", 6, 4)):
        lines = words(24 * 16 * channels).reshape(16, -1)
        png(f"{name}.png", 24, 16, (16, colour, 0), [b"\0" + line.tobytes() for line in lines])
    lines = words(24 * 16).reshape(16, -1)
    png("grey16_transparent_value.png", 24, 16, (16, 0, 0), [b"\0" + line.tobytes() for line in lines], [(b"tRNS", b"\0\1")])
    for depth in (2, 4):
        data = np.random.default_rng(2).integers(0, 256, (16, 24 * depth // 8), dtype=np.uint8)
        png(f"grey_{depth}bit.png", 24, 16, (depth, 0, 0), [b"\0" + line.tobytes() for line in data])
    png("interlaced.png", 24, 16, (8, 2, 1), adam7(np.asarray(picture)))
    png("interlaced_tiny.png", 3, 2, (8, 2, 1), adam7(np.asarray(picture)[:2, :3]))
    png("gamma.png", 24, 16, (8, 2, 0), [b"\0" + row.tobytes() for row in np.asarray(picture)], [(b"gAMA", struct.pack(">I", 100000))])


def others(picture):
    transparent = picture.convert("RGBA")
    transparent.putalpha(alpha())
    large = scene(50, 37)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        save(f"{name}.jpg", large, JPEG_TOLERANCE, quality=90, subsampling=subsampling)
    save("progressive.jpg", large, JPEG_TOLERANCE, quality=90, progressive=True)
    save("restarts.jpg", large, JPEG_TOLERANCE, quality=90, restart_marker_blocks=2)
    save("grey.jpg", large.convert("L"), JPEG_TOLERANCE, quality=90)
    save("cmyk.jpg", large.convert("CMYK"), JPEG_TOLERANCE, quality=90)
    save("lossless.webp", picture, lossless=True)
    save("lossless_alpha.webp", transparent, lossless=True, exact=True)
    save("lossy.webp", large, JPEG_TOLERANCE, quality=80)
    save("animation.webp", picture, lossless=True, save_all=True, append_images=[scene(seed=5)])
    save("plain.gif", picture.quantize(32))
    save("transparent.gif", picture.quantize(32), transparency=3)
    save("animation.gif", picture.quantize(32), save_all=True, append_images=[scene(seed=5).quantize(32)])
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        source = picture.quantize(32) if mode == "P" else picture.convert(mode)
        save(f"{mode.lower()}.bmp", source)
    for mode in ("1", "L", "RGB", "RGBA"):
        save(f"{mode.lower()}.tiff", transparent.convert(mode))
    save("grey16.tiff", Image.fromarray(words(24 * 16).reshape(16, 24).astype(np.uint16)))
    save("cmyk.tiff", picture.convert("CMYK"), 1)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        save(f"{compression}.tiff", picture, compression=compression)


def orientations():
    picture = scene(14, 10)
    large = scene(40, 24)
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        save(f"exif{value}.png", picture, exif=exif)
        save(f"exif{value}.jpg", large, JPEG_TOLERANCE, quality=92, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("exif6.webp", picture, lossless=True, exif=exif)
    save("exif6.tiff", picture, exif=exif)
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    save("xmp8.jpg", large, JPEG_TOLERANCE, quality=92, subsampling=0, xmp=xmp.encode())
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp)
    save("xmp8.png", picture, pnginfo=text)


def refused(picture):
    """Files that Pillow reads and we do not: a clear error each."""
    picture.quantize(32).save(FOLDER / "refused_palette.tiff")
    picture.convert("LA").save(FOLDER / "refused_grey_alpha.tiff")


def resizes(picture):
    """The scene in other sizes; some lose many more rows than columns, where Pillow begins with the columns."""
    sizes = []
    for width, height in ((7, 5), (24, 3), (23, 2), (20, 7), (20, 8), (60, 40), (5, 64), (1, 1), (40, 4), (24, 31), (96, 16)):
        made = {}
        for name, kernel in (("lanczos", Image.LANCZOS), ("triangle", Image.BILINEAR)):
            made[name] = picture.resize((width, height), kernel).tobytes()
        (FOLDER / f"resize_{width}x{height}.rgb").write_bytes(made["lanczos"] + made["triangle"])
        sizes.append({"width": width, "height": height})
    return sizes


FOLDER.mkdir(exist_ok=True)
for old in FOLDER.iterdir():
    old.unlink()
pngs(scene())
others(scene())
orientations()
refused(scene())
listing = {"pillow": PIL.__version__, "files": rows, "resizes": resizes(scene())}
(FOLDER / "fixtures.json").write_text(json.dumps(listing, indent=1) + "\n")
