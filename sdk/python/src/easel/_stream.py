"""The events of one generation, blocking: an iterator that takes itself up again after a lost connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from easel import _calls, _errors, _events, proto
from easel._resume import Resume

if TYPE_CHECKING:
    from easel._client import Easel

#: The first event comes at once; a host that holds it back this long holds streams back.
PATIENCE_S = 5.0
POLL_WAIT_S = 25.0


class _Source(Protocol):
    """Where messages of events come from."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


class GenerationStream:
    """The events of a generation, in order and without gaps, until the last one.

    When the connection breaks, or the daemon cuts a reader that fell behind, the stream connects again and goes on after the
    last event that it has given. What the daemon does meanwhile is up to the request: by default it cancels a generation whose
    last watcher has gone, and the stream then ends with that; with ``on_disconnect="keep"`` it goes on.

    Iterate over it, or call :meth:`finish`. :meth:`close` and :meth:`cancel` may be called from another thread.
    """

    def __init__(self, client: Easel, resume: Resume, request: tuple[Any, Any] | None, source: _Source | None = None) -> None:
        self._client = client
        self._resume = resume
        self._request = request
        self._source = source
        self._reader: Iterator[Any] | None = iter(source) if source else None
        self._closed = threading.Event()
        self._preview = 0
        self._ahead: _events.AnyEvent | None = None

    @property
    def id(self) -> str:
        """Id of the generation; empty before the first event."""
        return self._resume.id

    @property
    def sequence(self) -> int:
        """Number of the last state event that was given; ``Easel.watch`` goes on from it."""
        return self._resume.sequence

    def __iter__(self) -> Iterator[_events.AnyEvent]:
        return self

    def __next__(self) -> _events.AnyEvent:
        if self._ahead is not None and not self._closed.is_set():
            ahead, self._ahead = self._ahead, None
            return ahead
        while not self._resume.done and not self._closed.is_set():
            event = self._step()
            if event is not None:
                if self._resume.done:
                    self._end()
                return event
        raise StopIteration

    def finish(self) -> _events.Succeeded:
        """Reads to the end; raises the generation's error when it did not succeed."""
        for event in self:
            if _events.is_last(event):
                return _events.outcome(event)
        raise _errors.protocol("the events ended without a last one")

    def pictures(self) -> list[bytes]:
        """Reads to the end and gives the files of the pictures in order."""
        return [self._client.download(picture) for picture in self.finish().pictures]

    def cancel(self) -> str:
        """Cancels the generation: "was_queued", "was_running" or "was_finished"."""
        return self._client.cancel(self.id)

    def close(self) -> None:
        """Stops reading. The generation ends with it unless it is to be kept."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._source is not None:
            self._source.close()
        unkept = self._request is not None and self._request[1].on_disconnect != proto.DISCONNECT_POLICY_KEEP
        if isinstance(self._source, Polling) and unkept and not self._resume.done:
            self._client.cancel(self.id)

    def __enter__(self) -> GenerationStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> GenerationStream:
        """Reads the first event, which comes at once, so that a refused request is refused where it was made."""
        self._ahead = next(self, None)
        return self

    def _step(self) -> _events.AnyEvent | None:
        """One attempt: an event, or nothing when there is something to try again."""
        try:
            if self._reader is None:
                self._open()
            assert self._reader is not None
            message = next(self._reader)
        except StopIteration:
            self._lose(None)
            return None
        except _errors.Error as error:
            self._lose(error)
            return None
        if not isinstance(self._source, Polling):
            self._client._patience_over(self._source)
        event = self._resume.take(message)
        if isinstance(event, _events.Preview):
            self._preview = event.number
        return event

    def _lose(self, error: _errors.Error | None) -> None:
        self._end()
        if self._closed.is_set():
            return
        if not self._resume.id and error and error.reason == _errors.CONNECTION_LOST and self._client._steps_down():
            # The daemon answers and its streams do not come through.
            if self._request and self._request[1].on_disconnect != proto.DISCONNECT_POLICY_KEEP:
                self._request[1].request_id += "-polled"
            return
        self._closed.wait(self._resume.lose(error))

    def _end(self) -> None:
        source, self._source, self._reader = self._source, None, None
        if source is not None:
            source.close()

    def _open(self) -> None:
        self._source = self._client._events_source(self._resume, self._request, self._preview)
        self._reader = iter(self._source)


class Polling:
    """Events by long poll, for hosts that hold streams back."""

    def __init__(self, client: Easel, generation: str, after: int, preview: int) -> None:
        self._client, self._generation = client, generation
        self._after, self._preview = after, preview
        self._closed = False

    def __iter__(self) -> Iterator[Any]:
        while not self._closed:
            call = _calls.poll(self._generation, self._after, self._preview, POLL_WAIT_S)
            answer = self._client._unary(call, POLL_WAIT_S + 30)
            for event in answer.events:
                self._after = event.sequence
                yield event
            if answer.done:
                return
            if answer.HasField("preview"):
                self._preview = answer.preview.number
                yield proto.GenerationEvent(generation_id=self._generation, preview=answer.preview)

    def close(self) -> None:
        self._closed = True


class Messages:
    """A stream of answers as messages."""

    def __init__(self, source: Any, call: _calls.Call[Any]) -> None:
        self._source, self._call = source, call

    def __iter__(self) -> Iterator[Any]:
        for answer in self._source:
            yield self._call.read(self._call.answer.FromString(answer))

    def patient(self) -> None:
        self._source.patient()

    def close(self) -> None:
        self._source.close()
