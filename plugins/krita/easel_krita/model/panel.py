"""The panel's state: what is typed, what runs, how it went. The view calls its methods and draws what it says; the client's notes
come in through `take`; what the host has to do goes out through `place`."""

from collections import namedtuple

#: What the client is asked for: the picture as a file, and what to do with it.
Request = namedtuple("Request", "picture instruction seed variations live")
#: A finished picture, where it belongs and how its layer is called.
Result = namedtuple("Result", "file seed canvas name")

MAX_HISTORY = 50
MAX_VARIATIONS = 4
MAX_SEED = 2**63 - 1

STAGES = {
    "encode_prompt": "reading the instruction",
    "encode_image": "looking at the picture",
    "denoise": "drawing",
    "decode": "developing",
    "finish": "finishing",
}

HELP = {
    "CANNOT_CONNECT": "Easel is not running. Start it in a terminal with: easel serve",
    "CONNECTION_LOST": "The connection to Easel was lost. Is it still running? Start it with: easel serve",
    "UNAUTHENTICATED": "Easel does not know this plugin: the token is missing or wrong. `easel token` prints it; put it into Connection.",
    "PERMISSION_DENIED": "Easel does not let this plugin in. Run Krita as the same user as the daemon, or put a token into Connection.",
    "PROTOCOL_TOO_OLD": "Easel is older than this plugin. Update the daemon, then start it again.",
    "QUEUE_FULL": "Easel has too much to do. Try again in a moment.",
    "QUOTA_EXCEEDED": "This plugin has too many edits under way. Wait for one to end.",
    "DRAINING": "Easel is about to stop. Try again when it is back.",
}


class Panel:
    """All that the panel shows."""

    def __init__(self, client, host, settings):
        self._client, self._host, self._settings = client, host, settings
        self.history = settings.get("history", [])
        self.address, self.token = settings.get("address", ""), settings.get("token", "")
        self.place, self.version, self.help = "", "", "Looking for Easel"
        self.instruction, self.seed, self.variations, self.live = "", None, 1, False
        self.fraction, self.doing, self.preview = 0.0, "", b""
        self.results = []
        self._ticket, self._running, self._canvas = 0, None, None
        self.changed = lambda: None

    # ------------------------------------------------------------ what the user does

    def start(self):
        """Looks for the daemon."""
        self._client.connect()

    def connect_to(self, address, token):
        """Another place for the daemon; remembered."""
        self.address, self.token = address.strip(), token.strip()
        self._settings.set("address", self.address)
        self._settings.set("token", self.token)
        self.place, self.help = "", "Looking for Easel"
        self._client.use(self.address, self.token)
        self.changed()

    def set_instruction(self, text):
        """What is typed. In live mode it is tried at once."""
        changed, self.instruction = text.strip() != self.instruction, text.strip()
        if self.live and changed and self.instruction:
            self._ask(live=True)

    def set_seed(self, text):
        """A seed in digits; empty for a new one each time. False when it is no seed."""
        text = text.strip()
        if text and not (text.isascii() and text.isdigit() and int(text) <= MAX_SEED):
            return False
        self.seed = int(text) if text else None
        return True

    def set_variations(self, count):
        self.variations = max(1, min(MAX_VARIATIONS, count))

    def set_live(self, on):
        """Live: each change of the instruction is tried and shown; a result becomes a layer when the user says so."""
        self.live = on
        if on and self.instruction:
            self._ask(live=True)
        elif not on and self.running and self._live_run:
            self.cancel()

    def edit(self):
        """Edits the selection, or the whole picture."""
        if self.instruction:
            self._ask(live=False)

    def cancel(self):
        if self._running is not None:
            self.doing = "cancelling"
            self._client.cancel(self._running)
            self.changed()

    def add_layer(self, index):
        """A result as a layer."""
        if 0 <= index < len(self.results):
            self._host.place(self.results[index])

    def close(self):
        """The application ends."""
        self._client.close()

    @property
    def running(self):
        return self._running is not None

    @property
    def can_edit(self):
        return bool(self.place and self.instruction)

    # ------------------------------------------------------------ what the client tells

    def take(self, note):
        """A note of the client; those of an edit that a newer one has replaced are passed over."""
        kind = type(note).__name__
        ticket = getattr(note, "ticket", None)
        if ticket is None or ticket == self._running:
            getattr(self, "_on_" + kind.lower())(note)
            self.changed()

    def _on_connected(self, note):
        self.place, self.version, self.help = note.place, note.version, ""

    def _on_failed(self, note):
        self.help = HELP.get(note.reason, note.message)
        if note.reason in ("CANNOT_CONNECT", "UNAUTHENTICATED", "PERMISSION_DENIED", "PROTOCOL_TOO_OLD"):
            self.place = ""
        if note.ticket is not None:
            self._stop()

    def _on_accepted(self, note):
        self.doing = f"seed {note.seed}"

    def _on_queued(self, note):
        self.doing = "next in the queue" if note.position == 1 else f"place {note.position} in the queue"

    def _on_progressed(self, note):
        # Denoising has steps that say something; the parts of the rest do not.
        steps = f" {note.done}/{note.total}" if note.stage == "denoise" else ""
        self.doing, self.fraction = STAGES.get(note.stage, note.stage) + steps, note.fraction

    def _on_preview(self, note):
        self.preview = note.file

    def _on_finished(self, note):
        name = f"Easel: {self._asked[:60]}"
        self.results = [Result(file, seed, self._canvas, f"{name} ({seed})") for seed, file in note.results]
        self.preview = self.results[0].file
        live = self._live_run
        self._stop("done")
        self.fraction = 1.0
        if not live and len(self.results) == 1:
            self._host.place(self.results[0])

    def _on_ended(self, note):
        self._stop("cancelled" if note.cancelled else "")
        if not note.cancelled:
            self.help = HELP.get(note.reason, note.message)

    # ------------------------------------------------------------ within

    def _ask(self, live):
        canvas = self._host.read()
        if canvas is None:
            self.help = "Open a picture first."
            return self.changed()
        problem = canvas.problem
        if problem:
            self.help = problem
            return self.changed()
        if self._running is not None:
            self._client.cancel(self._running)
        self._ticket += 1
        self._running, self._canvas, self._asked, self._live_run = self._ticket, canvas, self.instruction, live
        self.help, self.doing, self.fraction, self.results = "", "sending", 0.0, []
        if not live:
            self._remember(self.instruction)
        self._client.edit(self._ticket, Request(canvas.picture, self.instruction, self.seed, self.variations, live))
        self.changed()

    def _stop(self, doing=""):
        self._running, self.doing, self.fraction = None, doing, 0.0

    def _remember(self, instruction):
        self.history = ([instruction] + [old for old in self.history if old != instruction])[:MAX_HISTORY]
        self._settings.set("history", self.history)
