"""Views and edits a session over one stream, together with others: the comfortable form on top of the unary calls. Needs grpcio."""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from easel import _errors, _requests, proto
from easel._requests import Options

if TYPE_CHECKING:
    from typing_extensions import Unpack

PATH = "/easel.v1.SessionService/EditSession"


class _Talk:
    """What both editors remember: the number of the last request, and events that came before an answer."""

    def __init__(self) -> None:
        self._tag = 0
        self._events: deque[Any] = deque()

    def _request(self, **asked: Any) -> bytes:
        self._tag += 1
        data: bytes = proto.EditSessionRequest(tag=str(self._tag), **asked).SerializeToString()
        return data

    def _answer(self, data: bytes) -> Any | None:
        """The answer to the last request, or nothing: an event was put aside."""
        told = proto.EditSessionResponse.FromString(data)
        if told.WhichOneof("response") == "event":
            self._events.append(told.event)
        elif told.answer.tag == str(self._tag):
            if told.answer.WhichOneof("outcome") == "error":
                raise _errors.of_generation(told.answer.error)
            return told.answer
        return None


def attach(session: str) -> bytes:
    """The first request of the stream."""
    data: bytes = proto.EditSessionRequest(attach=proto.AttachSession(session_id=session)).SerializeToString()
    return data


def edit_of(instruction: str, revision: str, options: Options) -> dict[str, Any]:
    """The request for an edit."""
    spec, policy = _requests.spec("", instruction, options), _requests.policy(options)
    return {"edit": proto.SessionEdit(spec=spec, policy=policy, revision_id=revision)}


def ended() -> _errors.Error:
    return _errors.protocol("the session's stream ended before an answer came")


class Editor(_Talk):
    """Views and edits a session; iterate over it for what happens. Closing it cancels nothing but live edits whose lease ends.

    One thread at a time may ask or read."""

    def __init__(self, transport: Any, session: str) -> None:
        super().__init__()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._requests.put(attach(session))
        self._source = transport.both(PATH, iter(self._requests.get, None))
        self._told = iter(self._source)

    def edit(self, instruction: str, revision: str = "", **options: Unpack[Options]) -> proto.Generation:
        """Asks for an edit; the generation as accepted. Its events come by iterating."""
        made: proto.Generation = self._ask(**edit_of(instruction, revision, options)).generation
        return made

    def draft(self, draft: proto.Draft) -> None:
        """Changes the draft of the next edit, which every viewer sees."""
        self._ask(draft=draft)

    def cancel(self, generation: str = "") -> list[proto.CancelledEdit]:
        """Cancels a generation of the session, or all of them, and says what that hit."""
        return list(self._ask(cancel=proto.CancelSessionEdit(generation_id=generation)).cancelled.edits)

    def undo(self) -> None:
        """Goes back to the revision that the present one was made from."""
        self._ask(undo=proto.UndoSession())

    def redo(self) -> None:
        """Takes an undo back."""
        self._ask(redo=proto.RedoSession())

    def go_to(self, revision: str) -> None:
        """Goes to a revision."""
        self._ask(go_to=proto.GoToSessionRevision(revision_id=revision))

    def __iter__(self) -> Iterator[proto.SessionEvent]:
        return self

    def __next__(self) -> proto.SessionEvent:
        while not self._events:
            self._answer(next(self._told))
        event: proto.SessionEvent = self._events.popleft()
        return event

    def close(self) -> None:
        """Ends the view."""
        self._requests.put(None)
        self._source.close()

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, **asked: Any) -> Any:
        self._requests.put(self._request(**asked))
        for data in self._told:
            if (answer := self._answer(data)) is not None:
                return answer
        raise ended()


class AsyncEditor(_Talk):
    """Views and edits a session; see :class:`easel.Editor`."""

    def __init__(self, transport: Any, session: str) -> None:
        super().__init__()
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._requests.put_nowait(attach(session))
        self._source = transport.both(PATH, self._outgoing())
        self._told = self._source.__aiter__()

    async def _outgoing(self) -> AsyncIterator[bytes]:
        while (data := await self._requests.get()) is not None:
            yield data

    async def edit(self, instruction: str, revision: str = "", **options: Unpack[Options]) -> proto.Generation:
        """Asks for an edit; the generation as accepted. Its events come by iterating."""
        made: proto.Generation = (await self._ask(**edit_of(instruction, revision, options))).generation
        return made

    async def draft(self, draft: proto.Draft) -> None:
        """Changes the draft of the next edit, which every viewer sees."""
        await self._ask(draft=draft)

    async def cancel(self, generation: str = "") -> list[proto.CancelledEdit]:
        """Cancels a generation of the session, or all of them, and says what that hit."""
        return list((await self._ask(cancel=proto.CancelSessionEdit(generation_id=generation))).cancelled.edits)

    async def undo(self) -> None:
        """Goes back to the revision that the present one was made from."""
        await self._ask(undo=proto.UndoSession())

    async def redo(self) -> None:
        """Takes an undo back."""
        await self._ask(redo=proto.RedoSession())

    async def go_to(self, revision: str) -> None:
        """Goes to a revision."""
        await self._ask(go_to=proto.GoToSessionRevision(revision_id=revision))

    def __aiter__(self) -> AsyncIterator[proto.SessionEvent]:
        return self

    async def __anext__(self) -> proto.SessionEvent:
        while not self._events:
            self._answer(await self._told.__anext__())
        event: proto.SessionEvent = self._events.popleft()
        return event

    def close(self) -> None:
        """Ends the view."""
        self._requests.put_nowait(None)
        self._source.close()

    async def __aenter__(self) -> AsyncEditor:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _ask(self, **asked: Any) -> Any:
        self._requests.put_nowait(self._request(**asked))
        async for data in self._told:
            if (answer := self._answer(data)) is not None:
                return answer
        raise ended()
