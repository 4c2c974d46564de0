"""Draw training samples and store what the U-Net's step needs of them: latents and prompt embeddings.

A step of `train_unet.py` then costs the U-Net alone. The pool is a folder of shards; shard i depends on the seed, on i and on the frozen
VAE and text encoder, so a pool can be remade, continued, or made by several processes (`--first`, `--every`). Held-out specifications
never enter. A shard holds T2I prompts, and SOURCES pictures with K edits each, the last of which asks for no change.
"""
import argparse
import copy
import math
import os
import random
import time

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import model as M
import phrasing
import scenes as sc

T2I, SOURCES, K = 256, 64, 7
GROUP = 16  # sources encoded together
PREFIX = 1 + M.SEEN  # tokens of an edit that all edits of a source share
TAIL = 56  # tokens at most after the shared part of a prompt
OPS = sc.EDITS + ["keep"]


def load_frozen(checkpoint, text=None):
    """VAE, text encoder and prompts; `text`: a state of train_text.py in place of the checkpoint's text encoder"""
    vae = AutoencoderTiny.from_pretrained(checkpoint, subfolder="vae", torch_dtype=torch.float32).eval().requires_grad_(False)
    pr = M.Prompts(Tokenizer.from_file(os.path.join(checkpoint, "tokenizer", "tokenizer.json")))
    te = M.build_text(pr.tok)
    if text:
        weights = torch.load(text, weights_only=True)["te"]
    else:
        weights = load_file(os.path.join(checkpoint, "text_encoder", "model.safetensors"))
    te.load_state_dict({k: v.half().float() for k, v in weights.items()}, strict=False)  # through f16, as it is shipped
    te.tie_weights()
    return vae.to(memory_format=torch.channels_last), te.eval().requires_grad_(False), pr


def as_input(pictures):
    """pictures as (n, 3, 128, 128) in -1..1"""
    x = torch.from_numpy(np.clip(np.stack(pictures), 0, 255).round()).permute(0, 3, 1, 2) / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def latents(vae, x):
    """-> (n, 4, 16, 16); bf16 products are near enough for training"""
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([vae.encode(c).latents.float() for c in x.split(16)]).contiguous()


def padded(emb, mask):
    """embeddings as (n, TAIL, d) f16, and their lengths"""
    out = emb.new_zeros(len(emb), TAIL, emb.shape[2])
    out[:, :emb.shape[1]] = emb
    return out.half(), mask.sum(1).int()


def t2i_part(r, vae, te, pr, old):
    prompts, pictures, maps, means = [], [], [], []
    while len(prompts) < T2I:
        prompt, s, _ = phrasing.t2i(r)
        if sc.held(s):
            continue
        mean = float("nan")
        if s["bg"] is None:  # the free background is a function of the noise's mean
            mean = r.gauss(0, 1) / 16
            s["bg"] = sc.free_bg(0.5 * (1 + math.erf(mean * 16 / math.sqrt(2))), s["objs"])
        prompts.append(pr.gen(prompt))
        pictures.append(sc.render(s))
        maps.append(sc.object_map(s))
        means.append(mean)
    emb, n = padded(*M.encode(te, pr, *M.pad(prompts)))
    z = old["t_z"] if old else latents(vae, as_input(pictures)).half()
    return {"t_z": z, "t_emb": emb, "t_len": n, "t_map": torch.from_numpy(np.stack(maps)).bool(), "t_mean": torch.tensor(means)}


def draw_edits(r, s):
    """K edits of the scene, the last one asking for no change"""
    es = []
    while len(es) < K - 1:
        e = phrasing.edit(r, s)
        if e and not sc.held([s, e[3], e[1] if e[2] is None else e[2]]):
            es.append(e)
    return es + [(r.choice(phrasing.KEEP), copy.deepcopy(s), None, "keep")]


def edit_part(r, vae, te, pr, old):
    rows = {k: [] for k in ("e_src", "e_prefix", "e_z", "e_emb", "e_len", "e_map", "e_op")}
    for _ in range(0, SOURCES, GROUP):
        scenes, edits = [], []
        while len(scenes) < GROUP:
            s = sc.rand_scene(r)
            if not sc.held(s):
                scenes.append(s)
                edits.append(draw_edits(r, s))
        sources = as_input([sc.render(s) for s in scenes])
        emb, mask = M.encode(te, pr, *M.pad([pr.edit(e[0]) for es in edits for e in es]), M.see(te, sources))
        tail, n = padded(emb[:, PREFIX:], mask[:, PREFIX:])
        rows["e_prefix"].append(emb[::K, :PREFIX].half())
        rows["e_emb"].append(tail.view(GROUP, K, TAIL, -1))
        rows["e_len"].append(n.view(GROUP, K))
        if not old:
            targets = as_input([sc.target_image(s, t, style) for s, es in zip(scenes, edits) for _, t, style, _ in es])
            rows["e_src"].append(latents(vae, sources).half())
            rows["e_z"].append(latents(vae, targets).half().view(GROUP, K, 4, 16, 16))
            maps = [sc.object_map(s, t) if style is None else np.zeros((16, 16), np.float32) for s, es in zip(scenes, edits) for _, t, style, _ in es]
            rows["e_map"].append(torch.from_numpy(np.stack(maps)).bool().view(GROUP, K, 16, 16))
            rows["e_op"].append(torch.tensor([OPS.index(e[3]) for es in edits for e in es]).view(GROUP, K))
    return {k: torch.cat(v) if v else old[k] for k, v in rows.items()}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--checkpoint", required=True)
    ap.add_argument("--text", help="state of train_text.py")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=101)
    ap.add_argument("--first", type=int, default=0)
    ap.add_argument("--every", type=int, default=1)
    ap.add_argument("--latents", help="pool with the same seed whose latents still hold: only the text is encoded again")
    ap.add_argument("--end", type=int, required=True, help="stop before this shard")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    vae, te, pr = load_frozen(a.checkpoint, a.text)
    for i in range(a.first, a.end, a.every):
        path, t0 = os.path.join(a.out, f"{i:05d}.safetensors"), time.time()
        if os.path.exists(path):
            continue
        r = random.Random(a.seed * 1_000_003 + i)
        old = os.path.join(a.latents, f"{i:05d}.safetensors") if a.latents else ""
        old = load_file(old) if os.path.exists(old) else None
        with torch.no_grad():
            shard = {**t2i_part(r, vae, te, pr, old), **edit_part(r, vae, te, pr, old)}
        save_file({k: v.contiguous() for k, v in shard.items()}, path + ".tmp")
        os.replace(path + ".tmp", path)
        print(f"shard {i} {time.time() - t0:.0f}s", flush=True)


if __name__ == "__main__":
    main()
