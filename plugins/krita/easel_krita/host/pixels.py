"""Pixels between Krita and picture files, through Qt's own codecs. Krita's RGBA is blue, green, red, alpha, of 8 or 16 bits."""

from ..ui import QtCore, QtGui

_FORMATS = {8: QtGui.QImage.Format.Format_ARGB32, 16: QtGui.QImage.Format.Format_RGBA64}


def to_png(pixels, width, height, depth):
    """A PNG of the same depth."""
    image = QtGui.QImage(pixels, width, height, width * 4 * depth // 8, _FORMATS[depth])
    # In memory ARGB32 is blue first, as Krita has it; RGBA64 is red first.
    image = image.rgbSwapped() if depth == 16 else image
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(data)


def from_file(file, width, height, depth):
    """Krita's pixels of a picture file; None when it is none of that size."""
    image = QtGui.QImage.fromData(file)
    if image.isNull() or (image.width(), image.height()) != (width, height):
        return None
    image = image.convertToFormat(_FORMATS[depth])
    image = image.rgbSwapped() if depth == 16 else image
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    return bytes(bits)
