"""The client for asyncio: the surface of the blocking one, over grpcio."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from easel import _calls, _discovery, _errors, _events, _pictures, _requests, proto
from easel._calls import Call
from easel._client import CHUNK_BYTES, HELLO_TIMEOUT_S, _checked, _with_id
from easel._aio_stream import AsyncGenerationStream
from easel._discovery import Target
from easel._editor import AsyncEditor
from easel._requests import Options
from easel._resume import Resume
from easel.transport.grpc import Asynchronous

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncEasel:
    """A connection to a daemon for asyncio. A lost connection is made again by the next call."""

    def __init__(self, transport: Asynchronous) -> None:
        self._transport = transport

    # ------------------------------------------------------------ connecting

    @classmethod
    async def connect(
        cls,
        address: str | None = None,
        *,
        socket: str | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
        discovery: str | Path | None = None,
        name: str = "",
    ) -> AsyncEasel:
        """Connects to a daemon and sees that it answers; see :meth:`easel.Easel.connect`."""
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
            client = cls(Asynchronous(target, name))
            try:
                await client._unary(_calls.version(), HELLO_TIMEOUT_S)
                return client
            except _errors.Error as error:
                await client.close()
                unreachable = error.is_connection or error.code == "DEADLINE_EXCEEDED"
                last = _errors.cannot_connect(target, error) if unreachable else error
        raise last or _errors.cannot_connect(discovery, "the discovery file names no place")

    @property
    def target(self) -> Target:
        """Where this client is connected to."""
        return self._transport.target

    async def close(self) -> None:
        """Ends the connection."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncEasel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ------------------------------------------------------------ generations

    async def generate(self, prompt: str, **options: Unpack[Options]) -> AsyncGenerationStream:
        """Makes a picture from a text; its events. See :class:`easel.Options` for what may be said."""
        return await self.run(_requests.spec("generate", prompt, options), _requests.policy(options))

    async def edit(self, picture: _pictures.PictureLike, instruction: str, **options: Unpack[Options]) -> AsyncGenerationStream:
        """Edits a picture by an instruction; its events. Uploads the picture first when it is large and not yet there.

        `picture` is the bytes of a file (PNG, JPEG, WebP, TIFF, GIF, BMP), a path, a Pillow image, or a NumPy array
        (height, width, channels) of uint8 or uint16.
        """
        spec = _requests.spec("edit", instruction, options)
        spec.image.CopyFrom(await self.source(picture))
        return await self.run(spec, _requests.policy(options))

    async def source(self, picture: _pictures.PictureLike) -> proto.ImageSource:
        """A picture as requests name it: along with the request when it is small, else by the hash of its upload."""
        file = _pictures.file_of(picture)
        if len(file) <= _requests.INLINE_BYTES:
            return proto.ImageSource(inline=file)
        return proto.ImageSource(sha256=await self.upload(file))

    async def run(self, spec: proto.GenerationSpec, policy: proto.RunPolicy | None = None) -> AsyncGenerationStream:
        """Runs a request as the protocol has it; its events."""
        return await AsyncGenerationStream(self, Resume(), (spec, _with_id(policy)))._start()

    async def create(self, spec: proto.GenerationSpec, policy: proto.RunPolicy | None = None) -> proto.CreateGenerationResponse:
        """Creates a generation without watching it; it goes on when this client goes away. ``existed`` says that the request id
        was known, with the same content."""
        return await self._unary(_calls.create(spec, _with_id(policy)))

    async def watch(self, generation: str, after_sequence: int = 0) -> AsyncGenerationStream:
        """The events of a generation after a sequence number, 0 for all. An unknown id is told by the first of them."""
        return AsyncGenerationStream(self, Resume(generation, after_sequence), None)

    async def generation(self, generation: str) -> proto.Generation:
        """A generation as it stands."""
        return await self._unary(_calls.generation(generation))

    async def generations(self, page_size: int | None = None, page_token: str = "") -> proto.ListGenerationsResponse:
        """Generations, newest first, a page at a time; the page's token is empty at the end."""
        return await self._unary(_calls.generations(page_size, page_token))

    async def cancel(self, generation: str) -> str:
        """Cancels a generation and says what that hit: "was_queued", "was_running" or "was_finished"."""
        return await self._unary(_calls.cancel(generation))

    async def prepare(self, spec: proto.GenerationSpec) -> dict[str, float]:
        """Reads prompt and picture of a request for later, so that its generation finds them: to be called while a user still
        types. Seconds computed in each stage."""
        return await self._unary(_calls.prepare(spec))

    # ------------------------------------------------------------ files

    async def upload(self, picture: _pictures.PictureLike) -> str:
        """Uploads a file and gives its SHA-256. Sends nothing when the daemon has it already, and goes on where an earlier upload
        stopped."""
        file = _pictures.file_of(picture)
        sha256 = hashlib.sha256(file).hexdigest()
        state = await self._unary(_calls.begin_upload(sha256, len(file)))
        if state.exists:
            return sha256
        offset = int(state.offset)
        while offset < len(file):
            moved = await self._unary(_calls.append_upload(sha256, offset, file[offset : offset + CHUNK_BYTES]))
            if moved <= offset:
                raise _errors.protocol("an upload does not move on")
            offset = moved
        await self._unary(_calls.finish_upload(sha256))
        return sha256

    async def download(self, picture: _events.Picture | str) -> bytes:
        """The file of a picture, or of the blob with a hash, checked by its hash."""
        if isinstance(picture, _events.Picture) and picture.inline:
            return picture.inline
        sha256 = picture if isinstance(picture, str) else picture.sha256
        data = bytearray()
        async for chunk in self._stream(_calls.read_blob(sha256)):
            if chunk.offset != len(data):
                raise _errors.protocol(f"a chunk at {chunk.offset} came at {len(data)}")
            data += chunk.data
        return _checked(bytes(data), sha256)

    # ------------------------------------------------------------ models and the daemon

    async def models(self) -> list[proto.Model]:
        """The models, the default first."""
        return await self._unary(_calls.models())

    async def model(self, name: str) -> proto.Model:
        """One model."""
        return await self._unary(_calls.model(name))

    async def add_model(self, folder: str, name: str = "") -> proto.Model:
        """Adds a checkpoint folder of the daemon's machine; only over the Unix socket."""
        return await self._unary(_calls.add_model(folder, name))

    def load_model(self, name: str) -> AsyncIterator[tuple[proto.Model, float]]:
        """Loads a model: the model and the share that is loaded, until it is ready."""
        return self._stream(_calls.load_model(name))

    async def unload_model(self, name: str) -> proto.Model:
        """Frees a model's memory when its running work is done."""
        return await self._unary(_calls.unload_model(name))

    async def version(self) -> proto.GetVersionResponse:
        """Version of the daemon and of its protocol; needs no token."""
        return await self._unary(_calls.version())

    async def capabilities(self) -> proto.GetCapabilitiesResponse:
        """Limits, defaults and models."""
        return await self._unary(_calls.capabilities())

    async def status(self) -> proto.GetStatusResponse:
        """Queue, stages and memory of the daemon."""
        return await self._unary(_calls.status())

    async def kept(self) -> list[proto.KeptCache]:
        """What the loaded models keep between generations."""
        return await self._unary(_calls.kept())

    async def clear_kept(self, model: str = "") -> int:
        """Drops what a model (default: all) keeps between generations; bytes that this frees."""
        return await self._unary(_calls.clear_kept(model))

    # ------------------------------------------------------------ sessions

    async def create_session(self, name: str = "", picture: _pictures.PictureLike | None = None) -> proto.Session:
        """Makes a session, with a picture to begin with or without."""
        return await self._unary(_calls.create_session(name, None if picture is None else await self.upload(picture)))

    async def session(self, session: str) -> proto.Session:
        """A session as it stands."""
        return await self._unary(_calls.session(session))

    async def sessions(self) -> list[proto.Session]:
        """All sessions, the last changed first."""
        found: list[proto.Session] = []
        token = ""
        while True:
            page = await self._unary(_calls.sessions(token))
            found += page.sessions
            token = page.next_page_token
            if not token:
                return found

    async def update_session(self, session: str, **changes: Any) -> proto.Session:
        """Renames (`name`) or pins (`pinned`) a session, or changes the `draft` of its next edit."""
        return await self._unary(_calls.update_session(session, **changes))

    async def delete_session(self, session: str) -> proto.Removed:
        """Deletes a session for good; what it still runs is cancelled."""
        return await self._unary(_calls.delete_session(session))

    async def revisions(self, session: str) -> list[proto.Revision]:
        """All revisions of a session, oldest first."""
        found: list[proto.Revision] = []
        token = ""
        while True:
            page = await self._unary(_calls.revisions(session, token))
            found += page.revisions
            token = page.next_page_token
            if not token:
                return found

    async def edit_session(self, session: str, instruction: str, revision: str = "", **options: Unpack[Options]) -> AsyncGenerationStream:
        """Edits where a session stands, or a revision; its events. The edit goes on when this client goes away, and a stream that
        was lost comes back, even to another run of the daemon."""
        edit = proto.SessionEdit(spec=_requests.spec("", instruction, options), policy=_requests.policy(options), revision_id=revision)
        return await self.watch((await self._unary(_calls.session_edit(session, edit))).id)

    async def rerun(self, session: str, revision: str, **options: Unpack[Options]) -> AsyncGenerationStream:
        """Makes a revision again, with what `options` change; without a seed a new one is drawn."""
        edit = proto.SessionEdit(spec=_requests.spec("", "", options), policy=_requests.policy(options), rerun_revision_id=revision)
        return await self.watch((await self._unary(_calls.session_edit(session, edit))).id)

    async def undo(self, session: str) -> proto.Session:
        """Goes back to the revision that the present one was made from."""
        return await self._unary(_calls.session(session, "UndoSession"))

    async def redo(self, session: str) -> proto.Session:
        """Takes an undo back."""
        return await self._unary(_calls.session(session, "RedoSession"))

    async def go_to(self, session: str, revision: str) -> proto.Session:
        """Goes to any revision; the next edit starts a branch there."""
        return await self._unary(_calls.session(session, "GoToRevision", revision_id=revision))

    async def compare(self, session: str, one: str, other: str) -> proto.CompareRevisionsResponse:
        """Measures how two revisions of a session differ."""
        return await self._unary(_calls.compare(session, one, other))

    async def export_replay(self, session: str, revision: str = "") -> proto.Replay:
        """The way to a revision (default: where the session stands), with all inputs by their hashes."""
        return await self._unary(_calls.export_replay(session, revision))

    async def import_replay(self, replay: proto.Replay, name: str | None = None) -> proto.Session:
        """Makes a session of a replay; its pictures are to be uploaded before."""
        return await self._unary(_calls.import_replay(replay, name))

    async def collect_garbage(self, everything: bool = False) -> proto.Removed:
        """Removes what the retention no longer keeps, or all that is not pinned and not running."""
        return await self._unary(_calls.collect_garbage(everything))

    def watch_session(self, session: str) -> AsyncIterator[proto.SessionEvent]:
        """Views a session: as it stands, each change, and the events of its generations. Ends when it is deleted."""
        return self._stream(_calls.watch_session(session))

    async def open_session(self, session: str) -> AsyncEditor:
        """Views and edits a session over one stream, together with others. Needs grpcio: HTTP/1.1 cannot send a stream."""
        return AsyncEditor(self._transport, session)

    # ------------------------------------------------------------ within the package

    async def _unary(self, call: Call[T], timeout_s: float | None = None) -> T:
        answer = await self._transport.unary(call.path, call.request.SerializeToString(), timeout_s)
        return call.read(call.answer.FromString(answer))

    async def _stream(self, call: Call[T]) -> AsyncIterator[T]:
        source = self._transport.stream(call.path, call.request.SerializeToString())
        try:
            async for answer in source:
                yield call.read(call.answer.FromString(answer))
        finally:
            source.close()
