"""Scores of a U-Net under training on held-out items that are not those of `eval_dev.json`: hundreds of them, drawn by seed, in batches.

The evaluator is that of `../eval`, the network `fast_unet.py` in bf16, so the scores are near those through diffusers, not equal to them.
Decisions while training are taken on these, so that the 100 items of the list stay what they are for. Edits are asked for in equal numbers;
their mean is weighted as the list's quotas are. Prints, beside the scores, the error of the latents that each of the four steps aims at.

    quick_eval.py --checkpoint C --text W/text/last.pt --unet W/run/state.pt [--wrong wrong.png]
"""
import argparse
import os
import random
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageDraw

import fast_unet as FU
import make_pool as MP
import model as M
import scenes as sc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "eval"))
import nano_eval  # noqa: E402

QUOTA = {"recolor": 20, "remove": 14, "add": 14, "background": 16, "shape": 14, "size": 6, "move": 8, "style": 8}
BATCH = 32


def items(seed, t2i, edits):
    """held-out specifications, every second one in word orders that training never uses"""
    r, out = random.Random(seed), []
    while len(out) < t2i:
        unseen = len(out) % 2 == 1
        prompt, scene, category = sc.t2i(r, unseen)
        if sc.held({"bg": scene["bg"], "objs": scene["objs"]}):
            out.append(dict(kind="t2i", category=category, unseen=unseen, prompt=prompt, scene=scene))
    for op in QUOTA:
        n = 0
        while n < edits:
            source = sc.rand_scene(r)
            e = sc.edit(r, source, op=op, unseen_phrase=n % 2 == 1)
            if e and sc.held([source, e[3], e[1] if e[2] is None else e[2]]):
                out.append(dict(kind="edit", category=op, unseen=n % 2 == 1, prompt=e[0], source=source, target=e[1], style=e[2]))
                n += 1
    return out


