"""The normal form, from proto3 JSON: shared by the runners that are written in Python. README.md of the corpus describes it."""

import base64
import struct


def short(prefix, name):
    """An enum value without its prefix, in lower case."""
    return (name or "").removeprefix(prefix + "_").lower()


def matches(until, line):
    """True when a line is what a `read` reads up to."""
    if until is None:
        return False
    wanted = {until: {}} if isinstance(until, str) else until
    name, fields = next(iter(wanted.items()))
    return name in line and all(line[name].get(key) == value for key, value in fields.items())


def number(value):
    return int(value or 0)


def size(message, prefix=""):
    """Width and height; `prefix` as in workingWidth."""
    names = (f"{prefix}Width", f"{prefix}Height") if prefix else ("width", "height")
    return [number(message.get(name)) for name in names]


def timings(message):
    return sorted(short("STAGE", timing.get("stage")) for timing in message.get("timings", []))


def image(result):
    """A result image."""
    made = result["image"]
    said = {"index": number(result.get("index")), "seed": str(result.get("seed", "0"))}
    return {**said, "format": short("IMAGE_FORMAT", made["format"]), "size": size(made), "sha256": made["sha256"]}


def event(of, message):
    """A line for an event of a generation."""
    sequence = number(message.get("sequence"))
    if "accepted" in message:
        return {"of": of, "accepted": accepted(sequence, message["accepted"]["generation"]["resolved"])}
    if "queued" in message:
        return {"of": of, "queued": {"sequence": sequence, "position": number(message["queued"].get("position"))}}
    if "progress" in message:
        return {"of": of, "progress": {"sequence": sequence, **progress(message["progress"]["progress"])}}
    if "preview" in message:
        return {"of": of, "preview": preview(message["preview"])}
    if "succeeded" in message:
        done = message["succeeded"]
        return {"of": of, "succeeded": {"sequence": sequence, "images": [image(i) for i in done["images"]], "timings": timings(done)}}
    if "ended" in message:
        end = message["ended"]
        state = short("GENERATION_STATE", end["state"])
        return {"of": of, "ended": {"sequence": sequence, "state": state, "error": generation_error(end["error"])}}
    state = short("GENERATION_STATE", message["snapshot"]["generation"]["state"])
    return {"of": of, "snapshot": {"sequence": sequence, "state": state}}


def accepted(sequence, resolved):
    return {
        "sequence": sequence,
        "mode": short("MODE", resolved["mode"]),
        "model": resolved["model"],
        "seed": str(resolved.get("seed", "0")),
        "size": size(resolved),
        "working_size": size(resolved, "working"),
        "steps": number(resolved["numInferenceSteps"]),
        "num_images": number(resolved["numImages"]),
        "format": short("IMAGE_FORMAT", resolved["outputFormat"]),
        "stages": [short("STAGE", stage) for stage in resolved.get("stages", [])],
        "notes": resolved.get("notes", []),
    }


def progress(at):
    return {
        "stage": short("STAGE", at["stage"]),
        "done": number(at.get("done")),
        "total": number(at.get("total")),
        "image": number(at.get("imageIndex")),
        "fraction": round(at.get("fraction", 0.0), 6),
    }


def preview(message):
    shown = message["image"]
    return {
        "number": number(message["number"]),
        "image": number(message.get("imageIndex")),
        "step": number(message["step"]),
        "format": short("IMAGE_FORMAT", shown["format"]),
        "size": size(shown),
        "bytes": len(base64.b64decode(shown.get("inline", ""))),
    }


def generation(of, message):
    error = generation_error(message["error"]) if "error" in message else None
    images = [result["image"]["sha256"] for result in message.get("images", [])]
    line = {"state": short("GENERATION_STATE", message["state"]), "error": error, "images": images}
    return {**({"of": of} if of else {}), "generation": line}


def model(message, everything=False):
    said = {"name": message["name"], "state": short("MODEL_STATE", message["state"])}
    return {**said, "pipeline": short("PIPELINE", message["pipeline"])} if everything else said


def session(of, message):
    facts = {
        "name": message.get("name", ""),
        "revisions": number(message.get("revisionCount")),
        "redo": len(message.get("redoRevisionIds", [])),
        "has_head": bool(message.get("headRevisionId")),
    }
    return {"of": of, "session": facts}


def revision(message):
    made, prompt = message["image"], message.get("spec", {}).get("prompt", "")
    return {"has_parent": "parentRevisionId" in message, "size": size(made), "sha256": made["sha256"], "prompt": prompt}


# ---------------------------------------------------------------- errors

CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()


def plain_error(code, reason, message):
    empty = {"fields": [], "retry_ms": None, "resource": None, "metadata": {}}
    return {"code": code, "reason": reason, "message": message, **empty}


def generation_error(error):
    """From a GenerationError."""
    found = plain_error(CODES[number(error.get("code"))], error.get("reason", ""), error.get("message", ""))
    found["fields"] = [violation["field"] for violation in error.get("violations", [])]
    if "retryAfter" in error:
        found["retry_ms"] = round(float(error["retryAfter"].removesuffix("s")) * 1000)
    if error.get("resourceName"):
        found["resource"] = [error["resourceType"], error["resourceName"]]
    found["metadata"] = error.get("metadata", {})
    return found


def error_of_details(code, message, details):
    """From a status: `details` are short type names (`ErrorInfo`) with their documents, in JSON or in base64 (`value`)."""
    error = plain_error(code, "UNKNOWN", message)
    for name, document in details:
        if "value" in document:
            padded = document["value"] + "=" * (-len(document["value"]) % 4)
            document = decoded(name, list(wire(base64.b64decode(padded))))
        if name == "ErrorInfo":
            error["reason"], error["metadata"] = document.get("reason", ""), document.get("metadata", {})
        elif name == "BadRequest":
            error["fields"] += [violation["field"] for violation in document.get("fieldViolations", [])]
        elif name == "RetryInfo":
            error["retry_ms"] = round(float(document.get("retryDelay", "0s").removesuffix("s")) * 1000)
        elif name == "ResourceInfo":
            error["resource"] = [document.get("resourceType", ""), document.get("resourceName", "")]
    return error


def decoded(name, fields):
    """A detail as its JSON would be, from the numbers and values of its fields."""
    if name == "ErrorInfo":
        entries = [dict(wire(value)) for number, value in fields if number == 3]
        metadata = {entry[1].decode(): entry.get(2, b"").decode() for entry in entries}
        return {"reason": dict(fields).get(1, b"").decode(), "metadata": metadata}
    if name == "BadRequest":
        return {"fieldViolations": [{"field": dict(wire(value))[1].decode()} for number, value in fields if number == 1]}
    if name == "RetryInfo":
        delay = dict(wire(dict(fields).get(1, b"")))
        return {"retryDelay": f"{delay.get(1, 0) + delay.get(2, 0) / 1e9}s"}
    if name == "ResourceInfo":
        texts = dict(fields)
        return {"resourceType": texts.get(1, b"").decode(), "resourceName": texts.get(2, b"").decode()}
    return {}


def wire(data):
    """Numbers and values of the fields of an encoded message: whole numbers and bytes."""
    at = 0

    def varint():
        nonlocal at
        result = shift = 0
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 2:
            length = varint()
            at += length
            yield key >> 3, data[at - length : at]
        else:
            width = {1: 8, 5: 4}[kind]
            at += width
            yield key >> 3, struct.unpack("<Q" if width == 8 else "<I", data[at - width : at])[0]
