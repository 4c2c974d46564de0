"""Compares what a client printed with what a scenario expects, and holds each stream to the contract."""

import re

IDS = re.compile(r"\b(gen|ses|rev|prep)_[0-9a-f]{32}\b|\bincident [0-9a-f]{8}\b")
PASSING = {"queued", "progress", "preview"}
LAST = {"succeeded", "ended"}
EVENTS = PASSING | LAST | {"accepted", "snapshot"}


def without_ids(value):
    """What a client printed, with `gen_ID` and the like in place of ids that the daemon draws."""
    if isinstance(value, str):
        return IDS.sub(lambda found: re.sub(r"[0-9a-f]{8,}$", "ID", found.group()), value)
    if isinstance(value, dict):
        return {key: without_ids(inner) for key, inner in value.items()}
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


def kind(line):
    """What a line of the normal form is about."""
    return next((key for key in line if key != "of"), None)


def part_of(pattern, value, bound):
    """Why `value` does not have all that `pattern` names; `None` when it does. `bound` has the values of `$name`s."""
    if pattern == "*":
        return None
    if isinstance(pattern, str) and pattern.startswith("$"):
        known = bound.setdefault(pattern, value)
        return None if known == value else f"{pattern} was {known!r} and is {value!r}"
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return f"{value!r} is no object"
        for key, inner in pattern.items():
            if key not in value:
                return f"{key!r} is missing in {value!r}"
            if why := part_of(inner, value[key], bound):
                return f"{key}: {why}"
        return None
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(pattern) != len(value):
            return f"{value!r} is no list like {pattern!r}"
        whys = (part_of(p, v, bound) for p, v in zip(pattern, value))
        return next((why for why in whys if why), None)
    return None if pattern == value else f"expected {pattern!r}, came {value!r}"


def differs(expected, lines, bound):
    """Why the lines are not those expected; `None` when they are."""
    at = 0
    for number, pattern in enumerate(expected):
        if pattern == "...":
            while at < len(lines) and kind(lines[at]) in PASSING and not _is_next(expected, number, lines[at], bound):
                at += 1
            continue
        if at == len(lines):
            return f"nothing came for {pattern!r}"
        if why := part_of(pattern, lines[at], bound):
            return f"line {at + 1}, {lines[at]!r}: {why}"
        at += 1
    return None if at == len(lines) else f"line {at + 1} was not expected: {lines[at]!r}"


def _is_next(expected, number, line, bound):
    """True when the line is what comes after the dots: `... , {progress: {done: 2}}` stops at that one."""
    after = expected[number + 1] if number + 1 < len(expected) else None
    return isinstance(after, dict) and part_of(after, line, dict(bound)) is None


def breach(lines, starts, restarts):
    """How the lines break the contract of streams, whatever was expected; `None` when they keep it. `starts` has the numbers
    after which streams began; `restarts` says that the daemon was killed, and a run may begin again."""
    streams = {}
    for line in lines:
        what = kind(line)
        if what not in EVENTS or "of" not in line:
            continue
        event = line[what]
        state = streams.setdefault(line["of"], {"sequence": starts.get(line["of"], 0), "fraction": 0.0, "ended": False})
        if state["ended"]:
            return f"{line!r} came after the last event"
        if what == "preview":
            continue
        if what == "snapshot":
            state["sequence"] = event["sequence"]
            continue
        if event["sequence"] != state["sequence"] + 1:
            return f"{line!r} came after number {state['sequence']}"
        if (event["sequence"] == 1) != (what == "accepted"):
            return f"{line!r} is the first and not accepted, or the other way round"
        state["sequence"] = event["sequence"]
        if what == "progress":
            if event["fraction"] < state["fraction"] - 1e-6 and not restarts:
                return f"{line!r}: the fraction fell from {state['fraction']}"
            state["fraction"] = event["fraction"]
        state["ended"] = what in LAST
    return None


def firm(lines):
    """What must be equal between clients: all lines but those of how it goes on, without numbers that depend on them."""
    return [_firm(line) for line in lines if kind(line) not in PASSING]


def _firm(value):
    if isinstance(value, dict):
        drop = {"sequence", "retry_ms"}
        return {key: _firm(inner) for key, inner in value.items() if key not in drop}
    return [_firm(inner) for inner in value] if isinstance(value, list) else value
