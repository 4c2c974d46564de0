"""What a stream of events remembers to take itself up again: no transport, no waiting, so that the blocking and the
asynchronous stream share it."""

from __future__ import annotations

from typing import Any

from easel import _errors, _events

#: A lost connection is taken up again this often in a row, after 0.1, 0.2, 0.4, ... 3.2 s: about 6 s, in which a service
#: manager brings a daemon back.
ATTEMPTS = 6
FIRST_PAUSE_S = 0.1


class Resume:
    """Where a stream stands, and what its losses mean."""

    def __init__(self, generation_id: str = "", sequence: int = 0) -> None:
        self.id = generation_id
        self.sequence = sequence
        self.done = False
        self._lost = 0

    def take(self, message: Any) -> _events.AnyEvent | None:
        """The event to give, or nothing when it is one that was given before or is not known."""
        self._lost = 0
        event = _events.event_of(message)
        if event is None:
            return None
        self.id = self.id or event.generation_id
        if event.sequence != 0:
            if event.sequence <= self.sequence:
                return None
            self.sequence = event.sequence
        self.done = _events.is_last(event)
        return event

    def lose(self, error: _errors.Error | None) -> float:
        """Notes a lost stream (`None`: it ended without a last event) and says how long to wait before it is taken up; raises the
        error when it is none that passes, or when it was lost too often in a row."""
        error = error or _errors.lost("the daemon ended the stream early")
        self._lost += 1
        # A daemon that stops leaves what it does not finish to its next run; one that is not there yet cannot be reached.
        comes_back = bool(self.id) and error.reason in (_errors.CANNOT_CONNECT, "DRAINING")
        passes = comes_back or error.reason in (_errors.CONNECTION_LOST, "STREAM_LAGGED")
        if not passes or self._lost > ATTEMPTS:
            self.done = True
            raise error
        return FIRST_PAUSE_S * float(2 ** min(self._lost - 1, 5))