@torch.no_grad()
def draw(batch, unet, vae, te, pr, g):
    """fills in the picture of each item of one kind, and the errors of its steps"""
    n = len(batch)
    if batch[0]["kind"] == "t2i":
        emb, mask = M.encode(te, pr, *M.pad([pr.gen(x["prompt"]) for x in batch]))
        cond = torch.zeros(n, 4, 16, 16)
        ideal = [sc.render({**x["scene"], "bg": x["scene"]["bg"] or ("plain", "white")}) for x in batch]
    else:
        source = MP.as_input([sc.render(x["source"]) for x in batch])
        emb, mask = M.encode(te, pr, *M.pad([pr.edit(x["prompt"]) for x in batch]), M.see(te, source))
        cond = vae.encode(source).latents
        ideal = [sc.target_image(x["source"], x["target"], x["style"]) for x in batch]
    wanted = vae.encode(MP.as_input(ideal)).latents
    x, sigmas = torch.randn(n, 4, 16, 16, generator=g), M.sigmas4().tolist() + [0.0]
    for item in batch:
        item["errors"] = []
    for now, then in zip(sigmas, sigmas[1:]):
        v = FU.velocity(unet, x, cond, torch.full((n,), now), emb, mask, M.TIME_IDS).float()
        for item, e in zip(batch, ((x - now * v - wanted) ** 2).mean((1, 2, 3)).tolist()):
            item["errors"].append(e)
        x = x + (then - now) * v
    pictures = ((vae.decode(x).sample.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    for item, picture in zip(batch, pictures):
        item["picture"] = picture


def score(item):
    if item["kind"] == "t2i":
        return nano_eval.score_t2i(item, item["picture"])[0]
    return nano_eval.score_edit(item, item["picture"], sc.render(item["source"]).clip(0, 255).round())[0]


def report(rows):
    def mean(which, key="correct"):
        found = [x["score"][key] for x in rows if which(x)]
        return np.mean(found) if found else float("nan")

    def errors(which):
        return " ".join(f"{e:.3f}" for e in np.mean([x["errors"] for x in rows if which(x)], 0))

    def edits(which):
        return sum(q * mean(lambda x: x["category"] == o and which(x)) for o, q in QUOTA.items()) / 100

    t2i = lambda x: x["kind"] == "t2i"
    parts = " ".join(f"{k} {mean(t2i, k):.2f}" for k in ("count", "position", "color", "shape", "size", "background"))
    kinds = " ".join(f"{c} {mean(lambda x: x['category'] == c):.2f}" for c in ("single", "two", "relation", "count", "three"))
    print(f"t2i {mean(t2i):.3f} seen {mean(lambda x: t2i(x) and not x['unseen']):.2f} unseen {mean(lambda x: t2i(x) and x['unseen']):.2f} | {parts} | {kinds}"
          f" | errors {errors(lambda x: t2i(x) and x['scene']['bg'] is not None)}")
    print(f"edits {edits(lambda x: True):.3f} seen {edits(lambda x: not x['unseen']):.2f} unseen {edits(lambda x: x['unseen']):.2f}")
    for o in QUOTA:
        of = lambda x: x["category"] == o
        one = lambda x: of(x) and len(x["source"]["objs"]) == 1
        more = lambda x: of(x) and len(x["source"]["objs"]) > 1
        print(f"  {o:10s} {mean(of):.2f} changed {mean(of, 'changed'):.2f} preserved {mean(of, 'preserved'):.2f}"
              f" | one object {mean(one):.2f} more {mean(more):.2f} | errors {errors(of)}", flush=True)


def sheet(rows, path):
    """sources and results of up to 48 wrong edits, and up to 24 wrong pictures from text"""
    wrong = [x for x in rows if not x["score"]["correct"]]
    wrong = [x for x in wrong if x["kind"] == "edit"][::max(1, len([x for x in wrong if x["kind"] == "edit"]) // 48)][:48] + [x for x in wrong if x["kind"] == "t2i"][:24]
    out = Image.new("RGB", (6 * 270, (len(wrong) + 5) // 6 * 146), "white")
    text = ImageDraw.Draw(out)
    for i, x in enumerate(wrong):
        at = (i % 6 * 270, i // 6 * 146)
        if x["kind"] == "edit":
            out.paste(nano_eval.source_png(x), at)
        out.paste(Image.fromarray(x["picture"]), (at[0] + 132, at[1]))
        text.text((at[0], at[1] + 129), x["prompt"][:46], fill="black")
    out.save(path)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--checkpoint", required=True)
    ap.add_argument("--text", help="state of train_text.py in place of the checkpoint's text encoder")
    ap.add_argument("--unet", required=True, help="state of train_unet.py")
    ap.add_argument("--raw", action="store_true", help="the weights themselves, not their average")
    ap.add_argument("--t2i", type=int, default=100)
    ap.add_argument("--edits", type=int, default=30, help="of each kind")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--wrong", help="where to put a sheet of what is wrong")
    a = ap.parse_args()
    torch.set_num_threads(1)
    vae, te, pr = MP.load_frozen(a.checkpoint, a.text)
    state = torch.load(a.unet, weights_only=True, mmap=True)
    unet = M.build_unet()
    unet.load_state_dict(state["unet" if a.raw else "ema"])
    unet = FU.copy_for_training(unet).requires_grad_(False)
    rows, g, t0 = items(a.seed, a.t2i, a.edits), torch.Generator().manual_seed(a.seed), time.time()
    for kind in ("t2i", "edit"):
        of_kind = [x for x in rows if x["kind"] == kind]
        for i in range(0, len(of_kind), BATCH):
            draw(of_kind[i:i + BATCH], unet, vae, te, pr, g)
    for x in rows:
        x["score"] = score(x)
    print(f"step {state['step']}, {state['samples']} samples, {'weights' if a.raw else 'average'}; {time.time() - t0:.0f} s")
    report(rows)
    if a.wrong:
        sheet(rows, a.wrong)


if __name__ == "__main__":
    main()
