"""The client without a daemon: pictures, errors, discovery, resume, and the transport of the standard library against a server
of the test's own making. The real daemon is the scenario corpus's part (`tests/conformance`)."""

import http.server
import inspect
import json
import struct
import tempfile
import threading
import unittest
from pathlib import Path

import easel
from easel import _discovery, _errors, _events, _pictures, _requests, _resume, proto


def frame(message, flags=0):
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", flags, len(data)) + data


HOLD = b"(and then nothing)"
OK = frame(b"grpc-status:0\r\n", 0x80)


def event(sequence, **kind):
    return proto.GenerationEvent(sequence=sequence, generation_id="gen_1", **kind)


def accepted(sequence=1):
    return event(sequence, accepted=proto.Accepted(generation=proto.Generation(id="gen_1")))


def progress(sequence, done):
    at = proto.Progress(stage=proto.STAGE_DENOISE, done=done, total=4, fraction=done / 4)
    return event(sequence, progress=proto.StageProgress(progress=at))


def succeeded(sequence):
    image = proto.Image(format=proto.IMAGE_FORMAT_PNG, width=8, height=8, inline=b"file")
    return event(sequence, succeeded=proto.Succeeded(images=[proto.ResultImage(image=image, seed=7)]))


class Server:
    """A gRPC-Web server whose answers are functions of the request; `None` holds the answer back until the end."""

    def __init__(self, answers):
        self.answers, self.calls, self.over = answers, [], threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                method = self.path.rpartition("/")[2]
                body = self.rfile.read(int(self.headers["content-length"]))
                owner.calls.append((method, body[5:], dict(self.headers)))
                answer = owner.answers[method]
                answer = answer(body[5:]) if callable(answer) else answer
                if answer is None:
                    self.close_connection = True
                    owner.over.wait(30)
                    return
                headers, data = answer if isinstance(answer, tuple) else ({}, answer)
                self.send_response(200)
                for name, value in {"content-type": "application/grpc-web+proto", **headers}.items():
                    self.send_header(name, value)
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(data.removesuffix(HOLD))
                self.wfile.flush()
                if data.endswith(HOLD):
                    owner.over.wait(30)
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.answers.setdefault("GetVersion", frame(proto.GetVersionResponse(version="1", protocol_version=1)) + OK)

    def client(self, **options):
        return easel.Easel.connect(f"http://127.0.0.1:{self.server.server_port}", transport="web", token="t0ken", **options)

    def methods(self):
        return [method for method, _, _ in self.calls]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def run_of(*events):
    return b"".join(frame(proto.RunGenerationResponse(event=one)) for one in events)


def watch_of(*events):
    return b"".join(frame(proto.WatchGenerationResponse(event=one)) for one in events)


