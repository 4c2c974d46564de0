"""The one error of this package: what the daemon said, decoded from the status and its details, or what happened on the
way to it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()

#: No daemon answers at the given place.
CANNOT_CONNECT = "CANNOT_CONNECT"
#: The connection broke and could not be taken up again.
CONNECTION_LOST = "CONNECTION_LOST"
#: The daemon sent something that the protocol does not allow.
PROTOCOL_VIOLATED = "PROTOCOL_VIOLATED"
#: Something on this side is wrong: an address, a token, a discovery file, an argument.
CLIENT_SETUP = "CLIENT_SETUP"
#: The answer came from something that is not an Easel daemon, or from one that gave no reason.
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field of a request."""

    #: Path of the field as in the proto, for example ``spec.prompt``.
    field: str
    #: What is wrong and what would be right.
    description: str


class Error(Exception):
    """What went wrong, for programs and for persons.

    Attributes:
        code: gRPC status code by its name, for example ``"NOT_FOUND"``.
        reason: stable reason, for programs: the daemon's, or one of ``CANNOT_CONNECT``, ``CONNECTION_LOST``,
            ``PROTOCOL_VIOLATED``, ``CLIENT_SETUP``, ``UNKNOWN``.
        message: what happened and how to mend it, for a person.
        violations: the wrong fields, all of them at once.
        retry_after_s: try again after this time, where that helps.
        resource: kind and name of what the error is about, for example ``("model", "big")``.
        metadata: further facts of the reason, by name.
    """

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations: list[FieldViolation] = []
        self.retry_after_s: float | None = None
        self.resource: tuple[str, str] | None = None
        self.metadata: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"easel.Error({self.code}, {self.reason}: {self.message})"

    @property
    def is_connection(self) -> bool:
        """True when no daemon could be reached, or the connection to it was lost for good."""
        return self.reason in (CANNOT_CONNECT, CONNECTION_LOST)

    @property
    def is_busy(self) -> bool:
        """True when the same request may succeed later: the daemon is full, about to stop or rebuilding a part of itself."""
        return not self.is_connection and self.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE")


def cannot_connect(place: object, cause: object) -> Error:
    return Error("UNAVAILABLE", CANNOT_CONNECT, f"no daemon answers at {place}: {cause}")


def lost(cause: object) -> Error:
    return Error("UNAVAILABLE", CONNECTION_LOST, f"the connection was lost: {cause}")


def protocol(message: str) -> Error:
    return Error("INTERNAL", PROTOCOL_VIOLATED, message)


def setup(message: str) -> Error:
    return Error("INVALID_ARGUMENT", CLIENT_SETUP, message)


def code_name(number: int) -> str:
    """Name of a gRPC code."""
    return CODES[number] if 0 <= number < len(CODES) else "UNKNOWN"


def of_generation(error: Any) -> Error:
    """The error in an event that ends a generation."""
    own = Error(code_name(error.code), error.reason, error.message)
    own.violations = [FieldViolation(bad.field, bad.description) for bad in error.violations]
    if error.HasField("retry_after"):
        own.retry_after_s = error.retry_after.seconds + error.retry_after.nanos / 1e9
    if error.resource_name:
        own.resource = (error.resource_type, error.resource_name)
    own.metadata = dict(error.metadata)
    return own


def of_status(code: str, message: str, details: bytes) -> Error:
    """The error of a failed call; `details` is an encoded ``google.rpc.Status``. What cannot be decoded is left out: code and
    message stand without it."""
    error = Error(code, UNKNOWN, message or code.lower().replace("_", " "))
    try:
        parts = [dict(_wire(value)) for number, value in _wire(details) if number == 3]
        for part in parts:
            _decode(part.get(1, b"").decode().rpartition(".")[2], list(_wire(part.get(2, b""))), error)
    except (ValueError, IndexError, KeyError, AttributeError, struct.error):
        pass
    return error


def _decode(name: str, fields: list[tuple[int, Any]], error: Error) -> None:
    values = dict(fields)
    if name == "ErrorInfo":
        error.reason = values.get(1, b"").decode()
        entries = [dict(_wire(value)) for number, value in fields if number == 3]
        error.metadata = {entry[1].decode(): entry.get(2, b"").decode() for entry in entries}
    elif name == "BadRequest":
        bad = [dict(_wire(value)) for number, value in fields if number == 1]
        error.violations += [FieldViolation(one.get(1, b"").decode(), one.get(2, b"").decode()) for one in bad]
    elif name == "RetryInfo":
        delay = dict(_wire(values.get(1, b"")))
        error.retry_after_s = delay.get(1, 0) + delay.get(2, 0) / 1e9
    elif name == "ResourceInfo":
        error.resource = (values.get(1, b"").decode(), values.get(2, b"").decode())


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of the fields of an encoded message: whole numbers and bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(data, at)
            yield key >> 3, data[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, at
