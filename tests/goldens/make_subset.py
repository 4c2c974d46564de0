"""Choose the part of the reference data that is kept in the tree: one small case of each kind, in the same layout.

  python make_subset.py REFERENCE [OUT]

REFERENCE is a folder with `checkpoints/` and `goldens/`; OUT is this folder unless it is named. All chosen cases belong to
one checkpoint, the one whose files are smallest; of the U-Net cases the one with most recorded modules is taken, of the
others the smallest, edits before generations, because an edit passes through everything.
"""
import json
import os
import shutil
import sys

LIMIT_BYTES = 16 * 1024 * 1024


def size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names)


def rank(goldens, case):
    edit = case["inputs"].get("image") is not None or case["inputs"].get("mode") == "edit"
    modules = len(case["tensors"]) if case["kind"] == "unet" else 0
    prefers_edit = case["kind"] in ("encode", "e2e") and edit
    return (-modules, not prefers_edit, size(os.path.join(goldens, case["file"])))


def pictures(goldens, case):
    """Paths below goldens/ of the pictures that a case reads."""
    name = case["inputs"].get("image")
    if case["kind"] == "load_image":
        return ["images/" + n for n in sorted(os.listdir(os.path.join(goldens, "images"))) if n.startswith("mode_")]
    if name is None:
        return []
    return [name if "/" in name else f"images/{name}.png"]


def main(reference, out):
    goldens, checkpoints = os.path.join(reference, "goldens"), os.path.join(reference, "checkpoints")
    with open(os.path.join(goldens, "manifest.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    names = sorted({c["checkpoint"] for c in manifest["cases"] if c["checkpoint"]})
    chosen = min(names, key=lambda name: size(os.path.join(checkpoints, name)))
    cases = [c for c in manifest["cases"] if c["checkpoint"] in (None, chosen)]
    kept = [min((c for c in cases if c["kind"] == kind), key=lambda c: rank(goldens, c))
            for kind in sorted({c["kind"] for c in cases})]
    json_files = [n for n in manifest["json_files"] if chosen in n]
    files = {c["file"] for c in kept} | {p for c in kept for p in pictures(goldens, c)} | set(json_files)
    if os.path.isdir(os.path.join(goldens, "noise")):
        files |= {"noise/" + n for n in os.listdir(os.path.join(goldens, "noise"))}
    for part in ("goldens", "checkpoints"):
        shutil.rmtree(os.path.join(out, part), ignore_errors=True)
    for name in sorted(files):
        target = os.path.join(out, "goldens", name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(goldens, name), target)
    for root, _, names in os.walk(os.path.join(checkpoints, chosen)):
        folder = os.path.join(out, "checkpoints", chosen, os.path.relpath(root, os.path.join(checkpoints, chosen)))
        os.makedirs(folder, exist_ok=True)
        for name in names:
            shutil.copyfile(os.path.join(root, name), os.path.join(folder, name))
    with open(os.path.join(out, "goldens", "manifest.json"), "w", encoding="utf-8") as f:
        json.dump({**manifest, "cases": kept, "json_files": json_files}, f, indent=1)
        f.write("\n")
    total = size(os.path.join(out, "goldens")) + size(os.path.join(out, "checkpoints"))
    print(f"{len(kept)} cases of {chosen}, {total / 1024 / 1024:.1f} MiB")
    assert total < LIMIT_BYTES, "too much for the tree"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.dirname(os.path.abspath(__file__)))
