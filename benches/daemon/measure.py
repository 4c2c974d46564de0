"""What the daemon costs around the networks: time from start to ready, processor time of all threads but the stages', the gain of
queueing over one after the other, one and two compute slots, the share of previews, and how time and memory grow with pixels and with
queued jobs.

    python benches/daemon/measure.py --easel target/debug/easel [--only slots,previews]        (needs numpy and Pillow; Linux)
    python benches/daemon/measure.py --only previews --model FOLDER --size 1024 -- --unet-precision int8

`--model` measures previews with a checkpoint of yours; what stands behind -- goes to its daemon.

Each figure is a median of several runs in one go. Prints tables in Markdown.
"""
import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "wire"))
from session import Daemon  # noqa: E402

STAGES = {"encoder", "denoiser", "vae"}
TICKS = 100  # a second, in /proc


def processor_seconds(pid):
    """Of the threads that are no stages, and of those that are."""
    sums = {True: 0, False: 0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        sums[name in STAGES] += int(rest[11]) + int(rest[12])
    return sums[False] / TICKS, sums[True] / TICKS


def peak_mib(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Client:
    """Runs the command line against a daemon."""

    def __init__(self, easel, daemon, folder):
        self.easel, self.daemon, self.folder = easel, daemon, Path(folder)

    def source(self, size, number=0):
        source = self.folder / f"source-{size}-{number}.png"
        if not source.exists():
            pixels = np.random.default_rng(number).integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((size, size), Image.BICUBIC).save(source)
        return source

    def edit(self, size, number=0):
        source = self.source(size, number)
        self._run("edit", source, "make it a winter evening", "--seed", number, "-o", self.folder / f"out-{size}-{number}.png")

    def edit_with_previews(self, size, number, *more):
        """Makes a projected preview after every step; milliseconds of each stage."""
        command = ["edit", self.source(size, number), "make it a winter evening", "--seed", number, "-o", self.folder / "out.png",
                   "--json", "--previews", self.folder / "previews", "--preview-kind", "projection", *more]
        last = json.loads(self._run(*command).strip().splitlines()[-1])
        return {timing["stage"]: timing["computed_ms"] for timing in last["timings"]}

    def _run(self, *command):
        command = [self.easel, *command, "--force", "--socket", self.daemon.socket]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def start_to_ready(easel, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        daemon = Daemon(easel, "--tcp", "false")
        # The discovery file is written when the daemon serves; the call sees that it answers.
        subprocess.run([str(easel), "status", "--socket", daemon.socket], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
        daemon.stop()
    print(f"| from start to the first answer, embedded model | {statistics.median(times):.3f} s |")


def overhead(easel, folder, edits):
    daemon = Daemon(easel, "--tcp", "false", "--engine", "drill")
    client = Client(easel, daemon, folder)
    client.edit(1024)
    before, _ = processor_seconds(daemon.process.pid)
    for number in range(edits):
        client.edit(1024, number)
    after, _ = processor_seconds(daemon.process.pid)
    daemon.stop()
    print(f"| processor time around the stages, an edit of 1024 x 1024 with the drill engine | {(after - before) / edits * 1e3:.0f} ms |")


def queueing(easel, folder, engine, size, jobs=8):
    daemon = Daemon(easel, "--tcp", "false", "--engine", engine)
    client = Client(easel, daemon, folder)
    client.edit(size)
    alone = timed(lambda: [client.edit(size, 100 + n) for n in range(jobs)])
    with ThreadPoolExecutor(jobs) as pool:
        queued = timed(lambda: list(pool.map(lambda n: client.edit(size, 200 + n), range(jobs))))
    daemon.stop()
    print(f"| {jobs} edits of {size} x {size} queued / one after the other, {engine} | {queued:.2f} s / {alone:.2f} s = {queued / alone:.2f} |")


def slots(easel, folder, size=512, jobs=8):
    """One and two stages that compute at one time: what a job takes alone, and what many take together."""
    for count in (1, 2):
        daemon = Daemon(easel, "--tcp", "false", "--cpu-slots", count)
        client = Client(easel, daemon, folder)
        client.edit(size)
        alone = statistics.median(timed(lambda n=n: client.edit(size, 500 + n)) for n in range(jobs))
        with ThreadPoolExecutor(jobs) as pool:
            queued = timed(lambda: list(pool.map(lambda n: client.edit(size, 600 + n), range(jobs))))
        daemon.stop()
        print(f"| an edit of {size} x {size} alone / {jobs} queued, {count} slots, embedded model | {alone:.2f} s / {jobs / queued:.2f} a second |", flush=True)


def previews(easel, folder, runs, options):
    """Time of making previews after every step over the processor time of the whole generation, decoding of the source file included."""
    name = Path(options.model).name if options.model else "embedded model"
    daemon = Daemon(easel, "--tcp", "false", *(["--models", f"measured={options.model}"] if options.model else []), *options.serve)
    client, more = Client(easel, daemon, folder), (["--model", "measured"] if options.model else [])
    shares = []
    for number in range(runs + 1):
        before = sum(processor_seconds(daemon.process.pid))
        stages = client.edit_with_previews(options.size, 700 + number, *more)
        shares.append(stages["preview"] / 1e3 / (sum(processor_seconds(daemon.process.pid)) - before))
    daemon.stop()
    share = statistics.median(shares[1:])
    print(f"| previews' share of an edit of {options.size} x {options.size}, projected after every step, {name} | {share:.2%} |", flush=True)


def growth(easel, folder):
    print("\n| embedded model | seconds an edit | peak resident MiB |\n|---|---|---|")
    for size in (128, 256, 512):
        daemon = Daemon(easel, "--tcp", "false")
        client = Client(easel, daemon, folder)
        client.edit(size)
        times = [timed(lambda n=n: client.edit(size, 300 + n)) for n in range(3)]
        print(f"| {size} x {size} | {statistics.median(times):.2f} | {peak_mib(daemon.process.pid):.0f} |", flush=True)
        daemon.stop()
    for jobs in (1, 4, 16):
        daemon = Daemon(easel, "--tcp", "false")
        client = Client(easel, daemon, folder)
        client.edit(256)
        with ThreadPoolExecutor(jobs) as pool:
            took = timed(lambda: list(pool.map(lambda n: client.edit(256, 400 + n), range(jobs))))
        print(f"| 256 x 256, {jobs} queued | {took / jobs:.2f} | {peak_mib(daemon.process.pid):.0f} |", flush=True)
        daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easel", type=Path, default=ROOT / "target" / "debug" / "easel")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", help="comma-separated: start, overhead, queueing, slots, previews, growth")
    parser.add_argument("--model", help="a checkpoint folder for previews, instead of the embedded model")
    parser.add_argument("--size", type=int, default=512, help="edge of the picture for previews")
    parser.add_argument("serve", nargs="*", help="further arguments of that daemon, after --")
    options = parser.parse_args()
    easel = options.easel.resolve()
    print(f"{datetime.date.today()}\n\n| figure | measured |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "start": lambda: start_to_ready(easel, options.runs),
            "overhead": lambda: overhead(easel, folder, 2 * options.runs),
            "queueing": lambda: (queueing(easel, folder, "drill", 1024), queueing(easel, folder, "dreamlite", 256)),
            "slots": lambda: slots(easel, folder),
            "previews": lambda: previews(easel, folder, 1 if options.model else options.runs, options),
            "growth": lambda: growth(easel, folder),
        }
        for part in options.only.split(",") if options.only else parts:
            parts[part]()


if __name__ == "__main__":
    main()
