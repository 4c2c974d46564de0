"""The blocking client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from easel import _calls, _discovery, _errors, _events, _pictures, _requests, proto
from easel._calls import Call
from easel._discovery import Target
from easel._editor import Editor
from easel._requests import Options
from easel._resume import Resume
from easel._stream import PATIENCE_S, GenerationStream, Messages, Polling

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
CHUNK_BYTES = 1024 * 1024
HELLO_TIMEOUT_S = 5.0


def _transport(target: Target, kind: str, name: str) -> Any:
    """grpcio when it is installed, else the standard library."""
    if kind not in ("auto", "grpc", "web"):
        raise _errors.setup(f"transport {kind!r} is unknown, there are auto, grpc and web")
    if kind != "web":
        try:
            from easel.transport.grpc import Blocking

            return Blocking(target, name)
        except ImportError:
            if kind == "grpc":
                raise _errors.setup("grpcio is not installed: pip install grpcio, or transport='web'") from None
    from easel.transport.web import Web

    return Web(target, name)


class Easel:
    """A connection to a daemon, for programs with threads; :class:`easel.AsyncEasel` is the same for asyncio.

    Every method may be called from any thread. A lost connection is made again by the next call.
    """

    def __init__(self, transport: Any, events: str = "auto") -> None:
        self._transport = transport
        self._delivery = events

    # ------------------------------------------------------------ connecting

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        socket: str | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
        discovery: str | Path | None = None,
        transport: Literal["auto", "grpc", "web"] = "auto",
        events: Literal["auto", "stream", "poll"] = "auto",
        name: str = "",
    ) -> Easel:
        """Connects to a daemon and sees that it answers. Without a place, to the daemon of this user, as its discovery file says:
        over the Unix socket, else over TCP.

        Args:
            address: TCP address as ``http://127.0.0.1:7461``, with `token` or `token_file`.
            socket: path of a Unix socket; needs no token.
            discovery: another discovery file.
            transport: "grpc" is grpcio; "web" is gRPC-Web through the standard library alone, for programs that embed Python.
            events: how events come: "stream", or "poll" where streams are held back; "auto" finds out.
            name: the name that this client gives itself, 1 to 128 visible ASCII characters, by which quotas are counted.

        Raises:
            Error: ``CANNOT_CONNECT`` when nobody answers; ``CLIENT_SETUP`` when a place or a token cannot be used.
        """
        if token_file is not None:
            token = _discovery.read_token(Path(token_file))
        if address is not None:
            places = [_discovery.tcp(address, token)]
        elif socket is not None:
            places = [Target(socket=str(socket))]
        else:
            places = _discovery.targets(Path(discovery) if discovery else None)
        last: _errors.Error | None = None
        for target in places:
            client = cls(_transport(target, transport, name), events)
            try:
                client._unary(_calls.version(), HELLO_TIMEOUT_S)
                return client
            except _errors.Error as error:
                client.close()
                unreachable = error.is_connection or error.code == "DEADLINE_EXCEEDED"
                last = _errors.cannot_connect(target, error) if unreachable else error
        raise last or _errors.cannot_connect(discovery, "the discovery file names no place")

    @property
    def target(self) -> Target:
        """Where this client is connected to."""
        target: Target = self._transport.target
        return target

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def __enter__(self) -> Easel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ generations

    def generate(self, prompt: str, **options: Unpack[Options]) -> GenerationStream:
        """Makes a picture from a text; its events. See :class:`easel.Options` for what may be said."""
        return self.run(_requests.spec("generate", prompt, options), _requests.policy(options))

    def edit(self, picture: _pictures.PictureLike, instruction: str, **options: Unpack[Options]) -> GenerationStream:
        """Edits a picture by an instruction; its events. Uploads the picture first when it is large and not yet there.

        `picture` is the bytes of a file (PNG, JPEG, WebP, TIFF, GIF, BMP), a path, a Pillow image, or a NumPy array
        (height, width, channels) of uint8 or uint16.
        """
        spec = _requests.spec("edit", instruction, options)
        spec.image.CopyFrom(self.source(picture))
        return self.run(spec, _requests.policy(options))

    def source(self, picture: _pictures.PictureLike) -> proto.ImageSource:
        """A picture as requests name it: along with the request when it is small, else by the hash of its upload."""
        file = _pictures.file_of(picture)
        if len(file) <= _requests.INLINE_BYTES:
            return proto.ImageSource(inline=file)
        return proto.ImageSource(sha256=self.upload(file))

    def run(self, spec: proto.GenerationSpec, policy: proto.RunPolicy | None = None) -> GenerationStream:
        """Runs a request as the protocol has it; its events."""
        return GenerationStream(self, Resume(), (spec, _with_id(policy)))._start()

    def create(self, spec: proto.GenerationSpec, policy: proto.RunPolicy | None = None) -> proto.CreateGenerationResponse:
        """Creates a generation without watching it; it goes on when this client goes away. ``existed`` says that the request id
        was known, with the same content."""
        return self._unary(_calls.create(spec, _with_id(policy)))

    def watch(self, generation: str, after_sequence: int = 0) -> GenerationStream:
        """The events of a generation after a sequence number, 0 for all. An unknown id is told by the first of them."""
        return GenerationStream(self, Resume(generation, after_sequence), None)

    def generation(self, generation: str) -> proto.Generation:
        """A generation as it stands."""
        return self._unary(_calls.generation(generation))

    def generations(self, page_size: int | None = None, page_token: str = "") -> proto.ListGenerationsResponse:
        """Generations, newest first, a page at a time; the page's token is empty at the end."""
        return self._unary(_calls.generations(page_size, page_token))

    def cancel(self, generation: str) -> str:
        """Cancels a generation and says what that hit: "was_queued", "was_running" or "was_finished"."""
        return self._unary(_calls.cancel(generation))

    def prepare(self, spec: proto.GenerationSpec) -> dict[str, float]:
        """Reads prompt and picture of a request for later, so that its generation finds them: to be called while a user still
        types. Seconds computed in each stage."""
        return self._unary(_calls.prepare(spec))

    # ------------------------------------------------------------ files

    def upload(self, picture: _pictures.PictureLike) -> str:
        """Uploads a file and gives its SHA-256. Sends nothing when the daemon has it already, and goes on where an earlier upload
        stopped."""
        file = _pictures.file_of(picture)
        sha256 = hashlib.sha256(file).hexdigest()
        state = self._unary(_calls.begin_upload(sha256, len(file)))
        if state.exists:
            return sha256
        offset = int(state.offset)
        while offset < len(file):
            moved = self._unary(_calls.append_upload(sha256, offset, file[offset : offset + CHUNK_BYTES]))
            if moved <= offset:
                raise _errors.protocol("an upload does not move on")
            offset = moved
        self._unary(_calls.finish_upload(sha256))
        return sha256

    def download(self, picture: _events.Picture | str) -> bytes:
        """The file of a picture, or of the blob with a hash, checked by its hash."""
        if isinstance(picture, _events.Picture) and picture.inline:
            return picture.inline
        sha256 = picture if isinstance(picture, str) else picture.sha256
        data = bytearray()
        for chunk in self._stream(_calls.read_blob(sha256)):
            if chunk.offset != len(data):
                raise _errors.protocol(f"a chunk at {chunk.offset} came at {len(data)}")
            data += chunk.data
        return _checked(bytes(data), sha256)

    # ------------------------------------------------------------ models and the daemon

    def models(self) -> list[proto.Model]:
        """The models, the default first."""
        return self._unary(_calls.models())

    def model(self, name: str) -> proto.Model:
        """One model."""
        return self._unary(_calls.model(name))

    def add_model(self, folder: str, name: str = "") -> proto.Model:
        """Adds a checkpoint folder of the daemon's machine; only over the Unix socket."""
        return self._unary(_calls.add_model(folder, name))

    def load_model(self, name: str) -> Iterator[tuple[proto.Model, float]]:
        """Loads a model: the model and the share that is loaded, until it is ready."""
        return self._stream(_calls.load_model(name))

    def unload_model(self, name: str) -> proto.Model:
        """Frees a model's memory when its running work is done."""
        return self._unary(_calls.unload_model(name))

    def version(self) -> proto.GetVersionResponse:
        """Version of the daemon and of its protocol; needs no token."""
        return self._unary(_calls.version())

    def capabilities(self) -> proto.GetCapabilitiesResponse:
        """Limits, defaults and models."""
        return self._unary(_calls.capabilities())

    def status(self) -> proto.GetStatusResponse:
        """Queue, stages and memory of the daemon."""
        return self._unary(_calls.status())

    def kept(self) -> list[proto.KeptCache]:
        """What the loaded models keep between generations."""
        return self._unary(_calls.kept())

    def clear_kept(self, model: str = "") -> int:
        """Drops what a model (default: all) keeps between generations; bytes that this frees."""
        return self._unary(_calls.clear_kept(model))

    # ------------------------------------------------------------ sessions

    def create_session(self, name: str = "", picture: _pictures.PictureLike | None = None) -> proto.Session:
        """Makes a session, with a picture to begin with or without."""
        return self._unary(_calls.create_session(name, None if picture is None else self.upload(picture)))

    def session(self, session: str) -> proto.Session:
        """A session as it stands."""
        return self._unary(_calls.session(session))

    def sessions(self) -> list[proto.Session]:
        """All sessions, the last changed first."""
        found: list[proto.Session] = []
        token = ""
        while True:
            page = self._unary(_calls.sessions(token))
            found += page.sessions
            token = page.next_page_token
            if not token:
                return found

    def update_session(self, session: str, **changes: Any) -> proto.Session:
        """Renames (`name`) or pins (`pinned`) a session, or changes the `draft` of its next edit."""
        return self._unary(_calls.update_session(session, **changes))

    def delete_session(self, session: str) -> proto.Removed:
        """Deletes a session for good; what it still runs is cancelled."""
        return self._unary(_calls.delete_session(session))

    def revisions(self, session: str) -> list[proto.Revision]:
        """All revisions of a session, oldest first."""
        found: list[proto.Revision] = []
        token = ""
        while True:
            page = self._unary(_calls.revisions(session, token))
            found += page.revisions
            token = page.next_page_token
            if not token:
                return found

    def edit_session(self, session: str, instruction: str, revision: str = "", **options: Unpack[Options]) -> GenerationStream:
        """Edits where a session stands, or a revision; its events. The edit goes on when this client goes away, and a stream that
        was lost comes back, even to another run of the daemon."""
        edit = proto.SessionEdit(spec=_requests.spec("", instruction, options), policy=_requests.policy(options), revision_id=revision)
        return self.watch(self._unary(_calls.session_edit(session, edit)).id)

    def rerun(self, session: str, revision: str, **options: Unpack[Options]) -> GenerationStream:
        """Makes a revision again, with what `options` change; without a seed a new one is drawn."""
        edit = proto.SessionEdit(spec=_requests.spec("", "", options), policy=_requests.policy(options), rerun_revision_id=revision)
        return self.watch(self._unary(_calls.session_edit(session, edit)).id)

    def undo(self, session: str) -> proto.Session:
        """Goes back to the revision that the present one was made from."""
        return self._unary(_calls.session(session, "UndoSession"))

    def redo(self, session: str) -> proto.Session:
        """Takes an undo back."""
        return self._unary(_calls.session(session, "RedoSession"))

    def go_to(self, session: str, revision: str) -> proto.Session:
        """Goes to any revision; the next edit starts a branch there."""
        return self._unary(_calls.session(session, "GoToRevision", revision_id=revision))

    def compare(self, session: str, one: str, other: str) -> proto.CompareRevisionsResponse:
        """Measures how two revisions of a session differ."""
        return self._unary(_calls.compare(session, one, other))

    def export_replay(self, session: str, revision: str = "") -> proto.Replay:
        """The way to a revision (default: where the session stands), with all inputs by their hashes."""
        return self._unary(_calls.export_replay(session, revision))

    def import_replay(self, replay: proto.Replay, name: str | None = None) -> proto.Session:
        """Makes a session of a replay; its pictures are to be uploaded before."""
        return self._unary(_calls.import_replay(replay, name))

    def collect_garbage(self, everything: bool = False) -> proto.Removed:
        """Removes what the retention no longer keeps, or all that is not pinned and not running."""
        return self._unary(_calls.collect_garbage(everything))

    def watch_session(self, session: str) -> Iterator[proto.SessionEvent]:
        """Views a session: as it stands, each change, and the events of its generations. Ends when it is deleted."""
        return self._stream(_calls.watch_session(session))

    def open_session(self, session: str) -> Editor:
        """Views and edits a session over one stream, together with others. Needs grpcio: HTTP/1.1 cannot send a stream."""
        return Editor(self._transport, session)

    # ------------------------------------------------------------ within the package

    def _unary(self, call: Call[T], timeout_s: float | None = None) -> T:
        answer = self._transport.unary(call.path, call.request.SerializeToString(), timeout_s)
        return call.read(call.answer.FromString(answer))

    def _stream(self, call: Call[T]) -> Iterator[T]:
        source = self._transport.stream(call.path, call.request.SerializeToString())
        try:
            for answer in source:
                yield call.read(call.answer.FromString(answer))
        finally:
            source.close()

    def _events_source(self, resume: Resume, request: tuple[Any, Any] | None, preview: int) -> Any:
        """Where the events of a stream come from, by the way that works here."""
        if self._delivery == "poll":
            if not resume.id and request:
                resume.id = self._unary(_calls.create(*request)).generation.id
            return Polling(self, resume.id, resume.sequence, preview)
        call = _calls.watch(resume.id, resume.sequence) if resume.id or not request else _calls.run(*request)
        patience = {"patience_s": PATIENCE_S} if self._is_web and self._delivery == "auto" and request and not resume.id else {}
        return Messages(self._transport.stream(call.path, call.request.SerializeToString(), **patience), call)

    @property
    def _is_web(self) -> bool:
        return not self._transport.bidirectional

    def _patience_over(self, source: Any) -> None:
        if self._is_web and self._delivery == "auto":
            source.patient()

    def _steps_down(self) -> bool:
        """True when events are to be polled from now on: streams do not come through, and other calls do."""
        if not self._is_web or self._delivery != "auto":
            return False
        try:
            self.version()
        except _errors.Error:
            return False
        self._delivery = "poll"
        return True


def _with_id(policy: proto.RunPolicy | None) -> proto.RunPolicy:
    made = _requests.policy({})
    if policy is not None:
        made.MergeFrom(policy)
    return made


def _checked(data: bytes, sha256: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _errors.Error("DATA_LOSS", "DATA_LOSS", "the blob does not have the hash it was named by")
    return data
