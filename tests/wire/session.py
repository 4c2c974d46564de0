"""A session with a daemon by a program that knows nothing of Easel: grpcurl or buf curl, through reflection alone.

    session.py --easel target/debug/easel --grpcurl PROGRAM | --buf PROGRAM

Starts daemons of its own with the drill engine on private folders and ports, and prints "ok NAME" or "not ok NAME: WHY" for each check.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

CODES = {
    0: "OK", 1: "CANCELLED", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 11: "OUT_OF_RANGE", 13: "INTERNAL",
    14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}


def check(name, ok, why=""):
    print(f"ok {name}" if ok else f"not ok {name}: {why}", flush=True)


def png(width, height, pixel=lambda x, y: (x % 256, y % 256, 99)):
    """A PNG file, written without any library."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Daemon:
    """A daemon on private folders, ready when its discovery file is there."""

    def __init__(self, easel, *arguments):
        self.home = tempfile.TemporaryDirectory(prefix="easel-wire-")
        self.state = Path(self.home.name) / "state"
        command = [easel, "serve", "--state-dir", self.state, "--port", "0", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EASEL_")}
        environment.update(HOME=self.home.name, XDG_RUNTIME_DIR=self.home.name, XDG_CONFIG_HOME=self.home.name)
        self.log = open(Path(self.home.name) / "log", "wb")
        self.process = subprocess.Popen(list(map(str, command)), env=environment, stderr=self.log)
        self.found = self._discover()

    def _discover(self):
        for _ in range(600):
            for file in Path(self.home.name).glob("**/daemon.json"):
                try:
                    return json.loads(file.read_text())
                except ValueError:
                    pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit("the daemon did not start:\n" + (Path(self.home.name) / "log").read_text())

    @property
    def address(self):
        return f"127.0.0.1:{self.found['port']}"

    @property
    def socket(self):
        return self.found["socket"]

    def token(self):
        return next(Path(self.home.name).glob("**/token")).read_text().strip()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.log.close()
        self.home.cleanup()
        return code


class Grpcurl:
    """Calls through grpcurl, over TCP with the token or over the Unix socket."""

    name = "grpcurl"

    def __init__(self, program, daemon, unix):
        self.name = f"grpcurl over {'the Unix socket' if unix else 'TCP'}"
        target = ["-unix", "-authority", "localhost", daemon.socket] if unix else [daemon.address]
        self.base, self.target = [program, "-plaintext"], target
        self.auth = [] if unix else ["-H", f"authorization: Bearer {daemon.token()}"]

    def _run(self, options, tail, data=""):
        command = [*self.base, *options, *self.target[:-1], self.target[-1], *tail]
        return subprocess.run(list(map(str, command)), input=data, capture_output=True, text=True, timeout=120)

    def services(self):
        return self._run([], ["list"]).stdout.split()

    def describe(self, symbol):
        return self._run([], ["describe", symbol]).stdout

    def call(self, method, body, auth=True):
        done = self._run([*(self.auth if auth else []), "-d", "@"], [method], json.dumps(body))
        code = 0 if done.returncode == 0 else done.returncode - 64
        return CODES.get(code, f"exit code {done.returncode}: {done.stderr}"), documents(done.stdout), done.stderr


class Buf:
    """Calls through buf curl, with a protocol of its choice."""

    def __init__(self, program, daemon, protocol, unix=False):
        self.name = f"buf curl by {protocol} over {'the Unix socket' if unix else 'TCP'}"
        self.program, self.unix = program, ["--unix-socket", daemon.socket] if unix else []
        self.options = ["--protocol", protocol] + (["--http2-prior-knowledge"] if protocol == "grpc" else [])
        self.base = "http://localhost" if unix else f"http://{daemon.address}"
        self.auth = [] if unix else ["-H", f"authorization: Bearer {daemon.token()}"]
        self.reflect = ["--reflect-protocol", "grpc-v1"]

    def _run(self, options, url, data=""):
        command = [self.program, "curl", *self.unix, *self.options, *self.reflect, *options, url]
        return subprocess.run(list(map(str, command)), input=data, capture_output=True, text=True, timeout=120)

    def services(self):
        return self._run(["--list-services"], self.base).stdout.split()

    def describe(self, symbol):
        return "\n".join(self._run(["--list-methods"], self.base).stdout.split())

    def call(self, method, body, auth=True):
        done = self._run([*(self.auth if auth else []), "-d", "@-"], f"{self.base}/{method}", json.dumps(body))
        if done.returncode == 0:
            return "OK", documents(done.stdout), done.stderr
        found = re.search(r'"code":\s*"([a-z_]+)"', done.stderr)
        code = found.group(1).upper().replace("CANCELED", "CANCELLED") if found else f"unknown: {done.stderr}"
        # This program shows the details of an error as they travel; in clear for whoever looks for words in them.
        values = re.findall(r'"value":\s*"([A-Za-z0-9+/]+)', done.stderr)
        clear = [base64.b64decode(v + "=" * (-len(v) % 4)).decode("utf-8", "replace") for v in values]
        return code, documents(done.stdout), "\n".join([done.stderr, *clear])


def documents(text):
    """The JSON documents that stand one after another in `text`."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text):
        while at < len(text) and text[at].isspace():
            at += 1
        if at < len(text):
            document, at = decoder.raw_decode(text, at)
            found.append(document)
    return found


def events(messages):
    return [m["event"] for m in messages if "event" in m]


def kind(event):
    return next(k for k in ("accepted", "queued", "progress", "preview", "succeeded", "ended", "snapshot") if k in event)


def picture(image):
    data = base64.b64decode(image["inline"])
    return data, struct.unpack(">II", data[16:24])


G, B, M, S = (f"easel.v1.{name}Service" for name in ("Generation", "Blob", "Model", "System"))


def discovers(c):
    services = c.services()
    wanted = {G, B, M, S, "grpc.health.v1.Health"}
    check(f"{c.name}: reflection lists the services", wanted <= set(services), str(services))
    check(f"{c.name}: reflection describes a service", "RunGeneration" in c.describe(G))
    code, answer, err = c.call("grpc.health.v1.Health/Check", {}, auth=False)
    check(f"{c.name}: health is SERVING", code == "OK" and answer[0].get("status") == "SERVING", err)
    code, answer, err = c.call(f"{S}/GetVersion", {}, auth=False)
    check(f"{c.name}: the version needs no token", code == "OK" and "version" in answer[0], err)


def asks_for_a_token(c):
    code, _, err = c.call(f"{S}/GetStatus", {}, auth=False)
    check(f"{c.name}: status without a token is UNAUTHENTICATED", code == "UNAUTHENTICATED", code + err)


def generates(c):
    body = {
        "spec": {"prompt": "a red circle", "seed": "7", "width": 128, "height": 128, "numInferenceSteps": 3},
        "policy": {"previews": {"kind": "PREVIEW_KIND_PROJECTION"}},
    }
    code, messages, err = c.call(f"{G}/RunGeneration", body)
    seen = events(messages)
    kinds = [kind(e) for e in seen]
    check(f"{c.name}: a generation runs", code == "OK" and kinds[:1] == ["accepted"] and kinds[-1:] == ["succeeded"], f"{code} {kinds} {err}")
    if kinds[-1:] != ["succeeded"]:
        return None
    numbers = [int(e["sequence"]) for e in seen if "sequence" in e and e["sequence"] != "0"]
    check(f"{c.name}: sequence numbers have no gaps", numbers == list(range(1, len(numbers) + 1)), str(numbers))
    data, size = picture(seen[-1]["succeeded"]["images"][0]["image"])
    check(f"{c.name}: the result is a PNG of the size asked for", size == (128, 128), str(size))
    said = seen[-1]["succeeded"]["images"][0]["image"]["sha256"]
    check(f"{c.name}: the result has the hash that is said", hashlib.sha256(data).hexdigest() == said)
    again = events(c.call(f"{G}/RunGeneration", body)[1])[-1]["succeeded"]["images"][0]["image"]["sha256"]
    check(f"{c.name}: the same request gives the same bytes", again == said)
    generation = seen[0]["generationId"]
    code, messages, err = c.call(f"{G}/WatchGeneration", {"id": generation, "afterSequence": "1"})
    rest = [int(e["sequence"]) for e in events(messages) if e.get("sequence", "0") != "0"]
    check(f"{c.name}: watching goes on after a number", rest == numbers[1:], f"{rest} {err}")
    code, answer, err = c.call(f"{G}/PollGeneration", {"id": generation, "afterSequence": "0", "wait": "1s"})
    check(f"{c.name}: a poll gives everything and says that it is done", code == "OK" and answer[0].get("done") is True, err)
    code, answer, err = c.call(f"{G}/CancelGeneration", {"id": generation})
    check(f"{c.name}: cancelling a finished one says so", answer and answer[0].get("outcome") == "CANCEL_OUTCOME_WAS_FINISHED", err)
    return generation


def edits_an_upload(c):
    source = png(90, 60, lambda x, y: (x * 2, y * 4, len(c.name)))
    digest = hashlib.sha256(source).hexdigest()
    code, answer, err = c.call(f"{B}/BeginUpload", {"sha256": digest, "sizeBytes": str(len(source))})
    check(f"{c.name}: an upload begins", code == "OK" and not answer[0].get("exists"), err)
    half = len(source) // 2
    for offset, part in ((0, source[:half]), (half, source[half:])):
        data = base64.b64encode(part).decode()
        code, answer, err = c.call(f"{B}/AppendUpload", {"sha256": digest, "offset": str(offset), "data": data})
    check(f"{c.name}: an upload goes on", code == "OK" and int(answer[0]["offset"]) == len(source), err)
    code, answer, err = c.call(f"{B}/FinishUpload", {"sha256": digest})
    check(f"{c.name}: an upload ends", code == "OK", err)
    body = {"spec": {"prompt": "make it blue", "image": {"sha256": digest}, "seed": "1"}}
    code, messages, err = c.call(f"{G}/RunGeneration", body)
    last = events(messages)[-1] if events(messages) else {}
    ok = code == "OK" and "succeeded" in last and picture(last["succeeded"]["images"][0]["image"])[1] == (90, 60)
    check(f"{c.name}: an edit has the size of its source", ok, f"{code} {err}")
    result = last["succeeded"]["images"][0]["image"]["sha256"] if ok else digest
    code, messages, err = c.call(f"{B}/ReadBlob", {"sha256": result})
    data = b"".join(base64.b64decode(m.get("data", "")) for m in messages)
    check(f"{c.name}: the result can be read by its hash", hashlib.sha256(data).hexdigest() == result, err)


def cancels(c):
    code, answer, err = c.call(f"{G}/CreateGeneration", {"spec": {"prompt": "slowly", "numInferenceSteps": 100}})
    generation = answer[0]["generation"]["id"] if code == "OK" else ""
    code, answer, err = c.call(f"{G}/CancelGeneration", {"id": generation})
    outcome = answer[0].get("outcome") if answer else None
    check(f"{c.name}: a cancellation says what it hit", outcome in ("CANCEL_OUTCOME_WAS_QUEUED", "CANCEL_OUTCOME_WAS_RUNNING"), f"{outcome} {err}")
    code, messages, err = c.call(f"{G}/WatchGeneration", {"id": generation})
    last = events(messages)[-1] if events(messages) else {}
    check(f"{c.name}: a cancelled generation ends", last.get("ended", {}).get("state") == "GENERATION_STATE_CANCELLED", err)


def bad_input(c):
    inline = lambda data: {"inline": base64.b64encode(data).decode()}
    huge = bytearray(png(2, 2))
    huge[16:24] = struct.pack(">II", 50_000, 50_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    cases = [
        ("an empty prompt", {"prompt": ""}, "INVALID_ARGUMENT", "spec.prompt"),
        ("a prompt of 100,000 characters", {"prompt": "x" * 100_000}, "INVALID_ARGUMENT", "spec.prompt"),
        ("an unknown model", {"prompt": "x", "model": "nobody"}, "NOT_FOUND", "nobody"),
        ("a size of 0", {"prompt": "x", "width": 0, "height": 0}, "INVALID_ARGUMENT", "spec.width"),
        ("a size of 7", {"prompt": "x", "width": 7, "height": 7}, "INVALID_ARGUMENT", "spec.width"),
        ("a size of 100,000", {"prompt": "x", "width": 100_000, "height": 128}, "INVALID_ARGUMENT", "spec.width"),
        ("a guidance of NaN", {"prompt": "x", "guidanceScale": "NaN"}, "INVALID_ARGUMENT", "spec.guidance_scale"),
        ("a negative guidance", {"prompt": "x", "guidanceScale": -1}, "INVALID_ARGUMENT", "spec.guidance_scale"),
        ("an unknown enum value", {"prompt": "x", "mode": 99}, "INVALID_ARGUMENT", "spec.mode"),
        ("a picture of no bytes", {"prompt": "x", "image": inline(b"")}, "INVALID_ARGUMENT", "spec.image"),
        ("a truncated picture", {"prompt": "x", "image": inline(png(64, 64)[:60])}, "INVALID_ARGUMENT", "spec.image"),
        ("something that is no picture", {"prompt": "x", "image": inline(b"hello " * 50)}, "INVALID_ARGUMENT", "spec.image"),
        ("a header of 50,000 x 50,000", {"prompt": "x", "image": inline(bytes(huge))}, "INVALID_ARGUMENT", "spec.image"),
        ("a hash that is none", {"prompt": "x", "image": {"sha256": "abc"}}, "INVALID_ARGUMENT", "spec.image.sha256"),
        ("an unknown hash", {"prompt": "x", "image": {"sha256": "ab" * 32}}, "NOT_FOUND", "ab" * 32),
    ]
    for name, spec, wanted, mentioned in cases:
        code, _, err = c.call(f"{G}/RunGeneration", {"spec": spec})
        check(f"{c.name}: {name} is {wanted}", code == wanted and mentioned in err, f"{code} {err}")
    check(f"{c.name}: an error carries its reason", "BLOB_NOT_FOUND" in err, err[:500])
    digest = hashlib.sha256(b"other").hexdigest()
    c.call(f"{B}/BeginUpload", {"sha256": digest, "sizeBytes": "4"})
    c.call(f"{B}/AppendUpload", {"sha256": digest, "data": base64.b64encode(b"data").decode()})
    code, _, err = c.call(f"{B}/FinishUpload", {"sha256": digest})
    check(f"{c.name}: an upload with the wrong hash is refused", code in ("DATA_LOSS", "INVALID_ARGUMENT"), f"{code} {err}")
    code, answer, err = c.call(f"{S}/GetStatus", {})
    check(f"{c.name}: the daemon goes on serving", code == "OK", err)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easel", required=True)
    parser.add_argument("--grpcurl")
    parser.add_argument("--buf")
    options = parser.parse_args()
    daemon = Daemon(options.easel, "--engine", "drill")
    try:
        if options.grpcurl:
            clients = [Grpcurl(options.grpcurl, daemon, unix) for unix in (False, True)]
        else:
            clients = [Buf(options.buf, daemon, "grpc"), Buf(options.buf, daemon, "grpcweb"), Buf(options.buf, daemon, "grpc", unix=True)]
        for client in clients:
            discovers(client)
            if "TCP" in client.name:
                asks_for_a_token(client)
            generates(client)
            edits_an_upload(client)
            cancels(client)
        bad_input(clients[0])
        bad_input(clients[-1])
    finally:
        code = daemon.stop()
    check("the daemon stops when it is told to", code == 0, f"exit code {code}")


if __name__ == "__main__":
    sys.exit(main())
