"""Reads what an edit is about and puts its result back as a layer. Runs in the thread of the user interface alone."""

from krita import Krita, Selection

from ..model.canvas import Canvas, Rect, clipped, seen
from ..ui import QtCore
from . import pixels

_DEPTHS = {"U8": 8, "U16": 16}
_TICK_MS = 20
#: Krita answers within one or two ticks; it is given up after this many.
_MAX_TICKS = 250


class Host:
    """The document that is open."""

    def __init__(self):
        #: The last thing that went wrong while a layer was made; empty when nothing did.
        self.problem = ""
        #: Layers that are being made.
        self.busy = 0

    def read(self):
        """The selection with its surroundings, or the whole picture; None without a document."""
        document = Krita.instance().activeDocument()
        if document is None:
            return None
        if document.colorModel() != "RGBA" or document.colorDepth() not in _DEPTHS:
            kind = f"{document.colorModel()} {document.colorDepth()}"
            return Canvas(document, None, b"", None, b"", 0, f"The picture is {kind}; Easel edits RGBA of 8 or 16 bits (Image, Convert).")
        depth = _DEPTHS[document.colorDepth()]
        whole = Rect(0, 0, document.width(), document.height())
        selection, mask = document.selection(), b""
        part = selection and clipped(Rect(selection.x(), selection.y(), selection.width(), selection.height()), whole)
        if part:
            mask = bytes(selection.pixelData(*part))
        rect = seen(part, whole)
        data = bytes(document.pixelData(*rect))
        return Canvas(document, rect, pixels.to_png(data, rect.width, rect.height, depth), part, mask, depth, "")

    def place(self, result):
        """The result as a new layer above the active one, at its place, with the selection as its transparency mask. One undo
        takes it away."""
        canvas = result.canvas
        data = pixels.from_file(result.file, canvas.rect.width, canvas.rect.height, canvas.depth)
        if data is None or canvas.document not in Krita.instance().documents():
            self.problem = "the document was closed, or the result has another size"
            return
        self.problem = ""
        self.busy += 1
        self._drive(_layer(canvas, data, result.name), 0)

    def _drive(self, steps, ticks):
        """Runs a generator with the event loop between its steps: Krita does in it what the steps wait for."""
        try:
            next(steps)
        except StopIteration:
            self.busy -= 1
            return
        if ticks > _MAX_TICKS:
            self.problem = "Krita did not make the layer"
            self.busy -= 1
            return
        QtCore.QTimer.singleShot(_TICK_MS, lambda: self._drive(steps, ticks + 1))


def _layer(canvas, data, name):
    """Makes the layer.

    Adding a layer and adding its mask would be two steps to undo. So both are done, the layer is copied together with its mask, both are
    undone, and the copy is added: one step, and nothing else in the history. A mask that is made by the API alone has no selection in Krita
    5.1, and saving it ends Krita; the action makes a whole one.
    """
    document, app = canvas.document, Krita.instance()
    above = document.activeNode()
    while above is not None and above.parentNode() is not None and above.parentNode().uniqueId() != document.rootNode().uniqueId():
        above = above.parentNode()
    layer = document.createNode(name, "paintlayer")
    layer.setPixelData(data, *canvas.rect)
    if canvas.selection is None:
        document.rootNode().addChildNode(layer, above)
        document.refreshProjection()
        return
    kept = document.selection()
    chosen = Selection()
    chosen.setPixelData(canvas.mask, *canvas.selection)
    document.rootNode().addChildNode(layer, above)
    document.setSelection(chosen)
    document.waitForDone()
    yield
    while document.activeNode() is None or document.activeNode().uniqueId() != layer.uniqueId():
        document.setActiveNode(layer)
        yield
    app.action("add_new_transparency_mask").trigger()
    while not layer.childNodes():
        yield
    document.waitForDone()
    whole = layer.duplicate()
    for _ in range(2):
        app.action("edit_undo").trigger()
        yield
        document.waitForDone()
    whole.setName(name)
    document.rootNode().addChildNode(whole, above)
    document.setSelection(kept)
    yield
    document.waitForDone()
    document.refreshProjection()
