"""gRPC-Web through `http.client`: the standard library alone, over TCP and over a Unix socket. For programs that embed Python and
have no room for C extensions."""

from __future__ import annotations

import base64
import http.client
import socket
import struct
from collections.abc import Iterator
from urllib.parse import unquote

from easel import _errors
from easel._discovery import Target

_CONNECT_TIMEOUT_S = 5.0
#: A unary call that takes longer than this without a deadline of its own is lost; the longest poll waits for 60 s.
_CALL_TIMEOUT_S = 120.0
#: The daemon sends the headers of a stream before its first event.
_HEADERS_TIMEOUT_S = 20.0
_TRAILERS = 0x80
_MAX_MESSAGE_BYTES = 8 << 20


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Web:
    """Calls over HTTP/1.1, each on a connection of its own: calls from several threads do not meet."""

    #: False: HTTP/1.1 carries one request at a time.
    bidirectional = False

    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self._headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "host": target.authority}
        if target.token:
            self._headers["authorization"] = f"Bearer {target.token}"
        if name:
            self._headers["easel-client"] = name

    def unary(self, path: str, data: bytes, timeout_s: float | None) -> bytes:
        """One answer to one message."""
        stream = self._call(path, data, timeout_s or _CALL_TIMEOUT_S, timeout_s)
        try:
            answers = list(stream)
        finally:
            stream.close()
        if len(answers) != 1:
            raise _errors.protocol(f"{path} answered with {len(answers)} messages")
        return answers[0]

    def stream(self, path: str, data: bytes, patience_s: float | None = None) -> _Stream:
        """Many answers to one message. With `patience_s` a silence of that length is a lost connection."""
        return self._call(path, data, patience_s, None)

    def both(self, path: str, requests: Iterator[bytes]) -> _Stream:
        """Not over HTTP/1.1."""
        raise _errors.setup("this transport cannot send a stream: use the unary calls, or grpcio")

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def _call(self, path: str, data: bytes, silence_s: float | None, deadline_s: float | None) -> _Stream:
        target = self.target
        connection: http.client.HTTPConnection
        if target.socket:
            connection = _UnixConnection(target.socket, _CONNECT_TIMEOUT_S)
        else:
            connection = http.client.HTTPConnection(target.host, target.port, timeout=_CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if not target.socket else None
        except OSError as error:
            connection.close()
            raise _errors.cannot_connect(target, error) from None
        headers = dict(self._headers)
        if deadline_s is not None:
            headers["grpc-timeout"] = f"{max(1, round(deadline_s * 1000))}m"
        try:
            connection.sock.settimeout(silence_s or _HEADERS_TIMEOUT_S)
            # http.client lets go of the socket when the answer says `connection: close`.
            sock = connection.sock
            connection.request("POST", path, struct.pack(">BI", 0, len(data)) + data, headers)
            stream = _Stream(connection, sock, connection.getresponse())
            sock.settimeout(silence_s)
            return stream
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _errors.lost(error or type(error).__name__) from None


class _Stream:
    """The frames of an answer. Closing it from another thread ends a read that waits."""

    def __init__(self, connection: http.client.HTTPConnection, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._connection, self._response, self._socket = connection, response, sock
        kind = response.getheader("content-type", "") or ""
        status = response.getheader("grpc-status")
        if status is None and not kind.startswith("application/grpc"):
            self.close()
            reason = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(response.status, "UNKNOWN")
            raise _errors.Error(reason, _errors.UNKNOWN, f"HTTP {response.status} without a gRPC status: no Easel daemon")
        # An error before the first message stands in the headers.
        self._early = dict(response.getheaders()) if status is not None else None

    def __iter__(self) -> Iterator[bytes]:
        if self._early is not None:
            _check({key.lower(): value for key, value in self._early.items()})
            return
        while True:
            flags, length = struct.unpack(">BI", self._exactly(5))
            if length > _MAX_MESSAGE_BYTES:
                raise _errors.protocol(f"a message of {length} bytes is larger than {_MAX_MESSAGE_BYTES}")
            body = self._exactly(length)
            if flags & _TRAILERS:
                _check(_trailers(body))
                return
            yield body

    def _exactly(self, count: int) -> bytes:
        parts = b""
        try:
            while len(parts) < count:
                part = self._response.read1(count - len(parts))
                if not part:
                    raise _errors.lost("the answer ended early")
                parts += part
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            raise _errors.lost(error or type(error).__name__) from None
        return parts

    def patient(self) -> None:
        """From now on a silence is no loss."""
        try:
            self._socket.settimeout(None)
        except OSError:
            pass  # closed meanwhile, as the next read will say

    def close(self) -> None:
        """Ends the call; the daemon sees the connection go."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._response.close()
        self._connection.close()


def _trailers(body: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in body.decode("utf-8", "replace").split("\r\n") if line]
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _check(trailers: dict[str, str]) -> None:
    """Raises the error that a status says, if it says one."""
    status = trailers.get("grpc-status", "")
    if status == "0":
        return
    code = _errors.code_name(int(status) if status.isdigit() else 2)
    text = trailers.get("grpc-status-details-bin", "")
    try:
        details = base64.b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        details = b""
    raise _errors.of_status(code, unquote(trailers.get("grpc-message", "")), details)
