"""The embedded model through the daemon: the pictures of its evaluation list, made by the command line, scored by the
evaluator and compared with the scores that diffusers has on the same list.

    scores.py --easel target/debug/easel [--images DIR] [-- FLAGS OF SERVE]

With a precision below f32 among the flags the scores are held to the same bounds, and the stored pictures are not compared.

Prints "ok NAME" or "not ok NAME: WHY" for each check.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "daemon" / "models"
sys.path[:0] = [str(ROOT / "tests" / "wire"), str(MODELS / "training"), str(MODELS / "eval")]
import nano_eval  # noqa: E402
import session  # noqa: E402

TOLERANCE = 0.02  # 2 points, as a share


def make(easel, daemon, item, images):
    """One picture of the list, through the running daemon."""
    out = images / f"{item['id']}.png"
    if item["kind"] == "edit":
        source = images / f"{item['id']}_source.png"
        nano_eval.source_png(item).save(source)
        what = ["edit", source, item["prompt"]]
    else:
        what = ["generate", item["prompt"]]
    command = [easel, *what, "-o", out, "--seed", item["seed"], "--size", "128x128", "--force", "--socket", daemon.socket]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"not ok {item['id']}: exit code {done.returncode}: {done.stderr}")
    return out


def same(name, made, wanted):
    """The rule of the references: every value within 1, at most 1 % of the values different."""
    a, b = (np.asarray(Image.open(p).convert("RGB"), np.int16) for p in (made, wanted))
    difference = np.abs(a - b)
    share = float((difference > 0).mean())
    session.check(name, difference.max() <= 1 and share <= 0.01, f"largest {difference.max()}, {share:.2%} different")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easel", required=True)
    parser.add_argument("--images", help="keep the pictures in this folder")
    parser.add_argument("serve", nargs="*", help="further arguments of `easel serve`, after --")
    options = parser.parse_args()
    keep = tempfile.TemporaryDirectory(prefix="easel-nano-")
    images = Path(options.images or keep.name)
    images.mkdir(parents=True, exist_ok=True)
    daemon = session.Daemon(options.easel, *options.serve)
    try:
        items = nano_eval.load_list(MODELS / "eval" / "eval_dev.json")
        rows = []
        for item in items:
            picture = np.asarray(Image.open(make(options.easel, daemon, item, images)).convert("RGB"))
            if item["kind"] == "t2i":
                score, _ = nano_eval.score_t2i(item, picture)
            else:
                score, _ = nano_eval.score_edit(item, picture, np.asarray(nano_eval.source_png(item)))
            rows.append({**item, "score": score})
    finally:
        code = daemon.stop()
    session.check("nano: the daemon stops when it is told to", code == 0, f"exit code {code}")
    reference = MODELS / "eval" / "reference"
    low = [flag for flag in options.serve if flag in ("int8", "q8_0", "q4k")]
    for item in [] if low else json.loads((reference / "reference.json").read_text())["items"]:
        same(f"nano golden picture {item['id']}", images / f"{item['id']}.png", reference / f"{item['id']}.png")
    ours, theirs = nano_eval.summarise(rows), json.loads((MODELS / "eval" / "scores.json").read_text())["dev"]
    for kind in ("t2i", "edit"):
        for key in ("correct", "strict"):
            a, b = ours[kind]["all"][key], theirs[kind]["all"][key]
            session.check(f"nano score {kind} {key} {' '.join(low)} {a:.3f} (diffusers {b:.3f})".replace("  ", " "), abs(a - b) <= TOLERANCE + 1e-9)


if __name__ == "__main__":
    sys.exit(main())
