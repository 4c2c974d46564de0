"""The part of a document that an edit is about: the selection with some of its surroundings, so that the model sees where it
draws."""

from collections import namedtuple

#: x, y, width and height in pixels of the document.
Rect = namedtuple("Rect", "x y width height")
#: What the host has read. `rect` is what the model sees, `selection` the selected rectangle with its mask (a byte for each pixel), or
#: None; `document` is for the host alone; `problem` says why it cannot be edited.
Canvas = namedtuple("Canvas", "document rect picture selection mask depth problem")

MIN_CONTEXT_PX = 32
MIN_EDGE_PX = 64


def seen(selection, document):
    """What the model sees: the selection and half of its longer side around it, within the document."""
    if selection is None:
        return Rect(0, 0, document.width, document.height)
    context = max(MIN_CONTEXT_PX, max(selection.width, selection.height) // 2)
    x, width = _span(selection.x, selection.width, context, document.width)
    y, height = _span(selection.y, selection.height, context, document.height)
    return Rect(x, y, width, height)


def _span(start, length, context, limit):
    low, high = max(0, start - context), min(limit, start + length + context)
    # A model cannot work on a sliver; the rest of the document gives room.
    missing = max(0, MIN_EDGE_PX - (high - low))
    low = max(0, low - missing)
    high = min(limit, max(high, low + MIN_EDGE_PX))
    return low, high - low


def clipped(selection, document):
    """The selection within the document; None when nothing of it is."""
    x, y = max(0, selection.x), max(0, selection.y)
    width = min(document.width, selection.x + selection.width) - x
    height = min(document.height, selection.y + selection.height) - y
    return Rect(x, y, width, height) if width > 0 and height > 0 else None
