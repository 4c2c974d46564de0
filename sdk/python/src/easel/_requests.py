"""Building requests from keyword arguments. Nothing is checked here but names: the daemon reports every wrong field at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from easel import _errors, proto

#: Source pictures up to this size go along with the request: an upload would cost three calls more.
INLINE_BYTES = 64 * 1024

PreviewKind = Literal["off", "projection", "decoded"]


@dataclass(frozen=True)
class Previews:
    """Which previews a client wants."""

    #: How they are made: "projection" is nearly free and small, "decoded" has full detail.
    kind: PreviewKind = "decoded"
    #: Longest edge in pixels, 16 to 4096; ``None``: as the kind yields it. Never enlarges.
    longest_edge_px: int | None = None
    #: Encoding: "png", "jpeg", "webp" or "tiff".
    format: str = "jpeg"
    #: A preview after every n-th step, 1 to 100.
    every_n_steps: int = 1


class Options(TypedDict, total=False):
    """What may be said about a picture and how it is run; what is not set takes the checkpoint's defaults."""

    #: Model by its name.
    model: str
    #: What to avoid; only models with guidance read it.
    negative_prompt: str
    #: Width of the result in pixels; both or neither of width and height.
    width: int
    #: Height of the result in pixels.
    height: int
    #: Denoising steps, 1 to 100.
    num_inference_steps: int
    #: Noise levels in place of a number of steps: in (0, 1], strictly decreasing.
    sigmas: list[float]
    #: Strength of the prompt, 0 to 30.
    guidance_scale: float
    #: Strength of the source picture, 0 to 30.
    image_guidance_scale: float
    #: Seed of the first picture; default: random, and the first event tells.
    seed: int
    #: Number of pictures, 1 to 16; picture i has the seed ``seed + i``.
    num_images: int
    #: Encoding of the result: "png", "jpeg", "webp" or "tiff".
    output_format: str
    #: Any further field of ``GenerationSpec``, by its name: messages of ``easel.proto`` or dictionaries.
    fields: dict[str, Any]
    #: Previews: a kind, or all that can be said. Default: none.
    previews: PreviewKind | Previews
    #: Urgency: "live", "interactive" or "batch".
    priority: str
    #: What a lost connection means: "cancel" (default) or "keep", with which a stream survives it without losing work.
    on_disconnect: str
    #: Compute stops this long after the creation, in seconds.
    timeout_s: float
    #: The same id with the same content returns the first generation. Default: a random one.
    request_id: str


_SPEC = (
    "model negative_prompt width height num_inference_steps sigmas guidance_scale image_guidance_scale seed num_images".split()
)


def value(prefix: str, enum: Any, name: str) -> int:
    """The number of an enum value, from "denoise" as from "STAGE_DENOISE"."""
    full = name if name.startswith(prefix) else f"{prefix}_{name.upper()}"
    try:
        return int(enum.Value(full))
    except ValueError:
        known = ", ".join(key.removeprefix(prefix + "_").lower() for key in enum.keys())
        raise _errors.setup(f"{name!r} is unknown, there are {known}") from None


def spec(mode: str, prompt: str, options: Options) -> proto.GenerationSpec:
    """A ``GenerationSpec``; its picture is put in later."""
    message = proto.GenerationSpec(prompt=prompt, mode=value("MODE", proto.Mode, mode) if mode else 0)  # type: ignore[arg-type]
    given: dict[str, Any] = dict(options)
    for name in _SPEC:
        if given.get(name) is None:
            continue
        if name == "sigmas":
            message.sigmas.extend(given[name])
        else:
            setattr(message, name, given[name])
    if given.get("output_format"):
        message.output_format = value("IMAGE_FORMAT", proto.ImageFormat, given["output_format"])  # type: ignore[assignment]
    if given.get("fields"):
        message.MergeFrom(proto.GenerationSpec(**given["fields"]))
    return message


def policy(options: Options) -> proto.RunPolicy:
    """A ``RunPolicy``, with a request id in any case: a start that was lost on the way can then be repeated."""
    message = proto.RunPolicy(request_id=options.get("request_id") or str(uuid.uuid4()))
    previews = options.get("previews")
    if previews:
        wanted = Previews(kind=previews) if isinstance(previews, str) else previews
        message.previews.kind = value("PREVIEW_KIND", proto.PreviewKind, wanted.kind)  # type: ignore[assignment]
        message.previews.format = value("IMAGE_FORMAT", proto.ImageFormat, wanted.format)  # type: ignore[assignment]
        message.previews.every_n_steps = wanted.every_n_steps
        if wanted.longest_edge_px is not None:
            message.previews.longest_edge_px = wanted.longest_edge_px
    if options.get("priority"):
        message.priority = value("PRIORITY", proto.Priority, options["priority"])  # type: ignore[assignment]
    if options.get("on_disconnect"):
        kept = value("DISCONNECT_POLICY", proto.DisconnectPolicy, options["on_disconnect"])
        message.on_disconnect = kept  # type: ignore[assignment]
    if options.get("timeout_s") is not None:
        duration(message.timeout, options["timeout_s"])
    return message


def duration(message: Any, time_s: float) -> None:
    """Sets a ``Duration``."""
    nanos = round(time_s * 1e9)
    message.seconds, message.nanos = nanos // 10**9, nanos % 10**9
    message.SetInParent()
