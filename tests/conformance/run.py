#!/usr/bin/env python3
"""Plays the scenarios of this folder with every client and compares what they saw; README.md has the protocol. Prints 'ok NAME',
'not ok NAME: WHY' or 'skip NAME: WHY' a line for each client, transport and scenario."""

import argparse
import concurrent.futures
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from harness import expect, pictures  # noqa: E402
from harness.daemon import Daemon, Proxy  # noqa: E402

TRANSPORTS = ["tcp4", "tcp6", "unix"]
SCENARIO_TIMEOUT_S = 90
NOBODYS_TOKEN = "0" * 64


class Runner:
    """A runner's process and the talk with it."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "w") as errors:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            self.process = subprocess.Popen(command, text=True, **pipes)
        hello = self._line()
        self.capabilities = set(hello["capabilities"])

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the runner ended with {self.process.wait()}: {self.log.read_text()[-2000:]}")
        return json.loads(line)

    def play(self, scenario, target, act):
        """The lines of a scenario. `act` does what only the driver can do."""
        watchdog = threading.Timer(SCENARIO_TIMEOUT_S, self.process.kill)
        watchdog.start()
        try:
            self._say({"scenario": scenario["name"], "target": target, "steps": scenario["steps"]})
            lines = []
            while not (line := expect.without_ids(self._line())).get("done"):
                if "driver" in line:
                    act(line["driver"])
                    self._say({})
                else:
                    lines.append(line)
            return lines
        finally:
            watchdog.cancel()

    def _say(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def close(self):
        """Ends the runner; its exit code."""
        try:
            self.process.stdin.close()
            return self.process.wait(20)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            return self.process.wait()


class Player:
    """Plays all scenarios with one client, each on the daemon that it asks for."""

    def __init__(self, name, command, options):
        self.name, self.command, self.options = name, command, options
        self.daemons, self.runners, self.results = {}, {}, []
        self.folder = Path(tempfile.mkdtemp(prefix="easel-conf-files-", dir=options.scratch))

    def play_all(self, scenarios):
        try:
            for scenario in scenarios:
                for transport in self.options.transports:
                    self._play(scenario, transport)
            for key, runner in self.runners.items():
                if (code := runner.close()) != 0:
                    self._tell("not ok", f"{self.name} {key} ends well", f"exit code {code}")
        finally:
            for runner in self.runners.values():
                runner.close()
            for daemon in self.daemons.values():
                daemon.close()
        return self.results

    def _play(self, scenario, transport):
        name = f"{self.name} {transport} {scenario['name']}"
        try:
            runner = self._runner(transport)
            missing = set(scenario.get("needs", [])) - runner.capabilities - {"tcp" if transport != "unix" else "unix"}
            if missing:
                # A scenario that is bound to a transport is simply not one of the others.
                if not missing <= {"tcp", "unix"}:
                    self._tell("lacks", name, ", ".join(sorted(missing)))
                return
            self._check(name, scenario, transport, runner)
        except Exception as error:  # a broken runner or daemon is a failed scenario, and the next one starts anew
            self.runners.pop(transport, None)
            self._tell("not ok", name, f"{type(error).__name__}: {error}")

    def _runner(self, transport):
        if transport not in self.runners:
            self.runners[transport] = Runner(self.command, self.folder / f"{transport}.log")
        return self.runners[transport]

    def _check(self, name, scenario, transport, runner):
        wanted = scenario.get("daemon", {})
        fresh = wanted.get("fresh", False)
        daemon = self._daemon(wanted, fresh)
        proxy = None
        try:
            reached = daemon.target(transport)
            if reached is None:
                return self._tell("skip", name, "this machine has no such loopback")
            family, where = reached
            if any(step.get("do") == "cut" for step in scenario["steps"]):
                folder = Path(tempfile.mkdtemp(dir=self.folder))
                proxy = Proxy(family, where, folder)
                where = proxy.where
            acts = {"cut": lambda: proxy.cut(), "kill": lambda: (daemon.kill(), daemon.start())}
            started = time.monotonic()
            lines = runner.play(scenario, self._target(scenario, transport, where, daemon), lambda do: acts[do]())
            self._judge(name, scenario, lines, time.monotonic() - started)
        finally:
            if proxy:
                proxy.close()
            if fresh:
                daemon.close()

    def _daemon(self, wanted, fresh):
        make = lambda: Daemon(self.options.easel, wanted.get("drill", ""), wanted.get("args", []))
        if fresh:
            return make()
        key = json.dumps(wanted)
        if key not in self.daemons:
            self.daemons[key] = make()
        return self.daemons[key]

    @staticmethod
    def _target(scenario, transport, where, daemon):
        named = {"client": "conformance"}
        if transport == "unix":
            return {"socket": where, **named}
        host = f"[{where[0]}]" if transport == "tcp6" else where[0]
        tokens = {"wrong": NOBODYS_TOKEN, "none": None}
        return {"address": f"http://{host}:{where[1]}", "token": tokens.get(scenario.get("token"), daemon.token), **named}

    def _judge(self, name, scenario, lines, seconds):
        if self.options.verbose:
            for line in lines:
                print("   ", json.dumps(line), flush=True)
        starts = {step.get("as") or step["of"]: step.get("after", 0) for step in scenario["steps"] if step["op"] == "watch"}
        why = expect.differs(scenario["expect"], lines, {}) or expect.breach(lines, starts, scenario.get("restarts", False))
        self._tell("not ok" if why else "ok", name, why or "", seconds)
        if not why:
            self.results.append((scenario["name"], name, json.dumps(expect.firm(lines), sort_keys=True)))

    def _tell(self, verdict, name, why="", seconds=None):
        took = f" ({seconds:.2f} s)" if seconds is not None and self.options.verbose else ""
        print(f"{verdict} {name}{': ' + why if why else ''}{took}", flush=True)
        if verdict == "not ok":
            self.options.failed = True


def load(files, scratch):
    """The scenarios, with their steps for each value of `each`, and the paths of their files filled in."""
    scenarios = []
    for file in files:
        text = file.read_text()
        scenario = yaml.safe_load(text)
        for name, values in scenario.get("each", {}).items():
            played = [yaml.safe_load(text.replace("${" + name + "}", str(value))) for value in values]
            scenario["steps"] = [step for one in played for step in one["steps"]]
            scenario["expect"] = [line for one in played for line in one["expect"]]
        _files(scenario, scratch)
        scenarios.append(scenario)
    return scenarios


def _files(scenario, scratch):
    hashes = {}
    for step in scenario["steps"]:
        for holder in (step, step.get("spec") or {}):
            if "file" in holder:
                name = holder["file"]
                holder["file"], hashes[f"%{name}"] = pictures.make(name, scratch)
    text = json.dumps(scenario["expect"])
    for name, digest in hashes.items():
        text = text.replace(f'"{name}"', f'"{digest}"')
    scenario["expect"] = json.loads(text)


def compare(results):
    """Equal answers of all clients over all transports to each scenario."""
    answers = {}
    for title, name, firm in results:
        answers.setdefault(title, []).append((name, firm))
    good = True
    for title, seen in answers.items():
        other = next(((name, firm) for name, firm in seen if firm != seen[0][1]), None)
        why = f"{seen[0][0]} saw {seen[0][1]}, {other[0]} saw {other[1]}" if other else ""
        print(f"{'not ok' if other else 'ok'} {len(seen)} answers to {title} are equal{': ' + why if why else ''}", flush=True)
        good = good and not other
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--easel", required=True, type=Path, help="the daemon")
    parser.add_argument("--client", action="append", required=True, metavar="NAME=COMMAND", help="a client and the words of its runner")
    parser.add_argument("--scenario", action="append", help="names of scenarios; default: all")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), type=lambda text: text.split(","))
    parser.add_argument("--jobs", type=int, default=4, help="clients that play at one time")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every line")
    options = parser.parse_args()
    options.failed = False
    with tempfile.TemporaryDirectory(prefix="easel-conformance-") as scratch:
        options.scratch = Path(scratch)
        files = sorted(HERE.glob("*.yaml"))
        scenarios = [s for s in load(files, options.scratch) if not options.scenario or s["name"] in options.scenario]
        clients = [client.partition("=") for client in options.client]
        players = [Player(name, command.split(), options) for name, _, command in clients]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = [result for found in pool.map(lambda player: player.play_all(scenarios), players) for result in found]
        equal = compare(results)
    return 0 if equal and results and not options.failed else 1


if __name__ == "__main__":
    sys.exit(main())
