"""The events of one generation for asyncio: an iterator that takes itself up again after a lost connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from easel import _calls, _errors, _events
from easel._calls import Call
from easel._resume import Resume

if TYPE_CHECKING:
    from easel._aio import AsyncEasel


class AsyncGenerationStream:
    """The events of a generation, in order and without gaps, until the last one; see :class:`easel.GenerationStream`. Iterate over
    it with ``async for``, or await :meth:`finish`."""

    def __init__(self, client: AsyncEasel, resume: Resume, request: tuple[Any, Any] | None) -> None:
        self._client = client
        self._resume = resume
        self._request = request
        self._source: Any = None
        self._reader: Any = None
        self._closed = False
        self._ahead: _events.AnyEvent | None = None

    @property
    def id(self) -> str:
        """Id of the generation; empty before the first event."""
        return self._resume.id

    @property
    def sequence(self) -> int:
        """Number of the last state event that was given; ``AsyncEasel.watch`` goes on from it."""
        return self._resume.sequence

    def __aiter__(self) -> AsyncIterator[_events.AnyEvent]:
        return self

    async def __anext__(self) -> _events.AnyEvent:
        if self._ahead is not None and not self._closed:
            ahead, self._ahead = self._ahead, None
            return ahead
        while not self._resume.done and not self._closed:
            event = await self._step()
            if event is not None:
                if self._resume.done:
                    self._end()
                return event
        raise StopAsyncIteration

    async def finish(self) -> _events.Succeeded:
        """Reads to the end; raises the generation's error when it did not succeed."""
        async for event in self:
            if _events.is_last(event):
                return _events.outcome(event)
        raise _errors.protocol("the events ended without a last one")

    async def pictures(self) -> list[bytes]:
        """Reads to the end and gives the files of the pictures in order."""
        return [await self._client.download(picture) for picture in (await self.finish()).pictures]

    async def cancel(self) -> str:
        """Cancels the generation: "was_queued", "was_running" or "was_finished"."""
        return await self._client.cancel(self.id)

    def close(self) -> None:
        """Stops reading. The generation ends with it unless it is to be kept."""
        self._closed = True
        self._end()

    async def __aenter__(self) -> AsyncGenerationStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _start(self) -> AsyncGenerationStream:
        """Reads the first event, which comes at once, so that a refused request is refused where it was made."""
        try:
            self._ahead = await self.__anext__()
        except StopAsyncIteration:
            pass
        return self

    async def _step(self) -> _events.AnyEvent | None:
        """One attempt: an event, or nothing when there is something to try again."""
        try:
            if self._reader is None:
                self._open()
            message = await self._reader.__anext__()
        except StopAsyncIteration:
            await self._lose(None)
            return None
        except _errors.Error as error:
            await self._lose(error)
            return None
        return self._resume.take(message)

    async def _lose(self, error: _errors.Error | None) -> None:
        self._end()
        if not self._closed:
            await asyncio.sleep(self._resume.lose(error))

    def _end(self) -> None:
        source, self._source, self._reader = self._source, None, None
        if source is not None:
            source.close()

    def _open(self) -> None:
        resume, request = self._resume, self._request
        call = _calls.watch(resume.id, resume.sequence) if resume.id or not request else _calls.run(*request)
        self._source = self._client._transport.stream(call.path, call.request.SerializeToString())
        self._reader = _messages(self._source, call)


async def _messages(source: Any, call: Call[Any]) -> AsyncIterator[Any]:
    async for answer in source:
        yield call.read(call.answer.FromString(answer))
