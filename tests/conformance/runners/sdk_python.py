#!/usr/bin/env python3
"""The runner of the Python SDK: grpcio, asyncio, or the standard library alone (`pure`, over the protobuf that the package
brings)."""

import argparse
import asyncio
import inspect
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import normal  # noqa: E402


def error_line(error):
    """An `easel.Error` in the normal form."""
    return {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "fields": [violation.field for violation in error.violations],
        "retry_ms": None if error.retry_after_s is None else round(error.retry_after_s * 1000),
        "resource": list(error.resource) if error.resource else None,
        "metadata": error.metadata,
    }


def picture(found):
    size = [found.width, found.height]
    return {"index": found.index, "seed": str(found.seed), "format": found.format, "size": size, "sha256": found.sha256}


class Lines:
    """What the SDK gives, as lines of the normal form."""

    def __init__(self, easel):
        self.easel = easel

    def word(self, enum, number, prefix):
        return getattr(self.easel.proto, enum).Name(number).removeprefix(prefix + "_").lower()

    def event(self, of, event):
        facts = getattr(self, type(event).__name__.lower())(event)
        number = {} if type(event).__name__ == "Preview" else {"sequence": event.sequence}
        return {"of": of, type(event).__name__.lower(): {**number, **facts}}

    def accepted(self, event):
        resolved = event.resolved
        return {
            "mode": self.word("Mode", resolved.mode, "MODE"),
            "model": resolved.model,
            "seed": str(resolved.seed),
            "size": [resolved.width, resolved.height],
            "working_size": [resolved.working_width, resolved.working_height],
            "steps": resolved.num_inference_steps,
            "num_images": resolved.num_images,
            "format": self.word("ImageFormat", resolved.output_format, "IMAGE_FORMAT"),
            "stages": [self.word("Stage", stage, "STAGE") for stage in resolved.stages],
            "notes": list(resolved.notes),
        }

    def queued(self, event):
        return {"position": event.position}

    def progress(self, event):
        facts = {"stage": event.stage, "done": event.done, "total": event.total, "image": event.image_index}
        return {**facts, "fraction": event.fraction}

    def preview(self, event):
        shown = event.picture
        size = [shown.width, shown.height]
        facts = {"number": event.number, "image": shown.index, "step": event.step}
        return {**facts, "format": shown.format, "size": size, "bytes": len(shown.inline)}

    def succeeded(self, event):
        return {"images": [picture(found) for found in event.pictures], "timings": sorted(event.timings_s)}

    def ended(self, event):
        return {"state": "cancelled" if event.cancelled else "failed", "error": error_line(event.error)}

    def snapshot(self, event):
        return {"state": event.state}

    def state(self, generation):
        return self.word("GenerationState", generation.state, "GENERATION_STATE")

    def generation(self, of, found):
        from easel import _errors

        error = error_line(_errors.of_generation(found.error)) if found.HasField("error") else None
        line = {"state": self.state(found), "error": error, "images": [result.image.sha256 for result in found.images]}
        return {**({"of": of} if of else {}), "generation": line}

    def model(self, found, everything=False):
        said = {"name": found.name, "state": self.word("ModelState", found.state, "MODEL_STATE")}
        return {**said, "pipeline": self.word("Pipeline", found.pipeline, "PIPELINE")} if everything else said

    def session(self, of, found):
        facts = {"name": found.name, "revisions": found.revision_count, "redo": len(found.redo_revision_ids)}
        return {"of": of, "session": {**facts, "has_head": bool(found.head_revision_id)}}

    def revision(self, found):
        size = [found.image.width, found.image.height]
        facts = {"has_parent": bool(found.parent_revision_id), "size": size, "sha256": found.image.sha256}
        return {**facts, "prompt": found.spec.prompt}


async def settle(value):
    """What a client of either kind gives."""
    return await value if inspect.isawaitable(value) else value


async def each(source):
    """The items of a source of either kind."""
    if hasattr(source, "__aiter__"):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


