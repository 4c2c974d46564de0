"""Stage 2: the text encoder alone learns to parse prompts; text is far cheaper than the U-Net.

Linear heads (`slots.py`, not shipped) must read the picture's description off the five template tokens that follow the prompt. The vision
tower stays as it is. `--init` goes on from a checkpoint folder: then the heads are fitted first, with the encoder frozen.
"""
import argparse
import os
import random
import time

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import model as M
import phrasing
import scenes as sc
import slots as SL
from muon import Muon

PICTURES = 4  # source pictures in a batch of edit prompts
HEAD_STEPS = 60  # steps in which only the heads learn, when the encoder is not new


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tok", required=True, help="tokenizer folder")
    ap.add_argument("--out", required=True, help="folder for te.safetensors and the resumable state")
    ap.add_argument("--init", help="checkpoint folder to start from")
    ap.add_argument("--steps", type=int, default=1500)
    ap.add_argument("--bs", type=int, default=64, help="prompts of each kind in a step")
    ap.add_argument("--seed", type=int, default=21)
    ap.add_argument("--muon-lr", type=float, default=0.012)
    ap.add_argument("--lr", type=float, default=2e-3)
    return ap.parse_args()


def t2i_batch(r, pr, n, draw=phrasing.t2i, held=False):
    """n prompts -> token ids, slot targets"""
    ids, targets = [], []
    while len(ids) < n:
        prompt, scene, _ = draw(r)
        if sc.held(scene) == held:
            ids.append(pr.gen(prompt))
            targets.append(SL.t2i_targets(scene["bg"], scene["objs"]))
    return ids, torch.tensor(targets)


def edit_batch(r, pr, n, draw=phrasing.edit, held=False):
    ids, targets = [], []
    while len(ids) < n:
        src = sc.rand_scene(r)
        e = draw(r, src)
        if e and sc.held([src, e[3], e[1] if e[2] is None else e[2]]) == held:
            ids.append(pr.edit(e[0]))
            targets.append(SL.edit_targets(e[0], src, *e[1:]))
    return ids, torch.tensor(targets)


@torch.no_grad()
def pictures(te, r):
    """what the vision tower says about PICTURES random sources"""
    x = torch.stack([torch.from_numpy(sc.render(sc.rand_scene(r))).permute(2, 0, 1) / 127.5 - 1 for _ in range(PICTURES)])
    return M.see(te, x.contiguous())


def slot_loss(te, heads, pr, ids, targets, seen=None):
    i, m = M.pad(ids)
    emb, m = M.encode(te, pr, i, m, seen)
    return SL.loss(heads, emb, m, targets)


@torch.no_grad()
def evaluate(te, heads, pr, n=256):
    """share of held-out prompts whose slots are all read right: {kind: (seen orders, unseen orders)}"""
    r = random.Random(99)
    out = {}
    for kind, batch, plain in (("t2i", t2i_batch, sc.t2i), ("edit", edit_batch, sc.edit)):
        for unseen in (False, True):
            draw = (lambda r, *a: plain(r, *a, unseen_phrase=unseen))
            ok = []
            for _ in range(n // 64):
                ids, tg = batch(r, pr, 64, draw, held=True)
                ok.append(slot_loss(te, heads, pr, ids, tg, pictures(te, r) if kind == "edit" else None)[1])
            out[f"{kind} {'unseen' if unseen else 'seen'}"] = round(torch.cat(ok).all(1).float().mean().item(), 3)
    return out


def save(a, te, heads, opts, step):
    state = {"te": {k: p.detach() for k, p in te.named_parameters()}, "heads": heads.state_dict(), "opts": [o.state_dict() for o in opts], "step": step}
    tmp = os.path.join(a.out, "tmp.pt")
    torch.save(state, tmp)
    os.replace(tmp, os.path.join(a.out, "last.pt"))


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    pr = M.Prompts(Tokenizer.from_file(os.path.join(a.tok, "tokenizer.json")))
    te = M.build_text(pr.tok)
    if a.init:
        weights = load_file(os.path.join(a.init, "text_encoder", "model.safetensors"))
        te.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    te.tie_weights()
    te.model.visual.requires_grad_(False)
    heads = SL.Heads(M.HID)
    named = [(n, p) for n, p in te.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    ids = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in ids]
    opts = [Muon(matrices, lr=a.muon_lr, steps=5), torch.optim.AdamW(rest, lr=a.lr, betas=(0.9, 0.98), weight_decay=0),
            torch.optim.AdamW(heads.parameters(), lr=5e-3, betas=(0.9, 0.98), weight_decay=0)]
    base = [a.muon_lr, a.lr, 5e-3]
    start, warm, t0 = 0, HEAD_STEPS if a.init else 0, time.time()
    last = os.path.join(a.out, "last.pt")
    if os.path.exists(last):
        state = torch.load(last, weights_only=True)
        te.load_state_dict(state["te"], strict=False)
        te.tie_weights()
        heads.load_state_dict(state["heads"])
        for o, s in zip(opts, state["opts"]):
            o.load_state_dict(s)
        start = state["step"]
    for step in range(start, a.steps):
        r = random.Random(a.seed * 1_000_003 + step)  # the data depends on seed and step alone
        decay = min(1, 0.02 + (1 - step / a.steps) / 0.6)
        for o, b, first in zip(opts, base, (warm, warm, 0)):
            o.param_groups[0]["lr"] = b * decay * min(1, max(0, step - first + 1) / 20)
        lt, okt = slot_loss(te, heads, pr, *t2i_batch(r, pr, a.bs))
        lt.backward()
        le, oke = slot_loss(te, heads, pr, *edit_batch(r, pr, a.bs), pictures(te, r))
        le.backward()
        for o in opts if step >= warm else opts[2:]:
            o.step()
        for o in opts:
            o.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0:
            right = lambda ok: f"{ok.all(1).float().mean():.2f} each {ok.float().mean():.4f}"
            print(f"{step + 1} {time.time() - t0:.0f}s t2i {lt.item():.4f} all {right(okt)} | edit {le.item():.4f} all {right(oke)}", flush=True)
        if (step + 1) % 200 == 0 or step + 1 == a.steps:
            save(a, te, heads, opts, step + 1)
            print("held out, all slots right:", evaluate(te, heads, pr), flush=True)


if __name__ == "__main__":
    main()
