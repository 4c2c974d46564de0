"""Let a U-Net go on with another text encoder: the affine map that takes the new encoder's states nearest to the old one's, over
text-to-image prompts, is folded into the U-Net's first text projection. Prints the share of the variance that the map keeps.

    align.py --old TEXT_STATE_OR_CHECKPOINT --new TEXT_STATE --tok TOKENIZER_FOLDER --unet STATE_OR_CHECKPOINT --out THE_SAME_KIND
"""
import argparse
import os
import random

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import model as M
import phrasing

WEIGHTS = "diffusion_pytorch_model.safetensors"


def states(path, pr, ids):
    """every token's state of these prompts; only the language model counts, so any number of layers and any tower will do"""
    if os.path.isdir(path):
        weights = {k: v.float() for k, v in load_file(os.path.join(path, "text_encoder", "model.safetensors")).items()}
    else:
        weights = torch.load(path, weights_only=True)["te"]
    weights = {k: v.float() for k, v in weights.items() if "visual" not in k}
    M.LAYERS = 1 + max(int(k.split("layers.")[1].split(".")[0]) for k in weights if "layers." in k)
    te = M.build_text(pr.tok).eval()
    te.load_state_dict(weights, strict=False)
    te.tie_weights()
    with torch.no_grad():
        emb, mask = M.encode(te, pr, *M.pad(ids))
    return emb[mask.bool()]


def main():
    ap = argparse.ArgumentParser()
    for k in ("old", "new", "tok", "unet", "out"):
        ap.add_argument("--" + k, required=True)
    a = ap.parse_args()
    torch.set_num_threads(1)
    pr = M.Prompts(Tokenizer.from_file(os.path.join(a.tok, "tokenizer.json")))
    r = random.Random(5)
    ids = [pr.gen(phrasing.t2i(r)[0]) for _ in range(500)]
    old, new = states(a.old, pr, ids), states(a.new, pr, ids)
    x = torch.cat([new, torch.ones(len(new), 1)], 1).double()
    fit = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]).double(), x.T @ old.double())
    left = (x @ fit - old).square().sum() / (old - old.mean(0)).square().sum()
    print(f"kept {1 - left.item():.4f}")
    A, shift = fit[:-1].T.float(), fit[-1].float()
    k = "encoder_hid_proj.0."

    def fold(u):
        w, b = u[k + "weight"].float(), u[k + "bias"].float()
        u[k + "bias"], u[k + "weight"] = b + w @ shift, w @ A

    if os.path.isdir(a.unet):
        os.makedirs(os.path.join(a.out, "unet"))
        weights = load_file(os.path.join(a.unet, "unet", WEIGHTS))
        fold(weights)
        save_file(weights, os.path.join(a.out, "unet", WEIGHTS))
    else:
        state = torch.load(a.unet, weights_only=True)
        fold(state["unet"])
        fold(state["ema"])
        torch.save(state, a.out)


if __name__ == "__main__":
    main()
