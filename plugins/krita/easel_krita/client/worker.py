"""Runs edits in a thread of its own and tells what happens. Nothing here waits for the host, and nothing there for this."""

import queue
import threading

import easel

from ..model.notes import Accepted, Connected, Ended, Failed, Finished, Preview, Progressed, Queued

#: The oldest protocol that this plugin can speak.
MIN_PROTOCOL = 1
PREVIEW_EDGE_PX = 512


class Worker:
    """A connection that is made when it is needed. `tell` is called from the worker's threads with a note."""

    def __init__(self, tell, address="", token=""):
        self._tell = tell
        self._place = (address, token)
        self._client = None
        self._streams = {}
        self._lock = threading.Lock()
        self._tasks = queue.Queue()
        threading.Thread(target=self._connect_loop, name="easel", daemon=True).start()

    def use(self, address, token):
        """Another place from now on; empty: what the discovery file says."""
        with self._lock:
            self._place, self._client = (address, token), None
        self.connect()

    def connect(self):
        """Sees whether the daemon answers; tells `Connected` or `Failed`."""
        self._tasks.put(None)

    def edit(self, ticket, request):
        """Starts an edit; its notes carry `ticket`."""
        threading.Thread(target=self._edit, args=(ticket, request), name=f"easel-{ticket}", daemon=True).start()

    def cancel(self, ticket):
        """Cancels an edit; its end is told as that of any other."""
        threading.Thread(target=self._cancel, args=(ticket,), daemon=True).start()

    def close(self):
        """Lets all streams go. What was asked for goes on without a viewer only if it is to be kept."""
        with self._lock:
            streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.close()

    def _connect_loop(self):
        while True:
            self._tasks.get()
            try:
                client = self._connected()
                version = client.version()
                models = [model.name for model in client.models()]
                self._tell(Connected(str(client.target), version.version, version.protocol_version, models))
            except easel.Error as error:
                self._lose()
                self._tell(Failed(None, error.reason, error.code, error.message))

    def _connected(self):
        with self._lock:
            client, (address, token) = self._client, self._place
        if client is None:
            place = {"address": address, "token": token or None} if address else {}
            client = easel.Easel.connect(transport="web", name="krita", **place)
            version = client.version()
            if version.protocol_version < MIN_PROTOCOL:
                raise easel.Error("FAILED_PRECONDITION", "PROTOCOL_TOO_OLD", f"version {version.version}")
            with self._lock:
                self._client = client
        return client

    def _lose(self):
        with self._lock:
            self._client = None

    def _edit(self, ticket, request):
        try:
            client = self._connected()
            options = {"num_images": request.variations, "priority": "live" if request.live else "interactive"}
            if request.seed is not None:
                options["seed"] = request.seed
            # A daemon that is stopped and started again meanwhile goes on with it, and so does the stream.
            options["on_disconnect"] = "cancel" if request.live else "keep"
            options["previews"] = easel.Previews(kind="decoded", longest_edge_px=PREVIEW_EDGE_PX, format="png")
            stream = client.edit(request.picture, request.instruction, **options)
            with self._lock:
                self._streams[ticket] = stream
            with stream:
                for event in stream:
                    self._say(client, ticket, event)
        except easel.Error as error:
            if error.is_connection:
                self._lose()
            self._tell(Failed(ticket, error.reason, error.code, error.message))
        finally:
            with self._lock:
                self._streams.pop(ticket, None)

    def _say(self, client, ticket, event):
        if isinstance(event, easel.Accepted):
            self._tell(Accepted(ticket, event.resolved.seed))
        elif isinstance(event, easel.Queued):
            self._tell(Queued(ticket, event.position))
        elif isinstance(event, easel.Progress):
            self._tell(Progressed(ticket, event.stage, event.done, event.total, event.fraction))
        elif isinstance(event, easel.Preview):
            self._tell(Preview(ticket, event.picture.inline, event.step))
        elif isinstance(event, easel.Succeeded):
            results = [(picture.seed, client.download(picture)) for picture in event.pictures]
            self._tell(Finished(ticket, results))
        elif isinstance(event, easel.Ended):
            self._tell(Ended(ticket, event.cancelled, event.error.reason, event.error.message))
        elif isinstance(event, easel.Snapshot) and event.state == "succeeded":
            results = [(image.seed, client.download(image.image.sha256)) for image in event.generation.images]
            self._tell(Finished(ticket, results))
        elif isinstance(event, easel.Snapshot) and event.state in ("failed", "cancelled"):
            error = event.generation.error
            self._tell(Ended(ticket, event.state == "cancelled", error.reason, error.message))

    def _cancel(self, ticket):
        with self._lock:
            stream = self._streams.get(ticket)
        if stream is None:
            return
        try:
            stream.cancel()
        except easel.Error as error:
            self._tell(Failed(None, error.reason, error.code, error.message))
