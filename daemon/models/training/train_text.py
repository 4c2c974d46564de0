"""Stage 2: the text encoder and its vision tower learn to say what picture is wanted; text is far cheaper than the U-Net.

Linear heads (`slots.py`, not shipped) must read the wanted picture's description off the five template tokens that follow the prompt;
in an edit, most of it is only to be seen in the source. `--init` starts from a checkpoint folder: what has the same shape is taken
over, and layers that are new there begin by adding nothing.
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


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tok", required=True, help="tokenizer folder")
    ap.add_argument("--out", required=True, help="folder for the resumable state")
    ap.add_argument("--init", help="checkpoint folder to start from")
    ap.add_argument("--steps", type=int, default=2500)
    ap.add_argument("--t2i", type=int, default=48, help="text-to-image prompts in a step")
    ap.add_argument("--pictures", type=int, default=16, help="source pictures in a step")
    ap.add_argument("--edits", type=int, default=6, help="edits of each")
    ap.add_argument("--cells", type=float, default=1.0, help="weight of what the vision tower's own tokens must tell")
    ap.add_argument("--pointing", type=float, default=0.5, help="weight of where the slots look")
    ap.add_argument("--look", type=int, default=300, help="first, so many steps of the vision tower alone")
    ap.add_argument("--look-pictures", type=int, default=32, help="pictures in each of them")
    ap.add_argument("--seed", type=int, default=21)
    ap.add_argument("--muon-lr", type=float, default=0.012)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--threads", type=int, default=1)
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


def edit_batch(r, pr, pictures, edits, draw=phrasing.edit, held=False):
    """edits of each of some pictures -> scenes, token ids, slot targets"""
    scenes, ids, targets = [], [], []
    while len(scenes) < pictures:
        src = sc.rand_scene(r)
        if sc.held(src) and not held:
            continue
        scenes.append(src)
        n = 0
        while n < edits:
            e = draw(r, src) if held or r.random() > 0.04 else (r.choice(phrasing.KEEP), src, None, "keep")
            if e and sc.held([src, e[3], e[1] if e[2] is None else e[2]]) == held:
                ids.append(pr.edit(e[0]))
                targets.append(SL.edit_targets(src, *e[1:]))
                n += 1
    return scenes, ids, torch.tensor(targets)


def look(te, scenes):
    """what the vision tower says about the pictures of these scenes"""
    x = torch.stack([torch.from_numpy(sc.render(s).clip(0, 255).round()).permute(2, 0, 1) / 127.5 - 1 for s in scenes])
    return M.see(te, x.contiguous())


def slot_loss(te, heads, pr, ids, targets, seen=None, pointing=None):
    """-> loss, right answers; pointing: a list that is given the loss and share of `pointing_loss`"""
    i, own = M.pad(ids)
    watched = None if pointing is None else []
    emb, m = M.encode(te, pr, i, own, seen, watched)
    if pointing is not None:
        pointing += SL.pointing_loss(watched, own, targets, len(pr.pre_e) - 1)
    return SL.loss(heads, emb, m, targets)


@torch.no_grad()
def evaluate(te, heads, pr, n=128):
    """share of held-out prompts whose slots are all read right, in seen and unseen word orders; for edits also by operation"""
    r = random.Random(99)
    out = {}
    for unseen in (False, True):
        name = "unseen" if unseen else "seen"
        ids, tg = t2i_batch(r, pr, n, lambda r: sc.t2i(r, unseen_phrase=unseen), held=True)
        out[f"t2i {name}"] = round(slot_loss(te, heads, pr, ids, tg)[1].all(1).float().mean().item(), 3)
        scenes, ids, tg = edit_batch(r, pr, n // 2, 2, lambda r, s: sc.edit(r, s, unseen_phrase=unseen), held=True)
        ok = slot_loss(te, heads, pr, ids, tg, look(te, scenes))[1]
        out[f"edit {name}"] = round(ok.all(1).float().mean().item(), 3)
        out[f"slots {name}"] = [round(x.all(1).float().mean().item(), 2) for x in ok.split((3, 2, 4, 4, 4, 4), 1)]
        means = tg[:, 20] > 0
        out[f"meant object's place {name}"] = round(ok[means, 20].float().mean().item(), 3)
        if not unseen:
            out["by operation"] = {o: round(ok[tg[:, 3] == i + 1].all(1).float().mean().item(), 2) for i, o in enumerate(sc.EDITS)}
    return out


def save(a, te, heads, opts, step):
    M.widen(te)
    state = {"te": {k: p.detach() for k, p in te.named_parameters() if not k.endswith("visual.low")}, "heads": heads.state_dict(), "opts": [o.state_dict() for o in opts], "step": step}
    tmp = os.path.join(a.out, "tmp.pt")
    torch.save(state, tmp)
    os.replace(tmp, os.path.join(a.out, "last.pt"))


def take_over(te, folder):
    """the weights of a checkpoint, where the shapes agree; further layers add nothing at first"""
    own = te.state_dict()
    weights = {k: v.float() for k, v in load_file(os.path.join(folder, "text_encoder", "model.safetensors")).items()}
    same = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if any("visual" in k and k not in same for k in own):  # another size of tower: all of it is new
        same = {k: v for k, v in same.items() if "visual" not in k}
    te.load_state_dict(same, strict=False)
    with torch.no_grad():
        for i, layer in enumerate(te.model.language_model.layers):
            if not any(f"layers.{i}." in k and "language_model" in k for k in same):
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    pr = M.Prompts(Tokenizer.from_file(os.path.join(a.tok, "tokenizer.json")))
    te = M.build_text(pr.tok)
    if a.init:
        take_over(te, a.init)
    last = os.path.join(a.out, "last.pt")
    state = torch.load(last, weights_only=True) if os.path.exists(last) else None
    if state:
        te.load_state_dict(state["te"], strict=False)
    te.tie_weights()
    M.narrow(te)
    heads = SL.Heads(M.HID)
    named = [(n, p) for n, p in te.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    ids = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in ids]
    opts = [Muon(matrices, lr=a.muon_lr, steps=5), torch.optim.AdamW(rest, lr=a.lr, betas=(0.9, 0.98), weight_decay=0),
            torch.optim.AdamW(heads.parameters(), lr=5e-3, betas=(0.9, 0.98), weight_decay=0)]
    base = [a.muon_lr, a.lr, 2 * a.lr]
    start, t0 = 0, time.time()
    if state:
        own = heads.state_dict()
        heads.load_state_dict({k: v for k, v in state["heads"].items() if own[k].shape == v.shape}, strict=False)
        try:
            for o, s in zip(opts, state["opts"]):
                o.load_state_dict(s)
        except (ValueError, RuntimeError):
            print("new optimizer")
        start = state["step"]
    for step in range(start, a.look):
        r = random.Random(a.seed * 1_000_003 - 1 - step)
        scenes = [sc.rand_scene(r) for _ in range(a.look_pictures)]
        with torch.autocast("cpu", torch.bfloat16):
            lc, okc = SL.cell_loss(heads, look(te, scenes)[:, 0], SL.cell_targets(scenes))
            lc.backward()
        for o in opts:
            o.param_groups[0]["lr"] = base[opts.index(o)] * min(1, (step - start + 1) / 20) * max(0.05, (a.look - step) / (a.look - start))
            o.step()
            o.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0:
            print(f"look {step + 1} {time.time() - t0:.0f}s cells {lc.item():.3f} {' '.join(f'{x:.2f}' for x in okc.tolist())}", flush=True)
    for step in range(max(start, a.look), a.steps):
        r = random.Random(a.seed * 1_000_003 + step)  # the data depends on seed and step alone
        decay = min(1, 0.02 + (1 - step / a.steps) / 0.5)
        for o, b in zip(opts, base):
            o.param_groups[0]["lr"] = b * decay * min(1, (step + 1) / 20)
        scenes, ids, tg = edit_batch(r, pr, a.pictures, a.edits)
        with torch.autocast("cpu", torch.bfloat16):
            lt, okt = slot_loss(te, heads, pr, *t2i_batch(r, pr, a.t2i))
            lt.backward()
            seen = look(te, scenes)
            pointing = []
            le, oke = slot_loss(te, heads, pr, ids, tg, seen, pointing)
            lc, okc = SL.cell_loss(heads, seen[:, 0], SL.cell_targets(scenes))
            (2 * le + a.cells * lc + a.pointing * pointing[0]).backward()
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0:
            right = lambda ok: f"{ok.all(1).float().mean():.2f} each {ok.float().mean():.4f}"
            print(f"{step + 1} {time.time() - t0:.0f}s t2i {lt.item():.4f} all {right(okt)} | edit {le.item():.4f} all {right(oke)} means {oke[tg[:, 20] > 0, 20].float().mean():.2f} points {pointing[1]:.2f}"
                  f" | cells {lc.item():.3f} {' '.join(f'{x:.2f}' for x in okc.tolist())}", flush=True)
        if (step + 1) % 100 == 0 or step + 1 == a.steps:
            save(a, te, heads, opts, step + 1)
            print("held out, all slots right:", evaluate(te, heads, pr), flush=True)


if __name__ == "__main__":
    main()
