"""Where the daemon of this user is: its discovery file, or a place that is given."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from easel import _errors

#: The daemon takes the first free port of this block.
FIRST_PORT, PORTS = 7461, 4


@dataclass(frozen=True)
class Target:
    """A place where a daemon listens: a TCP address with a token, or a Unix socket."""

    host: str = ""
    port: int = 0
    socket: str = ""
    token: str | None = None

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Target({self})"  # without the token: targets end up in logs

    @property
    def authority(self) -> str:
        """What stands in the Host header; a socket has no name of its own."""
        if self.socket:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def tcp(address: str, token: str | None = None) -> Target:
    """A target from ``http://127.0.0.1:7461``, ``127.0.0.1:7461`` or ``[::1]:7461``."""
    plain = address.removeprefix("http://").rstrip("/")
    host, colon, port = plain.rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise _errors.setup(f"{address} is not an address: give http://HOST:PORT")
    return Target(host=host.strip("[]"), port=int(port), token=token)


def discovery_file() -> Path:
    """The discovery file of this user's daemon."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "easel" / "run" / "daemon.json"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute() and runtime:
        return Path(runtime) / "easel" / "daemon.json"
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state and Path(state).is_absolute() else home / ".local" / "state"
    return base / "easel" / "run" / "daemon.json"


def targets(file: Path | None = None) -> list[Target]:
    """The places that a discovery file names, the Unix socket first. Without a readable token TCP is left out."""
    path = file or discovery_file()
    try:
        found = json.loads(path.read_bytes())
        socket, addresses, token_file = found["socket"], found["addresses"], found["token_file"]
    except FileNotFoundError:
        raise _errors.cannot_connect(path, "there is no discovery file, no daemon runs: start it with `easel serve`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _errors.setup(f"{path} is not a discovery file: {error}") from error
    listed = [Target(socket=socket)] if hasattr(__import__("socket"), "AF_UNIX") else []
    try:
        token = read_token(Path(token_file))
    except _errors.Error:
        return listed
    return listed + [tcp(address, token) for address in addresses]


def read_token(file: Path) -> str:
    """The token in a file: one line of plain characters."""
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise _errors.setup(f"the token file {file} cannot be read: {error}") from error
    if not token or not all("!" <= letter <= "~" for letter in token):
        raise _errors.setup(f"{file} holds no token: one line of plain characters")
    return token
