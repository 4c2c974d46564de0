"""What happens to a generation, as a program likes to match it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Union

from easel import _errors, proto


def name_of(enum: Any, number: int, prefix: str) -> str:
    """An enum value without its prefix, in lower case; one that this client does not know by its number."""
    try:
        return str(enum.Name(number)).removeprefix(prefix + "_").lower()
    except ValueError:
        return str(number)


@dataclass(frozen=True)
class Picture:
    """A picture that the daemon made; ``Easel.download`` gives its file."""

    #: Which picture of the generation, from 0.
    index: int
    #: The seed it was made from.
    seed: int
    #: Encoding: "png", "jpeg", "webp" or "tiff".
    format: str
    #: Width in pixels.
    width: int
    #: Height in pixels.
    height: int
    #: SHA-256 of the file; empty for previews, which are not kept.
    sha256: str
    #: Size of the file in bytes.
    size_bytes: int
    #: The file, when it came along: up to 1 MiB.
    inline: bytes = field(repr=False, default=b"")
    #: The message that it came in.
    message: Any = field(repr=False, default=None, compare=False)


@dataclass(frozen=True)
class Event:
    """What all events have."""

    #: Number of the state event, from 1 without gaps; 0 for previews, which are not numbered.
    sequence: int
    #: Id of the generation.
    generation_id: str
    #: When it happened, where the daemon says so.
    time: datetime | None


@dataclass(frozen=True)
class Accepted(Event):
    """First event, before any work: what was resolved."""

    #: The generation as accepted; ``generation.resolved`` has seed, sizes, steps and the stages to come.
    generation: proto.Generation

    @property
    def resolved(self) -> proto.Resolved:
        """What was resolved."""
        return self.generation.resolved


@dataclass(frozen=True)
class Queued(Event):
    """The place in the queue has changed."""

    #: 1 is next.
    position: int


@dataclass(frozen=True)
class Progress(Event):
    """A stage begins, moves on or ends."""

    #: "encode_prompt", "encode_image", "denoise", "decode" or "finish".
    stage: str
    #: Parts of the stage that are done.
    done: int
    #: Parts of the stage in all.
    total: int
    #: Which picture of the generation, from 0.
    image_index: int
    #: Share of the whole generation that is done, 0 to 1.
    fraction: float


@dataclass(frozen=True)
class Preview(Event):
    """How far the picture has come. The newest wins; a slow reader misses some."""

    #: Increases with every preview of a generation.
    number: int
    #: The step after which it was taken, from 1.
    step: int
    #: The picture, its file along with it.
    picture: Picture


@dataclass(frozen=True)
class Succeeded(Event):
    """Last event of a success."""

    #: The pictures, by index.
    pictures: list[Picture]
    #: Seconds computed in each stage.
    timings_s: dict[str, float]
    #: Seconds from acceptance to the end.
    total_s: float


@dataclass(frozen=True)
class Ended(Event):
    """Last event otherwise."""

    #: True when it was cancelled (by a call, a lost connection or a deadline), false when it failed.
    cancelled: bool
    #: Why.
    error: _errors.Error
    #: Seconds computed in each stage so far.
    timings_s: dict[str, float]


@dataclass(frozen=True)
class Snapshot(Event):
    """In place of events that the daemon no longer keeps: the generation as it stands."""

    #: The generation.
    generation: proto.Generation
    #: "queued", "running", "succeeded", "failed" or "cancelled".
    state: str


AnyEvent = Union[Accepted, Queued, Progress, Preview, Succeeded, Ended, Snapshot]


def picture_of(image: Any, index: int = 0, seed: int = 0) -> Picture:
    """From an ``Image`` message."""
    shown = name_of(proto.ImageFormat, image.format, "IMAGE_FORMAT")
    return Picture(index, seed, shown, image.width, image.height, image.sha256, image.size_bytes, image.inline, image)


def pictures_of(results: Any) -> list[Picture]:
    """From ``ResultImage`` messages."""
    return [picture_of(result.image, result.index, result.seed) for result in results]


def timings_of(timings: Any) -> dict[str, float]:
    """Seconds computed in each stage."""
    return {name_of(proto.Stage, t.stage, "STAGE"): seconds(t.computed) for t in timings}


def seconds(duration: Any) -> float:
    """A duration in seconds."""
    return float(duration.seconds) + float(duration.nanos) / 1e9


def state_of(generation: Any) -> str:
    """State of a generation as a word."""
    return name_of(proto.GenerationState, generation.state, "GENERATION_STATE")


def event_of(message: Any) -> AnyEvent | None:
    """From the message on the wire; ``None`` for an event of a kind that this client does not know."""
    kind = message.WhichOneof("event")
    time = None
    if message.HasField("time"):
        time = datetime.fromtimestamp(message.time.seconds + message.time.nanos / 1e9, timezone.utc)
    base = (message.sequence, message.generation_id, time)
    if kind == "accepted":
        return Accepted(*base, message.accepted.generation)
    if kind == "queued":
        return Queued(*base, message.queued.position)
    if kind == "progress":
        at = message.progress.progress
        return Progress(*base, name_of(proto.Stage, at.stage, "STAGE"), at.done, at.total, at.image_index, at.fraction)
    if kind == "preview":
        shown = message.preview
        return Preview(*base, shown.number, shown.step, picture_of(shown.image, shown.image_index))
    if kind == "succeeded":
        done = message.succeeded
        return Succeeded(*base, pictures_of(done.images), timings_of(done.timings), seconds(done.total))
    if kind == "ended":
        end = message.ended
        cancelled = name_of(proto.GenerationState, end.state, "GENERATION_STATE") == "cancelled"
        return Ended(*base, cancelled, _errors.of_generation(end.error), timings_of(end.timings))
    if kind == "snapshot":
        found = message.snapshot.generation
        return Snapshot(*base, found, state_of(found))
    return None


def is_last(event: AnyEvent) -> bool:
    """True for the last event of a generation."""
    ended = isinstance(event, Snapshot) and event.state in ("succeeded", "failed", "cancelled")
    return isinstance(event, (Succeeded, Ended)) or ended


def outcome(event: AnyEvent) -> Succeeded:
    """What the last event came to; raises the generation's error when it did not succeed."""
    if isinstance(event, Succeeded):
        return event
    if isinstance(event, Ended):
        raise event.error
    if isinstance(event, Snapshot):
        if event.state != "succeeded":
            raise _errors.of_generation(event.generation.error)
        found = event.generation
        total = seconds(found.end_time) - seconds(found.create_time)
        base = (event.sequence, event.generation_id, event.time)
        return Succeeded(*base, pictures_of(found.images), timings_of(found.timings), total)
    raise _errors.protocol("an event that is not the last one was taken for it")