class Web(unittest.TestCase):
    def test_events_come_typed_and_end_with_the_last(self):
        with Server({"RunGeneration": run_of(accepted(), progress(2, 1), succeeded(3)) + OK}) as server:
            events = list(server.client(name="test").generate("a boat", seed=7, previews="projection"))
            self.assertEqual([type(one).__name__ for one in events], ["Accepted", "Progress", "Succeeded"])
            self.assertEqual((events[1].stage, events[1].fraction), ("denoise", 0.25))
            self.assertEqual(events[2].pictures[0].inline, b"file")
            method, body, headers = server.calls[-1]
            request = proto.RunGenerationRequest.FromString(body)
            self.assertEqual((request.spec.prompt, request.spec.seed), ("a boat", 7))
            self.assertEqual(request.policy.previews.kind, proto.PREVIEW_KIND_PROJECTION)
            self.assertTrue(request.policy.request_id)
            self.assertEqual((headers["authorization"], headers["easel-client"]), ("Bearer t0ken", "test"))

    def test_a_cut_stream_goes_on_after_the_last_event_seen(self):
        with Server({"RunGeneration": run_of(accepted(), progress(2, 1)), "WatchGeneration": watch_of(progress(2, 1), succeeded(3)) + OK}) as server:
            stream = server.client().generate("a boat", on_disconnect="keep")
            self.assertEqual([one.sequence for one in stream], [1, 2, 3])
            self.assertEqual(server.methods(), ["GetVersion", "RunGeneration", "WatchGeneration"])
            again = proto.WatchGenerationRequest.FromString(server.calls[-1][1])
            self.assertEqual((again.id, again.after_sequence), ("gen_1", 2))

    def test_a_stream_that_is_lost_too_often_gives_its_error(self):
        self.addCleanup(setattr, _resume, "FIRST_PAUSE_S", _resume.FIRST_PAUSE_S)
        _resume.FIRST_PAUSE_S = 0.0
        with Server({"RunGeneration": run_of(accepted()), "WatchGeneration": b""}) as server:
            with self.assertRaises(easel.Error) as raised:
                list(server.client().generate("a boat"))
            self.assertEqual(raised.exception.reason, "CONNECTION_LOST")
            self.assertEqual(server.methods().count("WatchGeneration"), _resume.ATTEMPTS)

    def test_streams_that_are_held_back_are_polled(self):
        from easel import _client

        self.addCleanup(setattr, _client, "PATIENCE_S", _client.PATIENCE_S)
        _client.PATIENCE_S = 0.2
        polled = proto.PollGenerationResponse(events=[accepted(), succeeded(2)], done=True)
        created = proto.CreateGenerationResponse(generation=proto.Generation(id="gen_1"))
        answers = {"RunGeneration": None, "CreateGeneration": frame(created) + OK, "PollGeneration": frame(polled) + OK}
        with Server(answers) as server:
            client = server.client()
            self.assertEqual([one.sequence for one in client.generate("a boat")], [1, 2])
            self.assertEqual([one.sequence for one in client.generate("a boat")], [1, 2])
            self.assertEqual(server.methods().count("RunGeneration"), 1, "the second run knows better")

    def test_errors_stand_in_headers_and_in_trailers(self):
        info = b"\x0a\x2agoogle.rpc.ErrorInfo".replace(b"\x2a", bytes([len("google.rpc.ErrorInfo")]))
        info += b"\x12\x0e\x0a\x0cMODEL_ABSENT"
        status = b"\x08\x05\x1a" + bytes([len(info)]) + info
        import base64

        details = base64.b64encode(status).decode().rstrip("=")
        text = "no model %E2%80%9Cbig%E2%80%9D"
        trailers = f"grpc-status:5\r\ngrpc-message:{text}\r\ngrpc-status-details-bin:{details}\r\n".encode()
        headers = {"grpc-status": "5", "grpc-message": text, "grpc-status-details-bin": details}
        for answer in (frame(trailers, 0x80), (headers, b"")):
            with Server({"GetModel": answer}) as server, self.assertRaises(easel.Error) as raised:
                server.client().model("big")
            error = raised.exception
            self.assertEqual((error.code, error.reason, error.message), ("NOT_FOUND", "MODEL_ABSENT", "no model “big”"))

    def test_something_else_that_answers_is_said_so(self):
        with Server({"GetModel": ({"content-type": "text/html"}, b"<html>")}) as server, self.assertRaises(easel.Error) as raised:
            server.client().model("big")
        self.assertIn("no Easel daemon", raised.exception.message)

    def test_closing_from_another_thread_ends_a_read(self):
        with Server({"RunGeneration": run_of(accepted()) + HOLD}) as server:
            stream = server.client().generate("a boat")
            first = next(stream)
            threading.Timer(0.2, stream.close).start()
            self.assertEqual((first.sequence, list(stream)), (1, []))

    def test_http_1_cannot_send_a_stream_and_says_so(self):
        with Server({}) as server, self.assertRaisesRegex(easel.Error, "cannot send a stream"):
            server.client().open_session("ses_1")

    def test_nobody_there_is_cannot_connect(self):
        with self.assertRaises(easel.Error) as raised:
            easel.Easel.connect("127.0.0.1:1", transport="web")
        self.assertEqual(raised.exception.reason, "CANNOT_CONNECT")
        self.assertTrue(raised.exception.is_connection)


class Surface(unittest.TestCase):
    def test_the_asynchronous_client_has_the_same_surface(self):
        public = lambda kind: {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
        self.assertEqual(public(easel.Easel), public(easel.AsyncEasel))
        self.assertEqual(public(easel.GenerationStream), public(easel.AsyncGenerationStream))
        self.assertEqual(public(easel.Editor), public(easel.AsyncEditor))
        for name in public(easel.Easel) - {"connect"}:
            one, other = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (easel.Easel, easel.AsyncEasel))
            self.assertEqual(one, other, name)

    def test_everything_public_is_described(self):
        for name in set(easel.__all__) - {"AnyEvent"}:
            self.assertTrue(inspect.getdoc(getattr(easel, name)), name)
        for name, member in inspect.getmembers(easel.Easel, inspect.isfunction):
            self.assertTrue(name.startswith("_") or member.__doc__, name)


