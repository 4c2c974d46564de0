"""Works the Easel panel within Krita as a person would, and writes what it saw as JSON lines: {"ok": NAME} or {"bad": NAME, "why":
...}; {"ask": WHAT} asks the driver outside, which answers by a file. Steps are generators: Krita's event loop runs between them."""

import json
import os
import time
import traceback
from pathlib import Path

from krita import Extension, Krita, Selection
from PyQt5.QtCore import QByteArray, Qt, QTimer
from PyQt5.QtWidgets import QApplication, QDockWidget

FOLDER = Path(os.environ.get("EASEL_KRITA_TEST", "/nowhere"))
WAIT_S = 40
WIDTH, HEIGHT = 320, 240
#: Where the circle of examples/shapes.png is.
SHAPE = (0, 96, 240, 320)


def say(**line):
    with open(FOLDER / "seen", "a") as file:
        file.write(json.dumps(line) + "\n")


def check(name, good, why=""):
    say(**({"ok": name} if good else {"bad": name, "why": str(why)[:600]}))


def until(true, what):
    """Steps until something holds."""
    end = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {what}")
        yield


def ask(what):
    say(ask=what)
    done = FOLDER / f"done-{what}"
    yield from until(done.exists, what)


class Work:
    def __init__(self):
        self.app = Krita.instance()
        self.window = self.app.activeWindow()
        self.docker = next(d for d in self.window.qwindow().findChildren(QDockWidget) if d.windowTitle() == "Easel")
        self.view, self.panel = self.docker.view, self.docker.panel

    def document(self, depth):
        document = self.app.createDocument(WIDTH, HEIGHT, f"test {depth}", "RGBA", depth, "", 300.0)
        self.window.addView(document)
        document.setBatchmode(True)
        document.waitForDone()
        size = 1 if depth == "U8" else 2
        rows = bytearray()
        for y in range(HEIGHT):
            for x in range(WIDTH):
                for value in (x % 256, y, (x * y) % 256, 255):
                    rows += value.to_bytes(1, "little") if size == 1 else (value * 257).to_bytes(2, "little")
        document.topLevelNodes()[0].setPixelData(QByteArray(bytes(rows)), 0, 0, WIDTH, HEIGHT)
        selection = Selection()
        selection.select(100, 80, 90, 60, 255)
        selection.feather(4)
        document.setSelection(selection)
        document.refreshProjection()
        document.waitForDone()
        return document

    def shot(self, name):
        QApplication.processEvents()
        self.window.qwindow().grab().save(str(FOLDER / f"{name}.png"))

    def layers(self, document):
        return [n for n in document.topLevelNodes() if n.name().startswith("Easel")]

    def settled(self):
        return not self.panel.running and not self.docker.panel._host.busy

    def type(self, text, seed=""):
        self.view.instruction.setCurrentText(text)
        self.view.seed.setText(seed)
        self.view._typed()

    def all(self):
        yield from until(lambda: self.panel.place, "the daemon is found")
        check("the panel finds the daemon", True)
        self.docker.raise_()
        yield from self.edits("U8", 4)
        yield from self.edits("U16", 8)
        yield from self.cancels()
        yield from self.tries_live_and_variations()
        yield from self.survives_a_restart()
        yield from self.says_that_nobody_is_there()

    def picture(self, path):
        """The picture of the README: a shape of an example is selected and changed."""
        yield from until(lambda: self.panel.place, "the daemon is found")
        document = self.app.openDocument(path)
        self.window.addView(document)
        self.window.qwindow().resize(1100, 760)
        selection = Selection()
        selection.select(*SHAPE, 255)
        selection.feather(3)
        document.setSelection(selection)
        for name in ("Brush Presets", "Tool Options", "Advanced Color Selector", "Overview"):
            for docker in self.window.qwindow().findChildren(QDockWidget):
                if docker.windowTitle() == name:
                    docker.hide()
        for _ in range(30):
            yield
        self.type("make the circle green", "1")
        self.view.edit.click()
        yield from until(lambda: self.settled() and self.layers(document), f"a layer ({self.panel.help})")
        self.app.action("deselect").trigger()
        for _ in range(40):
            yield
        self.window.qwindow().grab().scaledToWidth(900, Qt.SmoothTransformation).save(str(FOLDER / "readme.png"))
        yield from self.leave(document)

    def edits(self, depth, size):
        document = self.document(depth)
        for _ in range(10):
            yield
        before = bytes(document.pixelData(0, 0, WIDTH, HEIGHT))
        mask = bytes(document.selection().pixelData(0, 0, WIDTH, HEIGHT))
        self.type("make it blue", "7")
        check(f"{depth}: the Edit button is on", self.view.edit.isEnabled())
        self.view.edit.click()
        yield from until(lambda: self.panel.preview, "a preview")
        self.shot(f"working-{depth}")
        yield from until(lambda: self.settled() and self.layers(document), f"a layer ({self.panel.help})")
        for _ in range(10):
            yield
        document.refreshProjection()
        document.waitForDone()
        check(f"{depth}: nothing went wrong", not self.panel._host.problem, self.panel._host.problem)
        [layer] = self.layers(document)
        kinds = [child.type() for child in layer.childNodes()]
        check(f"{depth}: the layer has a transparency mask", kinds == ["transparencymask"], kinds)
        check(f"{depth}: the layer is named after the instruction and seed", layer.name() == "Easel: make it blue (7)", layer.name())
        after = bytes(document.pixelData(0, 0, WIDTH, HEIGHT))
        self.compare(depth, size, before, after, mask)
        self.shot(f"edited-{depth}")
        saved = FOLDER / f"saved-{depth}.kra"
        check(f"{depth}: the document is saved", document.saveAs(str(saved)) and saved.stat().st_size > 1000)
        undo = self.app.action("edit_undo")
        undo.trigger()
        yield from until(lambda: not self.layers(document), "undo")
        document.refreshProjection()
        document.waitForDone()
        check(f"{depth}: one undo takes it away", bytes(document.pixelData(0, 0, WIDTH, HEIGHT)) == before)
        check(f"{depth}: nothing else is left to undo", not undo.isEnabled() or undo.text().strip() == "Undo", undo.text())
        self.app.action("edit_redo").trigger()
        yield from until(lambda: self.layers(document), "redo")
        document.refreshProjection()
        document.waitForDone()
        check(f"{depth}: redo brings it back", bytes(document.pixelData(0, 0, WIDTH, HEIGHT)) == after)
        yield from self.leave(document)

    def compare(self, depth, size, before, after, mask):
        outside = changed = 0
        for at in range(WIDTH * HEIGHT):
            same = before[at * size : at * size + size] == after[at * size : at * size + size]
            outside += not same and mask[at] == 0
            changed += not same and mask[at] == 255
        full = mask.count(255)
        check(f"{depth}: pixels outside of the selection are identical", outside == 0, f"{outside} differ")
        check(f"{depth}: pixels inside have changed", changed > full * 0.9, f"{changed} of {full}")

    def cancels(self):
        document = self.document("U8")
        yield
        before = bytes(document.pixelData(0, 0, WIDTH, HEIGHT))
        self.type("make it green", "8")
        self.view.edit.click()
        yield from until(lambda: self.panel.doing.startswith("drawing 2"), "the second step")
        self.view.cancel.click()
        yield from until(lambda: not self.panel.running, "the end")
        check("cancel: the panel says so", self.panel.doing == "cancelled", self.panel.doing)
        check("cancel: the document is as it was", bytes(document.pixelData(0, 0, WIDTH, HEIGHT)) == before and not self.layers(document))
        yield from self.leave(document)

    def tries_live_and_variations(self):
        document = self.document("U8")
        yield
        self.view.live.setChecked(True)
        self.type("make it", "3")
        yield from until(lambda: self.panel.running, "live mode tries it")
        self.type("make it grey", "3")
        yield from until(lambda: not self.panel.running and self.panel.results, f"the live result ({self.panel.help})")
        check("live: the newer instruction is what came out", self.panel.results[0].name == "Easel: make it grey (3)", self.panel.results[0].name)
        check("live: no layer without being asked", not self.layers(document))
        self.view.live.setChecked(False)
        self.view.variations.setValue(3)
        self.view.edit.click()
        yield from until(lambda: not self.panel.running and len(self.panel.results) == 3, f"three results ({self.panel.help})")
        check("variations: their seeds follow each other", [r.seed for r in self.panel.results] == [3, 4, 5])
        check("variations: no layer before one is chosen", not self.layers(document))
        self.view.results.itemClicked.emit(self.view.results.item(1))
        yield from until(lambda: self.settled() and self.layers(document), "the chosen one")
        check("variations: the chosen one is a layer", self.layers(document)[0].name() == "Easel: make it grey (4)")
        self.view.variations.setValue(1)
        yield from self.leave(document)

    def survives_a_restart(self):
        document = self.document("U8")
        yield
        self.type("make it red", "9")
        self.view.edit.click()
        yield from until(lambda: self.panel.doing.startswith("drawing 2"), "the second step")
        yield from ask("restart")
        yield from until(lambda: self.settled() and self.layers(document), f"a layer ({self.panel.help})")
        check("restart: a daemon that is killed and comes back finishes the edit", True)
        yield from self.leave(document)

    def says_that_nobody_is_there(self):
        yield from ask("stop")
        document = self.document("U8")
        yield
        self.type("make it gone")
        self.view.edit.click()
        yield from until(lambda: not self.panel.running and self.panel.help, "help")
        check("stopped: the panel says what to do", "easel serve" in self.view.help.text(), self.view.help.text())
        self.shot("stopped")
        yield from self.leave(document)

    def leave(self, document):
        """Documents stay open to the end: Krita 5.1 is not sure to live through closing one while another opens."""
        document.waitForDone()
        document.setModified(False)
        yield


def drive(steps):
    try:
        next(steps)
    except StopIteration:
        finish()
    except Exception:
        check("the work runs to its end", False, traceback.format_exc()[-600:])
        finish()
    else:
        QTimer.singleShot(20, lambda: drive(steps))


def finish():
    say(end=True)
    for document in Krita.instance().documents():
        document.setModified(False)
    QTimer.singleShot(200, Krita.instance().action("file_quit").trigger)


class TestExtension(Extension):
    def setup(self):
        pass

    def createActions(self, window):
        shapes = os.environ.get("EASEL_KRITA_SHAPES")
        QTimer.singleShot(2000, lambda: drive(Work().picture(shapes) if shapes else Work().all()))


Krita.instance().addExtension(TestExtension(Krita.instance()))
