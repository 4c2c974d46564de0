"""The panel's model without Krita, without Qt and without a daemon."""

import sys
import types
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# The package's own __init__ would look for Krita; the model does not need it.
package = types.ModuleType("easel_krita")
package.__path__ = [str(Path(__file__).resolve().parent.parent / "easel_krita")]
sys.modules.setdefault("easel_krita", package)

from easel_krita.model import notes  # noqa: E402
from easel_krita.model.canvas import Canvas, Rect, clipped, seen  # noqa: E402
from easel_krita.model.panel import HELP, MAX_HISTORY, Panel  # noqa: E402


class Client:
    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        return lambda *words: self.said.append((name, *words))

    def requests(self):
        return [words for words in self.said if words[0] == "edit"]


class Host:
    def __init__(self):
        self.canvas = Canvas("doc", Rect(0, 0, 64, 64), b"png", Rect(8, 8, 16, 16), b"\xff" * 256, 8, "")
        self.placed = []

    def read(self):
        return self.canvas

    def place(self, result):
        self.placed.append(result)


class Settings(dict):
    def get(self, name, default):
        return dict.get(self, name, default)

    def set(self, name, value):
        self[name] = value


def panel():
    client, host, settings = Client(), Host(), Settings()
    made = Panel(client, host, settings)
    made.take(notes.Connected("/run/easel.sock", "0.1.0", 1, ["drill"]))
    return made, client, host, settings


class Model(unittest.TestCase):
    def test_an_edit_becomes_one_layer(self):
        made, client, host, settings = panel()
        made.set_instruction(" make it blue ")
        made.set_seed("7")
        made.edit()
        _, ticket, request = client.requests()[0]
        self.assertEqual((request.picture, request.instruction, request.seed, request.live), (b"png", "make it blue", 7, False))
        made.take(notes.Accepted(ticket, 7))
        made.take(notes.Queued(ticket, 2))
        self.assertEqual(made.doing, "place 2 in the queue")
        made.take(notes.Progressed(ticket, "denoise", 2, 4, 0.5))
        self.assertEqual((made.doing, made.fraction), ("drawing 2/4", 0.5))
        made.take(notes.Preview(ticket, b"small", 2))
        self.assertEqual(made.preview, b"small")
        made.take(notes.Finished(ticket, [(7, b"file")]))
        self.assertFalse(made.running)
        self.assertEqual([(r.file, r.seed, r.canvas, r.name) for r in host.placed], [(b"file", 7, host.canvas, "Easel: make it blue (7)")])
        self.assertEqual(settings["history"], ["make it blue"])

    def test_variations_wait_for_a_choice(self):
        made, client, host, _ = panel()
        made.set_instruction("x")
        made.set_variations(9)
        made.edit()
        self.assertEqual(client.requests()[0][2].variations, 4)
        made.take(notes.Finished(1, [(1, b"a"), (2, b"b")]))
        self.assertEqual(host.placed, [])
        made.add_layer(1)
        made.add_layer(7)
        self.assertEqual([r.file for r in host.placed], [b"b"])

    def test_a_newer_live_edit_replaces_the_older(self):
        made, client, host, settings = panel()
        made.set_instruction("make")
        made.set_live(True)
        made.set_instruction("make it")
        made.set_instruction("make it")
        self.assertEqual([(words[1], words[2].live) for words in client.requests()], [(1, True), (2, True)])
        self.assertIn(("cancel", 1), client.said)
        made.take(notes.Ended(1, True, "CANCELLED", ""))
        self.assertTrue(made.running, "the end of the older one is none of the newer")
        made.take(notes.Finished(2, [(5, b"live")]))
        self.assertEqual((made.preview, host.placed), (b"live", []))
        self.assertNotIn("history", settings)

    def test_cancelling_ends_quietly(self):
        made, client, _, _ = panel()
        made.set_instruction("x")
        made.edit()
        made.cancel()
        self.assertIn(("cancel", 1), client.said)
        made.take(notes.Ended(1, True, "CANCELLED", "cancelled"))
        self.assertEqual((made.running, made.doing, made.help), (False, "cancelled", ""))

    def test_what_goes_wrong_is_said_with_what_to_do(self):
        for reason in HELP:
            made, _, _, _ = panel()
            made.take(notes.Failed(None, reason, "UNAVAILABLE", "no"))
            self.assertEqual(made.help, HELP[reason])
        made, _, host, _ = panel()
        made.set_instruction("x")
        host.canvas = None
        made.edit()
        self.assertIn("Open a picture", made.help)
        host.canvas = Canvas("doc", None, b"", None, b"", 0, "The picture is CMYKA U8")
        made.edit()
        self.assertEqual((made.help, made.running), ("The picture is CMYKA U8", False))

    def test_a_lost_daemon_is_looked_for_again(self):
        made, client, _, settings = panel()
        made.set_instruction("x")
        made.edit()
        made.take(notes.Failed(1, "CANNOT_CONNECT", "UNAVAILABLE", "gone"))
        self.assertFalse(made.running or made.can_edit)
        made.start()
        self.assertEqual(client.said[-1], ("connect",))
        made.connect_to(" 127.0.0.1:7461 ", "abc")
        self.assertEqual((client.said[-1], settings["token"]), (("use", "127.0.0.1:7461", "abc"), "abc"))

    def test_seeds_and_history_are_bounded(self):
        made, _, _, _ = panel()
        self.assertEqual([made.set_seed(text) for text in ("", "12", "-1", "x", str(2**63))], [True, True, False, False, False])
        self.assertEqual(made.seed, 12)
        for number in range(MAX_HISTORY + 5):
            made.set_instruction(f"number {number}")
            made.edit()
            made.take(notes.Ended(number + 1, True, "CANCELLED", ""))
        self.assertEqual((len(made.history), made.history[0]), (MAX_HISTORY, f"number {MAX_HISTORY + 4}"))


class Seen(unittest.TestCase):
    def test_the_model_sees_some_surroundings(self):
        whole = Rect(0, 0, 400, 300)
        self.assertEqual(seen(None, whole), whole)
        self.assertEqual(seen(Rect(100, 100, 100, 50), whole), Rect(50, 25, 200, 200))
        self.assertEqual(seen(Rect(0, 290, 4, 10), whole), Rect(0, 226, 74, 74))
        self.assertEqual(seen(Rect(300, 10, 100, 200), whole), Rect(0, 0, 400, 300))
        self.assertEqual(seen(Rect(0, 0, 10, 10), Rect(0, 0, 20, 20)), Rect(0, 0, 20, 20))

    def test_a_selection_that_reaches_out_is_clipped(self):
        whole = Rect(0, 0, 40, 30)
        self.assertEqual(clipped(Rect(-5, 20, 10, 20), whole), Rect(0, 20, 5, 10))
        self.assertIsNone(clipped(Rect(50, 0, 10, 10), whole))


if __name__ == "__main__":
    unittest.main()