class Pictures(unittest.TestCase):
    def test_arrays_and_images_survive(self):
        import numpy

        for shape, kind in (((3, 5), "uint8"), ((3, 5, 3), "uint8"), ((3, 5, 4), "uint8"), ((3, 5), "uint16")):
            array = numpy.arange(numpy.prod(shape), dtype=kind).reshape(shape) * (1 if kind == "uint8" else 257)
            back = easel.to_numpy(_pictures.file_of(array))
            self.assertTrue(numpy.array_equal(back.reshape(shape), array), (shape, kind))
            image = easel.to_pillow(_pictures.file_of(array))
            again = easel.to_numpy(_pictures.file_of(image))
            self.assertTrue(numpy.array_equal(again.reshape(shape), array), (shape, kind))

    def test_what_is_no_picture_is_said_so(self):
        import numpy

        for wrong in (7, numpy.zeros((2, 2), "float32"), numpy.zeros((2, 2, 5), "uint8")):
            with self.assertRaises(easel.Error) as raised:
                _pictures.file_of(wrong)
            self.assertEqual(raised.exception.reason, "CLIENT_SETUP")


class Parts(unittest.TestCase):
    def test_unknown_words_name_the_known_ones(self):
        with self.assertRaisesRegex(easel.Error, "live, interactive, batch"):
            _requests.policy({"priority": "urgent"})

    def test_a_discovery_file_names_places(self):
        with tempfile.TemporaryDirectory() as folder:
            file, token = Path(folder) / "daemon.json", Path(folder) / "token"
            found = {"socket": "/run/x.sock", "addresses": ["http://127.0.0.1:7461", "http://[::1]:7461"], "token_file": str(token)}
            file.write_text(json.dumps(found))
            self.assertEqual([str(place) for place in _discovery.targets(file)], ["/run/x.sock"])
            token.write_text("abc\n")
            places = _discovery.targets(file)
            self.assertEqual([str(place) for place in places], ["/run/x.sock", "127.0.0.1:7461", "::1:7461"])
            self.assertEqual(places[2].authority, "[::1]:7461")
            self.assertNotIn("abc", repr(places[1]))
            file.write_text("{}")
            with self.assertRaisesRegex(easel.Error, "is not a discovery file"):
                _discovery.targets(file)
            with self.assertRaisesRegex(easel.Error, "no daemon runs"):
                _discovery.targets(Path(folder) / "nothing")

    def test_a_stream_knows_what_passes(self):
        resume = _resume.Resume("gen_1", 3)
        self.assertEqual(resume.lose(None), _resume.FIRST_PAUSE_S)
        self.assertGreater(resume.lose(_errors.Error("ABORTED", "STREAM_LAGGED", "slow")), _resume.FIRST_PAUSE_S)
        self.assertIsNone(resume.take(progress(3, 1)), "seen before")
        self.assertEqual(resume.take(progress(4, 1)).sequence, 4)
        with self.assertRaises(easel.Error):
            resume.lose(_errors.Error("NOT_FOUND", "GENERATION_NOT_FOUND", "gone"))
        self.assertTrue(resume.done)

    def test_an_event_of_a_kind_to_come_is_passed_over(self):
        self.assertIsNone(_events.event_of(proto.GenerationEvent(sequence=1, generation_id="gen_1")))

    def test_a_snapshot_of_an_end_has_its_outcome(self):
        failed = proto.Generation(state=proto.GENERATION_STATE_FAILED, error=proto.GenerationError(code=13, reason="ENGINE_FAULT"))
        shot = _events.event_of(event(9, snapshot=proto.Snapshot(generation=failed)))
        self.assertTrue(_events.is_last(shot))
        with self.assertRaises(easel.Error) as raised:
            _events.outcome(shot)
        self.assertEqual((raised.exception.code, raised.exception.reason), ("INTERNAL", "ENGINE_FAULT"))


if __name__ == "__main__":
    unittest.main()
