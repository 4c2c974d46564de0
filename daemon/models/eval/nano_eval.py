"""Evaluator for dreamlite-nano in the spirit of GenEval: it parses a picture and checks what the prompt asked for.

  nano_eval.py lists  --dev eval_dev.json --holdout FILE        write the fixed lists (seeded)
  nano_eval.py run    --checkpoint DIR --list L --images DIR --scores FILE   diffusers (f32, 4 steps), then score
  nano_eval.py score  --list L --images DIR --scores FILE       score pictures ID.png made by any implementation

Parsing uses no prompt: the best fitting background of the domain is found, what differs from it is cut into the 3x3
grid's cells, and each occupied cell gets its dominant palette colour and its best template (shape x size) by overlap.
"""
import argparse, json, os, random, sys
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "training"))
import scenes as sc

NAMES = list(sc.COLORS)
PAL = np.array([sc.COLORS[c] for c in NAMES], np.float32)
_cands = None


def candidates():
    global _cands
    if _cands is None:
        bgs = [("plain", c) for c in NAMES]
        for k in ("gradient", "vstripes", "hstripes", "checker"):
            bgs += [(k, a, b) for a in NAMES for b in NAMES if a != b]
        small = np.stack([sc.draw_bg(b).reshape(32, 4, 32, 4, 3).mean((1, 3)) for b in bgs])
        _cands = bgs, small
    return _cands


def parse(im):
    """im: HxWx3 uint8/float 128x128 -> {"bg", "bg_err", "objs": [{shape,color,size,pos,iou}]}"""
    im = np.asarray(im, np.float32)
    bgs, small = candidates()
    s = im.reshape(32, 4, 32, 4, 3).mean((1, 3))
    d = np.sqrt(((small - s) ** 2).sum(-1))
    e = np.minimum(d, 70).mean((1, 2)); i = int(e.argmin())
    bg = bgs[i]
    diff = np.sqrt(((sc.draw_bg(bg) - im) ** 2).sum(-1)) > 62
    near = np.sqrt(((im[:, :, None] - PAL) ** 2).sum(-1)).argmin(-1)
    objs = []
    for p, (cx, cy) in sc.XY.items():
        y0, y1, x0, x1 = max(cy - 20, 0), min(cy + 20, sc.S), max(cx - 20, 0), min(cx + 20, sc.S)
        m = diff[y0:y1, x0:x1]
        if m.sum() < 90:
            continue
        n = near[y0:y1, x0:x1]
        cnt = np.bincount(n[m], minlength=len(NAMES)); cnt[NAMES.index("gray")] = 0
        c = int(cnt.argmax())
        best = (0, None, None)
        full = np.zeros((sc.S + 8, sc.S + 8), bool); full[4:-4, 4:-4] = diff
        for shape in sc.SHAPES:
            for size in sc.SIZES:
                t = sc.mask(shape, size)[4:-4, 4:-4] > 0.35  # 40 x 40
                for dy in (-2, 0, 2):
                    for dx in (-2, 0, 2):
                        w = full[4 + cy - 20 + dy:4 + cy + 20 + dy, 4 + cx - 20 + dx:4 + cx + 20 + dx]
                        u = (w | t).sum()
                        iou = (w & t).sum() / max(u, 1)
                        if iou > best[0]:
                            best = (float(iou), shape, size)
        if best[0] < 0.25:
            continue
        objs.append({"shape": best[1], "size": best[2], "color": NAMES[c], "pos": p, "iou": round(best[0], 3)})
    return {"bg": list(bg), "bg_err": float(e[i]), "objs": objs}


def cmp_obj(a, b, keys):
    return all(a[k] == b[k] for k in keys)


