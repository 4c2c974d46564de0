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
    """What the model sees: a square around the selection with half of its longer side, or more, on each side of it, moved and cut to
    lie within the document. Models draw best near a square."""
    if selection is None:
        return Rect(0, 0, document.width, document.height)
    longer = max(selection.width, selection.height)
    side = max(MIN_EDGE_PX, longer + 2 * max(MIN_CONTEXT_PX, longer // 2))
    x, width = _span(selection.x, selection.width, side, document.width)
    y, height = _span(selection.y, selection.height, side, document.height)
    return Rect(x, y, width, height)


def _span(start, length, side, limit):
    size = min(side, limit)
    return min(max(0, start + length // 2 - size // 2), limit - size), size


def clipped(selection, document):
    """The selection within the document; None when nothing of it is."""
    x, y = max(0, selection.x), max(0, selection.y)
    width = min(document.width, selection.x + selection.width) - x
    height = min(document.height, selection.y + selection.height) - y
    return Rect(x, y, width, height) if width > 0 and height > 0 else None
