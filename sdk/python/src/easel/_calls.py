"""The unary calls of the protocol: path, request and how to read the answer. The blocking and the asynchronous client send
them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

from easel import _events, _requests, proto

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call before it is made."""

    path: str
    request: Any
    answer: Any
    read: Callable[[Any], T]


def call(service: str, method: str, read: Callable[[Any], T], **fields: Any) -> Call[T]:
    """A call whose messages are named after its method, as all are."""
    request = getattr(proto, f"{method}Request")(**fields)
    return Call(f"/easel.v1.{service}Service/{method}", request, getattr(proto, f"{method}Response"), read)


def whole(answer: Any) -> Any:
    return answer


def version() -> Call[proto.GetVersionResponse]:
    return call("System", "GetVersion", whole)


def status() -> Call[proto.GetStatusResponse]:
    return call("System", "GetStatus", whole)


def capabilities() -> Call[proto.GetCapabilitiesResponse]:
    return call("System", "GetCapabilities", whole)


def prepare(spec: proto.GenerationSpec) -> Call[dict[str, float]]:
    return call("System", "PrepareConditioning", lambda a: _events.timings_of(a.timings), spec=spec)


def kept() -> Call[list[proto.KeptCache]]:
    return call("System", "ListConditioning", lambda a: list(a.caches))


def clear_kept(model: str) -> Call[int]:
    return call("System", "ClearConditioning", lambda a: int(a.freed_bytes), model=model)


def create(spec: proto.GenerationSpec, policy: proto.RunPolicy) -> Call[proto.CreateGenerationResponse]:
    return call("Generation", "CreateGeneration", whole, spec=spec, policy=policy)


def run(spec: proto.GenerationSpec, policy: proto.RunPolicy) -> Call[Any]:
    return call("Generation", "RunGeneration", lambda a: a.event, spec=spec, policy=policy)


def watch(generation: str, after: int) -> Call[Any]:
    return call("Generation", "WatchGeneration", lambda a: a.event, id=generation, after_sequence=after)


def poll(generation: str, after: int, preview: int, wait_s: float) -> Call[proto.PollGenerationResponse]:
    made = call("Generation", "PollGeneration", whole, id=generation, after_sequence=after, after_preview=preview)
    _requests.duration(made.request.wait, wait_s)
    return made


def generation(name: str) -> Call[proto.Generation]:
    return call("Generation", "GetGeneration", lambda a: a.generation, id=name)


def generations(page_size: int | None, page_token: str) -> Call[proto.ListGenerationsResponse]:
    sizes = {} if page_size is None else {"page_size": page_size}
    return call("Generation", "ListGenerations", whole, page_token=page_token, **sizes)


def cancel(name: str) -> Call[str]:
    outcome = lambda a: _events.name_of(proto.CancelOutcome, a.outcome, "CANCEL_OUTCOME")  # noqa: E731
    return call("Generation", "CancelGeneration", outcome, id=name)


def models() -> Call[list[proto.Model]]:
    return call("Model", "ListModels", lambda a: list(a.models))


def model(name: str) -> Call[proto.Model]:
    return call("Model", "GetModel", lambda a: a.model, name=name)


def add_model(folder: str, name: str) -> Call[proto.Model]:
    return call("Model", "AddModel", lambda a: a.model, folder=folder, name=name)


def unload_model(name: str) -> Call[proto.Model]:
    return call("Model", "UnloadModel", lambda a: a.model, name=name)


def load_model(name: str) -> Call[tuple[proto.Model, float]]:
    return call("Model", "LoadModel", lambda a: (a.model, float(a.fraction)), name=name)


def begin_upload(sha256: str, size: int) -> Call[proto.BeginUploadResponse]:
    return call("Blob", "BeginUpload", whole, sha256=sha256, size_bytes=size)


def append_upload(sha256: str, offset: int, data: bytes) -> Call[int]:
    return call("Blob", "AppendUpload", lambda a: int(a.offset), sha256=sha256, offset=offset, data=data)


def finish_upload(sha256: str) -> Call[Any]:
    return call("Blob", "FinishUpload", whole, sha256=sha256)


def read_blob(sha256: str) -> Call[proto.ReadBlobResponse]:
    return call("Blob", "ReadBlob", whole, sha256=sha256)


def create_session(name: str, sha256: str | None) -> Call[proto.Session]:
    image = {"image": proto.ImageSource(sha256=sha256)} if sha256 else {}
    return call("Session", "CreateSession", lambda a: a.session, name=name, **image)


def session(name: str, method: str = "GetSession", **more: Any) -> Call[proto.Session]:
    """GetSession, UndoSession, RedoSession and GoToRevision: one id in, the session out."""
    return call("Session", method, lambda a: a.session, session_id=name, **more)


def sessions(page_token: str) -> Call[proto.ListSessionsResponse]:
    return call("Session", "ListSessions", whole, page_token=page_token)


def update_session(name: str, **changes: Any) -> Call[proto.Session]:
    return call("Session", "UpdateSession", lambda a: a.session, session_id=name, **changes)


def delete_session(name: str) -> Call[proto.Removed]:
    return call("Session", "DeleteSession", lambda a: a.removed, session_id=name)


def revisions(name: str, page_token: str) -> Call[proto.ListRevisionsResponse]:
    return call("Session", "ListRevisions", whole, session_id=name, page_token=page_token)


def session_edit(name: str, edit: proto.SessionEdit) -> Call[proto.Generation]:
    return call("Session", "CreateSessionEdit", lambda a: a.generation, session_id=name, edit=edit)


def compare(name: str, one: str, other: str) -> Call[proto.CompareRevisionsResponse]:
    return call("Session", "CompareRevisions", whole, session_id=name, revision_id=one, other_revision_id=other)


def export_replay(name: str, revision: str) -> Call[proto.Replay]:
    return call("Session", "ExportReplay", lambda a: a.replay, session_id=name, revision_id=revision)


def import_replay(replay: proto.Replay, name: str | None) -> Call[proto.Session]:
    named = {} if name is None else {"name": name}
    return call("Session", "ImportReplay", lambda a: a.session, replay=replay, **named)


def collect_garbage(everything: bool) -> Call[proto.Removed]:
    return call("Session", "CollectGarbage", lambda a: a.removed, all=everything)


def watch_session(name: str) -> Call[proto.SessionEvent]:
    return call("Session", "WatchSession", lambda a: a.event, session_id=name)