def score_t2i(item, im):
    got, want = parse(im), item["scene"]
    at = {o["pos"]: o for o in got["objs"]}
    n = len(want["objs"]); f = lambda k: sum(o["pos"] in at and at[o["pos"]][k] == o[k] for o in want["objs"]) / n
    r = {"count": float(len(got["objs"]) == n), "position": sum(o["pos"] in at for o in want["objs"]) / n,
         "color": f("color"), "shape": f("shape"), "size": f("size"),
         "background": float(got["bg"] == list(want["bg"]) if want["bg"] else got["bg"] in (["plain", "white"], ["plain", "gray"], ["plain", "black"]))}
    r["correct"] = float(all(r[k] == 1 for k in ("count", "position", "color", "shape", "background")))
    r["strict"] = float(r["correct"] and r["size"] == 1)
    return r, got


def score_edit(item, im, src_im):
    im = np.asarray(im, np.float32); tgt = sc.target_image(item["source"], item["target"], item["style"])
    mae, mae0 = float(np.abs(im - tgt).mean()), float(np.abs(np.asarray(src_im, np.float32) - tgt).mean())
    if item["style"]:
        ok = float(mae < 16 and mae < 0.5 * mae0)
        return {"changed": ok, "preserved": ok, "correct": ok, "strict": ok, "mae": mae, "mae_source": mae0}, None
    got, src, want = parse(im), item["source"], item["target"]
    at = {o["pos"]: o for o in got["objs"]}
    key = lambda o: (o["shape"], o["color"], o["size"], o["pos"])
    sk, wk = {key(o) for o in src["objs"]}, {key(o) for o in want["objs"]}
    new = [o for o in want["objs"] if key(o) not in sk]; same = [o for o in want["objs"] if key(o) in sk]
    gone = [o for o in src["objs"] if key(o) not in wk and o["pos"] not in {q["pos"] for q in want["objs"]}]
    K = ("shape", "color"); Z = ("shape", "color", "size")
    has = lambda o, k: o["pos"] in at and cmp_obj(at[o["pos"]], o, k)
    bg_same = list(src["bg"]) == list(want["bg"]); bg_ok = got["bg"] == list(want["bg"])
    nk = Z if item["category"] == "size" else K
    changed = all(has(o, nk) for o in new) and all(o["pos"] not in at for o in gone) and (bg_same or bg_ok)
    extra = [p for p in at if p not in {o["pos"] for o in want["objs"]} | {o["pos"] for o in gone}]
    preserved = all(has(o, K) for o in same) and not extra and (not bg_same or bg_ok)
    sizes = all(has(o, ("size",)) for o in want["objs"])
    r = {"changed": float(changed), "preserved": float(preserved), "correct": float(changed and preserved),
         "strict": float(changed and preserved and sizes), "mae": mae, "mae_source": mae0}
    return r, got


def make_lists(seed=2026):
    """100 text-to-image and 100 edit items; specifications that training rejects, half of them in unseen word orders."""
    r = random.Random(seed); t, e = [], []
    quota = {"single": 34, "two": 32, "relation": 14, "count": 10, "three": 10}
    while len(t) < 100:
        u = len(t) % 2 == 1
        p, s, c = sc.t2i(r, u)
        spec = {"bg": s["bg"], "objs": s["objs"]}
        if not sc.held(spec) or quota[c] == 0:
            continue
        quota[c] -= 1
        t.append({"kind": "t2i", "category": c, "unseen_phrase": u, "prompt": p, "scene": {"bg": s["bg"] and list(s["bg"]), "objs": s["objs"]}, "seed": 1000 + len(t)})
    quota = {"recolor": 20, "remove": 14, "add": 14, "background": 16, "shape": 14, "size": 6, "move": 8, "style": 8}
    while len(e) < 100:
        u = len(e) % 2 == 1
        s = sc.rand_scene(r); x = sc.edit(r, s, unseen_phrase=u)
        if not x or quota[x[3]] == 0 or not sc.held([s, x[3], x[1] if x[2] is None else x[2]]):
            continue
        quota[x[3]] -= 1
        f = lambda q: {"bg": list(q["bg"]), "objs": q["objs"]}
        e.append({"kind": "edit", "category": x[3], "unseen_phrase": u, "prompt": x[0], "source": f(s), "target": f(x[1]), "style": x[2], "seed": 5000 + len(e)})
    out = []
    for half in (0, 1):
        items = [i for k, i in enumerate(t) if k // 2 % 2 == half] + [i for k, i in enumerate(e) if k // 2 % 2 == half]
        for k, i in enumerate(items):
            i["id"] = f"{'dev' if half == 0 else 'holdout'}_{i['kind']}_{k % 50:02d}"
        out.append(items)
    return out


def load_list(p):
    return json.load(open(p))["items"]


def source_png(item):
    return Image.fromarray(np.clip(sc.render(item["source"]), 0, 255).round().astype(np.uint8))


def noise(item):
    import torch
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(item["seed"]))


