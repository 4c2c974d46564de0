"""diffusers on PyTorch against Easel, alternately in one run, on one checkpoint folder.

    compare.py --python PYTHON_WITH_DIFFUSERS --model FOLDER [--sizes 256,512,1024] [--threads 2] [--reps 3] [--openvino]

Both sides, and OpenVINO as a third one at the steps of the U-Net, are processes that load the checkpoint once; each kind of work is then
done by one, by the other, by the first again and so on, so that a machine that slows down slows both. Printed is a table of medians
and of the median of the ratios, pair by pair. Processor seconds are the ones to trust when the machine is busy.
"""
import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROMPT = ("paint the boat in the foreground bright red, add fresh snow on the mountains behind the lake, keep the calm water "
          "and the soft morning mist as they are, and make the whole picture look like an old watercolour on rough paper")

# Positions of the embeddings that steps read: a canvas seen at 512 pixels (258), the instruction's prefix, 60 words, the tail.
TOKENS = 344

# Kinds of work, and whether they depend on the size of the picture.
WORK = [
    ("encode_text", "encode text", False),
    ("encode_edit", "encode with image, cold", False),
    ("encode_second", "encode second instruction", False),
    ("step", "one step", True),
    ("four_steps", "four steps", True),
    ("vae_encode", "VAE encode", True),
    ("vae_decode", "VAE decode", True),
    ("edit", "whole edit, cold", True),
    ("edit_warm", "whole edit, warm canvas", True),
]


class Side:
    """One of the two processes."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self._read()
        self.peak = 0.0

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {self.process.args}")
        return json.loads(line)

    def time(self, work, size):
        self.process.stdin.write(json.dumps({"work": work, "size": size, "prompt": PROMPT, "tokens": TOKENS}) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        self.peak = max(self.peak, answer["peak_rss_mib"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def compare(sides, work, size, reps, first_counts):
    """For each side the medians of its seconds and of its ratios to the first, after one run of each that is not counted."""
    for side in [] if first_counts else sides:
        side.time(work, size)
    turns = [[side.time(work, size) for side in sides] for _ in range(reps)]
    median = lambda values: statistics.median(list(values))
    ratio = lambda at, key: median(turn[at][key] / max(turn[0][key], 1e-9) for turn in turns)
    return [[median(turn[at]["wall"] for turn in turns), ratio(at, "wall"), ratio(at, "cpu")] for at in range(len(sides))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and diffusers")
    parser.add_argument("--worker", default=HERE.parents[1] / "target" / "debug" / "stage_worker", help="Easel's side")
    parser.add_argument("--model", required=True, help="diffusers checkpoint folder")
    parser.add_argument("--sizes", default="256,512,1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--only", help="comma-separated kinds of work")
    parser.add_argument("--first-counts", action="store_true",
                        help="count the first run too: for whole edits after another kind of work, such as encode_text, has read the networks")
    parser.add_argument("--openvino", action="store_true", help="OpenVINO beside them, which the same Python has")
    parser.add_argument("easel", nargs="*", help="further arguments of Easel's worker, after --: unet=int8 vae=int8 encoder=q8_0 condition_size=256 instructions=avx512")
    options = parser.parse_args()
    theirs = Side([options.python, HERE / "torch_worker.py", options.model, str(options.threads)])
    ours = Side([options.worker, options.model, str(options.threads), *options.easel])
    third = [Side([options.python, HERE / "openvino_worker.py", options.model, str(options.threads)])] if options.openvino else []
    versions = ", ".join(side.hello["versions"] for side in [theirs, *third, ours])
    print(f"{datetime.date.today()}, {processor()}, {options.threads} threads, {versions}\n")
    print("| work | size | diffusers s | Easel s | ratio (wall) | ratio (processor) |")
    print("|---|---|---|---|---|---|")
    wanted = options.only.split(",") if options.only else [work for work, _, _ in WORK]
    for work, title, sized in WORK:
        if work not in wanted:
            continue
        for size in [int(s) for s in options.sizes.split(",")] if sized else [512]:
            peers = third if work in ("step", "four_steps") else []
            (base, _, _), (seconds, wall, cpu), *peers = compare([theirs, ours, *peers], work, size, options.reps, options.first_counts)
            print(f"| {title} | {size} | {base:.3f} | {seconds:.3f} | {wall:.2f} | {cpu:.2f} |", flush=True)
            for seconds, wall, cpu in peers:
                print(f"| {title}, OpenVINO for Easel | {size} | {base:.3f} | {seconds:.3f} | {wall:.2f} | {cpu:.2f} |", flush=True)
    print(f"\npeak resident memory: diffusers {theirs.peak:.0f} MiB, Easel {ours.peak:.0f} MiB, ratio {ours.peak / theirs.peak:.2f}")
    for side in [theirs, ours, *third]:
        side.close()


if __name__ == "__main__":
    main()
