"""A daemon (with the drill engine unless told otherwise) on private folders, and proxies in front of it whose connections can be cut."""

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

START_TIMEOUT_S = 60


class Daemon:
    """A daemon that is ready when it is made. `kill` and `start` keep its state folder, its port and its socket."""

    def __init__(self, easel, drill="", args=(), engine="drill"):
        self.home = tempfile.TemporaryDirectory(prefix="easel-conf-")
        self.folder = Path(self.home.name)
        self.easel, self.engine, self.drill, self.args = easel, engine, drill, list(args)
        self.port = 0
        self.start()

    def start(self):
        """Starts it (again) and waits for its discovery file."""
        command = [self.easel, "serve", "--state-dir", self.folder / "state", "--port", self.port, "--engine", self.engine]
        command += [] if "--lame-duck-s" in self.args else ["--lame-duck-s", "0"]
        command += [*self.args] + (["--drill", self.drill] if self.drill else [])
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EASEL_")}
        environment.update(HOME=self.home.name, XDG_RUNTIME_DIR=self.home.name, XDG_CONFIG_HOME=self.home.name)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), env=environment, stderr=log)
        found = self._discover()
        self.port, self.socket = found["port"], found["socket"]
        self.addresses = found["addresses"]
        self.token = Path(found["token_file"]).read_text().strip()

    def _discover(self):
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            for file in self.folder.glob("**/daemon.json"):
                try:
                    found = json.loads(file.read_text())
                except ValueError:
                    continue
                if found["pid"] == self.process.pid:
                    return found
            time.sleep(0.01)
        raise RuntimeError("the daemon did not start:\n" + (self.folder / "log").read_text()[-2000:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.home.cleanup()

    def target(self, transport):
        """Family and address of a transport; `None` when this machine has not got it."""
        if transport == "unix":
            return socket.AF_UNIX, self.socket
        wanted = {"tcp4": "127.0.0.1", "tcp6": "::1"}[transport]
        has = any(wanted in address for address in self.addresses)
        family = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}[transport]
        return (family, (wanted, self.port)) if has else None


class Proxy:
    """Stands between a client and a daemon, byte for byte, until it cuts all connections."""

    def __init__(self, family, address, folder):
        self.family, self.address = family, address
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind(str(folder / "cut.sock") if family == socket.AF_UNIX else (address[0], 0))
        self.listener.listen(32)
        self.where = self.listener.getsockname()
        self.pairs, self.lock = [], threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.socket(self.family, socket.SOCK_STREAM)
            try:
                upstream.connect(self.address)
            except OSError:
                client.close()
                upstream.close()
                continue
            with self.lock:
                self.pairs += [client, upstream]
            for one, other in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (one, other):
                shut(end)

    def cut(self):
        with self.lock:
            for end in self.pairs:
                shut(end)
                end.close()
            self.pairs = []

    def close(self):
        shut(self.listener)
        self.listener.close()
        self.cut()


def shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