def load_pipe(path):
    import torch
    from diffusers import DreamLiteMobilePipeline
    pipe = DreamLiteMobilePipeline.from_pretrained(path, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe, item, steps=4):
    """The pipeline unmodified; the initial noise goes in by its own random hook so that it is reproducible elsewhere."""
    z = noise(item)
    keep = pipe.prepare_latents
    pipe.prepare_latents = lambda *a, **k: z.clone()
    try:
        im = source_png(item) if item["kind"] == "edit" else None
        return pipe(prompt=item["prompt"], image=im, height=128, width=128, num_inference_steps=steps).images[0]
    finally:
        pipe.prepare_latents = keep


def summarise(rows):
    def mean(rs):
        if not rs:
            return {"n": 0}
        ks = rs[0]["score"].keys()
        return {"n": len(rs), **{k: round(float(np.mean([r["score"][k] for r in rs])), 3) for k in ks}}
    out = {}
    for kind in ("t2i", "edit"):
        rs = [r for r in rows if r["kind"] == kind]
        if not rs:
            continue
        out[kind] = {"all": mean(rs), "seen word order": mean([r for r in rs if not r["unseen_phrase"]]),
                     "unseen word order": mean([r for r in rs if r["unseen_phrase"]]),
                     "by category": {c: mean([r for r in rs if r["category"] == c]) for c in dict.fromkeys(r["category"] for r in rs)}}
    return out


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("cmd", choices=["lists", "run", "score"])
    ap.add_argument("--dev"); ap.add_argument("--holdout"); ap.add_argument("--list"); ap.add_argument("--images"); ap.add_argument("--scores")
    ap.add_argument("--checkpoint"); ap.add_argument("--limit", type=int, default=0); ap.add_argument("--steps", type=int, default=4)
    a = ap.parse_args()
    if a.cmd == "lists":
        for p, items in zip((a.dev, a.holdout), make_lists()):
            json.dump({"resolution": 128, "steps": 4, "items": items}, open(p, "w"), indent=1)
        sys.exit()
    items = load_list(a.list)
    if a.limit:
        items = [i for k, i in enumerate(items) if k % max(1, len(items) // a.limit) == 0]
    os.makedirs(a.images, exist_ok=True)
    if a.cmd == "run":
        import torch
        torch.set_num_threads(1)
        pipe = load_pipe(a.checkpoint)
    rows = []
    for it in items:
        p = os.path.join(a.images, it["id"] + ".png")
        if a.cmd == "run":
            generate(pipe, it, a.steps).save(p)
        im = Image.open(p).convert("RGB")
        s, got = score_t2i(it, im) if it["kind"] == "t2i" else score_edit(it, im, source_png(it))
        rows.append({"id": it["id"], "kind": it["kind"], "category": it["category"], "unseen_phrase": it["unseen_phrase"], "prompt": it["prompt"], "score": s, "parsed": got})
    res = {"summary": summarise(rows), "items": rows}
    if a.scores:
        json.dump(res, open(a.scores, "w"), indent=1)
    for k, v in res["summary"].items():
        print(k, "all", v["all"])
        for c, m in v["by category"].items():
            print("   ", c, m)
