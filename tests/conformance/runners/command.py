#!/usr/bin/env python3
"""The runner of grpcurl and buf curl: each call is a process, each answer a JSON document of proto3. What these programs
cannot do (come back after a lost connection) is no capability of theirs."""

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import normal  # noqa: E402

CHUNK_BYTES = 1024 * 1024
CODES = dict(enumerate(
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED".split()
))
G, B, M, S, E = (f"easel.v1.{name}Service" for name in ("Generation", "Blob", "Model", "System", "Session"))


class Failed(Exception):
    """A call that failed, with its error in the normal form."""


class Call:
    """One call: a process whose output is read as it comes."""

    def __init__(self, program, command, body):
        self.program = program
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.process.stdin.write(json.dumps(body).encode())
        self.process.stdin.close()
        self.text, self.decoder = "", json.JSONDecoder()

    def __iter__(self):
        """The documents, one by one; raises `Failed` in the end when the call failed."""
        while True:
            self.text = self.text.lstrip()
            try:
                document, at = self.decoder.raw_decode(self.text)
                self.text = self.text[at:]
                yield document
                continue
            except ValueError:
                pass
            more = self.process.stdout.read1(1 << 20)
            if not more:
                break
            self.text += more.decode()
        errors = self.process.stderr.read().decode()
        if self.process.wait() != 0:
            raise Failed(self.program.error(self.process.returncode, errors))

    def close(self):
        self.process.kill()
        self.process.wait()


class Grpcurl:
    def __init__(self, path, target):
        where = ["-unix", "-authority", "localhost", target["socket"]] if "socket" in target else [target["address"][7:]]
        token = target.get("token")
        self.command = [path, "-plaintext", "-format-error", "-emit-defaults=false", "-d", "@"]
        self.command += ["-max-msg-sz", str(8 << 20)]
        self.command += ["-H", f"easel-client: {target['client']}"]
        self.command += (["-H", f"authorization: Bearer {token}"] if token else []) + where

    def call(self, method, body):
        return Call(self, [*self.command, method], body)

    def error(self, exit_code, text):
        """`-format-error` gives google.rpc.Status in JSON; details of types that reflection does not know as base64."""
        begin = text.find("{")
        if begin < 0:
            return normal.plain_error("UNAVAILABLE", "CANNOT_CONNECT", text.strip())
        status = json.loads(text[begin:])
        details = [(d["@type"].rpartition(".")[2], d) for d in status.get("details", [])]
        return normal.error_of_details(CODES[status["code"]], status.get("message", ""), details)


class Buf:
    def __init__(self, path, protocol, target):
        self.path, self.protocol = path, protocol
        unix, token = target.get("socket"), target.get("token")
        self.base = "http://localhost" if unix else target["address"]
        self.options = ["--protocol", protocol, "--reflect-protocol", "grpc-v1", "-d", "@-"]
        self.options += (["--http2-prior-knowledge"] if protocol == "grpc" else []) + (["--unix-socket", unix] if unix else [])
        self.options += ["-H", f"easel-client: {target['client']}"]
        self.options += ["-H", f"authorization: Bearer {token}"] if token else []

    def call(self, method, body):
        return Call(self, [self.path, "curl", *self.options, f"{self.base}/{method}"], body)

    def error(self, exit_code, text):
        """Connect's JSON of an error; details as their type and base64."""
        begin = text.find("{")
        if begin < 0:
            return normal.plain_error("UNAVAILABLE", "CANNOT_CONNECT", text.strip())
        found = json.JSONDecoder().raw_decode(text[begin:])[0]
        code = found["code"].upper().replace("CANCELED", "CANCELLED")
        details = [(d["type"].rpartition(".")[2], d) for d in found.get("details", [])]
        return normal.error_of_details(code, found.get("message", ""), details)


