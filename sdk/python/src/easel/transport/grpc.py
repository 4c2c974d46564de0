"""gRPC through grpcio, blocking and asynchronous. Messages come and go as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio

from easel import _errors
from easel._discovery import Target

_DETAILS = "grpc-status-details-bin"


def _address(target: Target) -> str:
    return f"unix:{quote(target.socket)}" if target.socket else target.authority


def _options(target: Target) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", 8 << 20),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # The client repeats calls by itself where that is safe.
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    # The authority must be a host name: HTTP/2 refuses a percent-encoded path in its place.
    return options + ([("grpc.default_authority", "localhost")] if target.socket else [])


def _error(error: Any) -> _errors.Error:
    """From an `RpcError`: without details and UNAVAILABLE, or with a text of grpcio's own, it was the transport that failed."""
    code, message = error.code().name, error.details() or ""
    trailers = {key: value for key, value in (error.trailing_metadata() or ())}
    details = trailers.get(_DETAILS, b"")
    if not details and code == "UNAVAILABLE":
        refused = "connect" in message.lower() or "no such file" in message.lower()
        return _errors.cannot_connect("its place", message) if refused else _errors.lost(message)
    if not details and code in ("CANCELLED", "INTERNAL", "UNKNOWN") and ("RST_STREAM" in message or "GOAWAY" in message):
        return _errors.lost(message)
    return _errors.of_status(code, message, bytes(details))


def _metadata(target: Target, name: str) -> tuple[tuple[str, str], ...]:
    token = (("authorization", f"Bearer {target.token}"),) if target.token else ()
    return token + ((("easel-client", name),) if name else ())


class Blocking:
    """A channel for programs with threads."""

    #: True: streams in both directions.
    bidirectional = True

    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self._metadata = _metadata(target, name)
        self._channel = grpc.insecure_channel(_address(target), options=_options(target))

    def unary(self, path: str, data: bytes, timeout_s: float | None) -> bytes:
        """One answer to one message."""
        try:
            answer = self._channel.unary_unary(path)(data, timeout=timeout_s, metadata=self._metadata)
            return bytes(answer)
        except grpc.RpcError as error:
            raise _error(error) from None

    def stream(self, path: str, data: bytes) -> _Stream:
        """Many answers to one message."""
        return _Stream(self._channel.unary_stream(path)(data, metadata=self._metadata))

    def both(self, path: str, requests: Iterator[bytes]) -> _Stream:
        """Many answers to many messages."""
        return _Stream(self._channel.stream_stream(path)(requests, metadata=self._metadata))

    def close(self) -> None:
        """Ends the connection and all calls."""
        self._channel.close()


class _Stream:
    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            for answer in self._call:
                yield bytes(answer)
        except grpc.RpcError as error:
            raise _error(error) from None

    def close(self) -> None:
        self._call.cancel()


class Asynchronous:
    """A channel for asyncio."""

    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self._metadata = _metadata(target, name)
        self._channel = grpc.aio.insecure_channel(_address(target), options=_options(target))

    async def unary(self, path: str, data: bytes, timeout_s: float | None) -> bytes:
        """One answer to one message."""
        try:
            answer = await self._channel.unary_unary(path)(data, timeout=timeout_s, metadata=self._metadata)
            return bytes(answer)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from None

    def stream(self, path: str, data: bytes) -> _AsyncStream:
        """Many answers to one message."""
        return _AsyncStream(self._channel.unary_stream(path)(data, metadata=self._metadata))

    def both(self, path: str, requests: AsyncIterator[bytes]) -> _AsyncStream:
        """Many answers to many messages."""
        return _AsyncStream(self._channel.stream_stream(path)(requests, metadata=self._metadata))

    async def close(self) -> None:
        """Ends the connection and all calls."""
        await self._channel.close()


class _AsyncStream:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for answer in self._call:
                yield bytes(answer)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from None

    def close(self) -> None:
        self._call.cancel()
