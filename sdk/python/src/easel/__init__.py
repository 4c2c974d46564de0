"""Python client of the Easel daemon: generate and edit pictures on this machine, with progress and previews.

    import easel

    with easel.Easel.connect() as client:
        for event in client.edit("room.png", "make the wall blue", seed=7, previews="decoded"):
            match event:
                case easel.Progress():
                    print(f"{event.fraction:.0%}")
                case easel.Succeeded():
                    open("blue-room.png", "wb").write(client.download(event.pictures[0]))
                case easel.Ended():
                    raise event.error

:class:`Easel` is the blocking client, :class:`AsyncEasel` the same for asyncio (needs grpcio). A stream that loses its connection
comes back by itself and goes on after the last event that it has seen. Every error is one :class:`Error` with a gRPC code, a stable
reason, a sentence for a person and, where they apply, the wrong fields and when to try again.

``Easel.connect(transport="web")`` needs nothing but the standard library: for programs that embed Python.
"""

from easel import proto
from easel._client import Easel
from easel._discovery import Target, discovery_file
from easel._editor import AsyncEditor, Editor
from easel._errors import Error, FieldViolation
from easel._events import (
    Accepted,
    AnyEvent,
    Ended,
    Event,
    Picture,
    Preview,
    Progress,
    Queued,
    Snapshot,
    Succeeded,
)
from easel._pictures import png, to_numpy, to_pillow
from easel._requests import Options, Previews
from easel._stream import GenerationStream

__version__ = "0.1.0"

__all__ = [
    "Accepted", "AnyEvent", "AsyncEasel", "AsyncEditor", "AsyncGenerationStream", "Easel", "Editor", "Ended", "Error", "Event", "FieldViolation",
    "GenerationStream", "Options", "Picture", "Preview", "Previews", "Progress", "Queued", "Snapshot", "Succeeded", "Target",
    "discovery_file", "png", "proto", "to_numpy", "to_pillow",
]  # fmt: skip

# Only what asks for the asynchronous client needs grpcio.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from easel._aio import AsyncEasel
    from easel._aio_stream import AsyncGenerationStream


def __getattr__(name: str) -> object:
    if name in ("AsyncEasel", "AsyncGenerationStream"):
        from easel import _aio

        return getattr(_aio, name)
    raise AttributeError(f"module 'easel' has no attribute {name!r}")