class Player:
    """Plays the steps of one scenario."""

    def __init__(self, client, say):
        self.client, self.say = client, say
        self.ids, self.streams = {}, {}

    def call(self, method, body):
        answers = list(self.client.call(method, body))
        return answers[0] if answers else {}

    def step(self, step):
        try:
            getattr(self, "op_" + step["op"])(step)
        except Failed as failed:
            named = step.get("as") or step.get("of")
            self.say({**({"of": named} if named else {}), "error": failed.args[0]})

    def spec(self, step):
        spec = dict(step.get("spec") or {})
        if "file" in spec:
            spec["image"] = {"sha256": self.send(spec.pop("file"))}
        return spec

    def send(self, file):
        data = Path(file).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        begun = self.call(f"{B}/BeginUpload", {"sha256": digest, "sizeBytes": str(len(data))})
        if begun.get("exists"):
            return digest
        for at in range(int(begun.get("offset", 0)), len(data), CHUNK_BYTES):
            part = base64.b64encode(data[at : at + CHUNK_BYTES]).decode()
            self.call(f"{B}/AppendUpload", {"sha256": digest, "offset": str(at), "data": part})
        self.call(f"{B}/FinishUpload", {"sha256": digest})
        return digest

    def open(self, name, method, body):
        """Keeps a stream. What it says first decides whether it could be opened at all."""
        call = self.client.call(method, body)
        documents = iter(call)
        first = next(documents, None)
        self.streams[name] = [call, documents, first]
        if first:
            self.ids[name] = first["event"]["generationId"]

    def op_run(self, step):
        self.open(step["as"], f"{G}/RunGeneration", {"spec": self.spec(step), "policy": step.get("policy", {})})

    def op_watch(self, step):
        body = {"id": self.ids[step["of"]], "afterSequence": str(step.get("after", 0))}
        self.open(step.get("as", step["of"]), f"{G}/WatchGeneration", body)

    def op_read(self, step):
        if step["of"] not in self.streams:
            return
        call, documents, first = self.streams[step["of"]]
        self.streams[step["of"]][2] = None
        while document := first or next(documents, None):
            first = None
            line = normal.event(step["of"], document["event"])
            self.say(line)
            if normal.matches(step.get("until"), line):
                return

    def op_drop(self, step):
        self.streams.pop(step["of"])[0].close()

    def op_create(self, step):
        answer = self.call(f"{G}/CreateGeneration", {"spec": self.spec(step), "policy": step.get("policy", {})})
        self.ids[step["as"]] = answer["generation"]["id"]
        self.say({"of": step["as"], "created": {"existed": answer.get("existed", False)}})

    def op_poll(self, step):
        after, seen, done = 0, 0, False
        while not done:
            body = {"id": self.ids[step["of"]], "afterSequence": str(after), "afterPreview": str(seen), "wait": "10s"}
            answer = self.call(f"{G}/PollGeneration", body)
            for event in answer.get("events", []):
                after = int(event["sequence"])
                self.say(normal.event(step["of"], event))
            done = answer.get("done", False)
            if "preview" in answer and not done:
                seen = int(answer["preview"]["number"])
                self.say(normal.event(step["of"], {"preview": answer["preview"]}))

    def op_cancel(self, step):
        answer = self.call(f"{G}/CancelGeneration", {"id": self.ids[step["of"]]})
        self.say({"of": step["of"], "cancelled": {"outcome": normal.short("CANCEL_OUTCOME", answer["outcome"])}})

    def generation(self, step):
        return self.call(f"{G}/GetGeneration", {"id": step.get("id") or self.ids[step["of"]]})["generation"]

    def op_get(self, step):
        self.say(normal.generation(step.get("of"), self.generation(step)))

    def op_await(self, step):
        while normal.short("GENERATION_STATE", self.generation(step)["state"]) != step["state"]:
            pass

    def op_prepare(self, step):
        answer = self.call(f"{S}/PrepareConditioning", {"spec": self.spec(step)})
        self.say({"prepared": {"timings": normal.timings(answer)}})

    def op_upload(self, step):
        self.say({"uploaded": {"sha256": self.send(step["file"])}})

    def op_download(self, step):
        digest = step.get("sha256") or hashlib.sha256(Path(step["file"]).read_bytes()).hexdigest()
        parts = [base64.b64decode(answer.get("data", "")) for answer in self.client.call(f"{B}/ReadBlob", {"sha256": digest})]
        data = b"".join(parts)
        self.say({"downloaded": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})

    def op_version(self, step):
        self.say({"version": {"protocol_version": self.call(f"{S}/GetVersion", {})["protocolVersion"]}})

    def op_models(self, step):
        self.say({"models": [normal.model(model, True) for model in self.call(f"{M}/ListModels", {})["models"]]})

    def op_load(self, step):
        last = list(self.client.call(f"{M}/LoadModel", {"name": step["model"]}))[-1]
        self.say({"loaded": normal.model(last["model"])})

    def op_unload(self, step):
        self.say({"unloaded": normal.model(self.call(f"{M}/UnloadModel", {"name": step["model"]})["model"])})

    def op_add_model(self, step):
        self.say({"added": normal.model(self.call(f"{M}/AddModel", {"folder": step["folder"], "name": step["name"]})["model"])})

    def op_session(self, step):
        body = {"name": step.get("name", "")}
        if "file" in step:
            body["image"] = {"sha256": self.send(step["file"])}
        session = self.call(f"{E}/CreateSession", body)["session"]
        self.ids[step["as"]] = session["id"]
        self.say(normal.session(step["as"], session))

    def op_edit(self, step):
        edit = {"spec": step["spec"], "policy": step.get("policy", {})}
        answer = self.call(f"{E}/CreateSessionEdit", {"sessionId": self.ids[step["session"]], "edit": edit})
        self.ids[step["as"]] = answer["generation"]["id"]
        self.op_watch({"of": step["as"]})

    def _session(self, step, method):
        self.say(normal.session(step["of"], self.call(f"{E}/{method}", {"sessionId": self.ids[step["of"]]})["session"]))

    def op_undo(self, step):
        self._session(step, "UndoSession")

    def op_redo(self, step):
        self._session(step, "RedoSession")

    def op_get_session(self, step):
        self._session(step, "GetSession")

    def op_delete_session(self, step):
        removed = self.call(f"{E}/DeleteSession", {"sessionId": self.ids[step["of"]]})["removed"]
        self.say({"of": step["of"], "deleted": {"sessions": int(removed["sessions"])}})

    def op_revisions(self, step):
        found = self.call(f"{E}/ListRevisions", {"sessionId": self.ids[step["of"]]}).get("revisions", [])
        self.say({"of": step["of"], "revisions": [normal.revision(revision) for revision in found]})

    def op_driver(self, step):
        self.say({"driver": step["do"]})
        sys.stdin.readline()

    def close(self):
        for call, *_ in self.streams.values():
            call.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpcurl")
    parser.add_argument("--buf")
    parser.add_argument("--protocol", default="grpc", help="of buf: grpc or grpcweb")
    options = parser.parse_args()
    make = (lambda target: Grpcurl(options.grpcurl, target)) if options.grpcurl else (lambda target: Buf(options.buf, options.protocol, target))
    say = lambda line: print(json.dumps(line), flush=True)
    say({"client": "grpcurl" if options.grpcurl else f"buf {options.protocol}", "capabilities": ["streams", "poll", "sessions", "admin"]})
    while line := sys.stdin.readline():
        told = json.loads(line)
        player = Player(make(told["target"]), say)
        try:
            for step in told["steps"]:
                player.step(step)
        finally:
            player.close()
        say({"done": True})


if __name__ == "__main__":
    main()