class Player:
    """Plays the steps of one scenario."""

    def __init__(self, easel, kind, target, say):
        self.easel, self.kind, self.target, self.say = easel, kind, target, say
        self.lines = Lines(easel)
        self.client, self.ids, self.streams, self.editors = None, {}, {}, {}

    async def connected(self):
        if self.client is None:
            place = {key: self.target[key] for key in ("socket", "address", "token") if self.target.get(key)}
            if self.kind == "asyncio":
                self.client = await self.easel.AsyncEasel.connect(**place, name=self.target["client"])
            else:
                transport = {"grpc": "grpc", "pure": "web"}[self.kind]
                self.client = self.easel.Easel.connect(**place, name=self.target["client"], transport=transport)
        return self.client

    async def step(self, step):
        try:
            client = await self.connected() if step["op"] != "driver" else None
            await getattr(self, "op_" + step["op"])(client, step)
        except self.easel.Error as error:
            named = step.get("as") or step.get("of")
            self.say({**({"of": named} if named else {}), "error": error_line(error)})

    def id(self, step):
        stream = self.streams.get(step.get("of"))
        return step.get("id") or self.ids.get(step.get("of")) or (stream.id if stream else "")

    def policy(self, step):
        told = dict(step.get("policy", {}))
        policy = self.easel.proto.RunPolicy(request_id=told.get("request_id", ""))
        for name in ("priority", "on_disconnect"):
            if name in told:
                setattr(policy, name, getattr(self.easel.proto, told[name]))
        if "timeout" in told:
            policy.timeout.nanos = round(float(told["timeout"].removesuffix("s")) * 1e9)
        for name, value in told.get("previews", {}).items():
            setattr(policy.previews, name, getattr(self.easel.proto, value) if isinstance(value, str) else value)
        return policy

    async def spec(self, client, step):
        told = dict(step["spec"])
        file = told.pop("file", None)
        values = {name: getattr(self.easel.proto, value) if name in ("mode", "output_format") else value for name, value in told.items()}
        spec = self.easel.proto.GenerationSpec(**values)
        if file:
            spec.image.CopyFrom(await settle(client.source(file)))
        return spec

    async def op_run(self, client, step):
        self.streams[step["as"]] = await settle(client.run(await self.spec(client, step), self.policy(step)))

    async def op_watch(self, client, step):
        self.streams[step.get("as", step["of"])] = await settle(client.watch(self.id(step), step.get("after", 0)))

    async def op_read(self, client, step):
        stream = self.streams.get(step["of"])
        if stream is None:
            return
        async for event in each(stream):
            line = self.lines.event(step["of"], event)
            self.ids[step["of"]] = event.generation_id
            self.say(line)
            if normal.matches(step.get("until"), line):
                return

    async def op_drop(self, client, step):
        self.streams.pop(step["of"]).close()

    async def op_create(self, client, step):
        made = await settle(client.create(await self.spec(client, step), self.policy(step)))
        self.ids[step["as"]] = made.generation.id
        self.say({"of": step["as"], "created": {"existed": made.existed}})

    async def op_poll(self, client, step):
        polling = self.easel.Easel(client._transport, events="poll")
        async for event in each(polling.watch(self.id(step))):
            self.say(self.lines.event(step["of"], event))

    async def op_cancel(self, client, step):
        self.say({"of": step["of"], "cancelled": {"outcome": await settle(client.cancel(self.id(step)))}})

    async def op_get(self, client, step):
        self.say(self.lines.generation(step.get("of"), await settle(client.generation(self.id(step)))))

    async def op_await(self, client, step):
        while self.lines.state(await settle(client.generation(self.id(step)))) != step["state"]:
            pass

    async def op_prepare(self, client, step):
        self.say({"prepared": {"timings": sorted(await settle(client.prepare(await self.spec(client, step))))}})

    async def op_upload(self, client, step):
        self.say({"uploaded": {"sha256": await settle(client.upload(step["file"]))}})

    async def op_download(self, client, step):
        import hashlib

        digest = step.get("sha256") or hashlib.sha256(Path(step["file"]).read_bytes()).hexdigest()
        data = await settle(client.download(digest))
        self.say({"downloaded": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})

    async def op_version(self, client, step):
        self.say({"version": {"protocol_version": (await settle(client.version())).protocol_version}})

    async def op_models(self, client, step):
        self.say({"models": [self.lines.model(found, True) for found in await settle(client.models())]})

    async def op_load(self, client, step):
        states = [state async for state in each(client.load_model(step["model"]))]
        self.say({"loaded": self.lines.model(states[-1][0])})

    async def op_unload(self, client, step):
        self.say({"unloaded": self.lines.model(await settle(client.unload_model(step["model"])))})

    async def op_add_model(self, client, step):
        self.say({"added": self.lines.model(await settle(client.add_model(step["folder"], step["name"])))})

    async def op_session(self, client, step):
        made = await settle(client.create_session(step.get("name", ""), step.get("file")))
        self.ids[step["as"]] = made.id
        self.say(self.lines.session(step["as"], made))

    async def op_edit(self, client, step):
        told = step["spec"]
        priority = {"priority": step["policy"]["priority"]} if "policy" in step else {}
        options = {name: value for name, value in told.items() if name != "prompt"}
        stream = client.edit_session(self.ids[step["session"]], told["prompt"], **options, **priority)
        self.streams[step["as"]] = await settle(stream)

    async def _session(self, step, call):
        self.say(self.lines.session(step["of"], await settle(call(self.ids[step["of"]]))))

    async def op_undo(self, client, step):
        await self._session(step, client.undo)

    async def op_redo(self, client, step):
        await self._session(step, client.redo)

    async def op_get_session(self, client, step):
        await self._session(step, client.session)

    async def op_delete_session(self, client, step):
        removed = await settle(client.delete_session(self.ids[step["of"]]))
        self.say({"of": step["of"], "deleted": {"sessions": removed.sessions}})

    async def op_revisions(self, client, step):
        found = await settle(client.revisions(self.ids[step["of"]]))
        self.say({"of": step["of"], "revisions": [self.lines.revision(revision) for revision in found]})

    async def op_open(self, client, step):
        self.editors[step["of"]] = await settle(client.open_session(self.ids[step["of"]]))

    async def op_editor(self, client, step):
        editor, do = self.editors[step["of"]], step["do"]
        if do == "edit":
            made = await settle(editor.edit(step["spec"]["prompt"], seed=step["spec"]["seed"]))
            self.ids[step["as"]] = made.id
            return self.say({"of": step["as"], "created": {"existed": False}})
        if do == "cancel":
            hit = await settle(editor.cancel())
            outcomes = [self.lines.word("CancelOutcome", one.outcome, "CANCEL_OUTCOME") for one in hit]
            return self.say({"of": step["of"], "cancelled": {"outcomes": outcomes}})
        await settle(getattr(editor, do)())
        self.say({"of": step["of"], "did": do})

    async def op_driver(self, client, step):
        self.say({"driver": step["do"]})
        await asyncio.to_thread(sys.stdin.readline)

    async def close(self):
        for stream in [*self.streams.values(), *self.editors.values()]:
            stream.close()
        if self.client is not None:
            await settle(self.client.close())


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["grpc", "asyncio", "pure"], required=True)
    options = parser.parse_args()
    if options.transport == "pure":
        # As in a program that embeds Python: neither grpcio nor an installed protobuf.
        sys.modules.update({"grpc": None, "google.protobuf": None})
    import easel

    say = lambda line: print(json.dumps(line), flush=True)
    can = ["streams", "resume", "sessions", "admin"]
    can += {"grpc": ["poll", "editor"], "asyncio": ["editor"], "pure": ["poll"]}[options.transport]
    say({"client": f"python {options.transport}", "capabilities": can})
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = json.loads(line)
        player = Player(easel, options.transport, told["target"], say)
        try:
            for step in told["steps"]:
                await player.step(step)
        finally:
            await player.close()
        say({"done": True})


if __name__ == "__main__":
    asyncio.run(main())
