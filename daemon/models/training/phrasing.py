"""More ways to say the same things, for training alone.

`scenes.py` fixes the word orders that the evaluation calls "seen" and "unseen"; this file adds others, so that the text encoder learns what
the words mean and not where they stand. None of the evaluation's unseen word orders occurs here. The scenes, the edits and the
held-out rule are those of `scenes.py`.
"""
import scenes as sc

KEEP = ["keep it as it is", "change nothing", "leave the image unchanged", "make no change"]
VARIED = 0.45  # share of prompts that are said in one of the orders of this file


def t2i(r):
    """-> (prompt, scene, category); scene["bg"] may be None (free), as in `scenes.t2i`"""
    if r.random() >= VARIED:
        return sc.t2i(r)
    body, scene, category = sc.t2i_body(r)
    return sc.finish(r, _on_background(r, body, sc.bg_np(r, scene["bg"]))), scene, category


def _on_background(r, body, name):
    a_bg = sc.art(name)
    return r.choice([
        f"on {a_bg}: {body}", f"{body} in front of {a_bg}", f"{a_bg} behind {body}", f"{body}. The background is {a_bg}",
        f"{a_bg} that shows {body}", f"{body} placed on {a_bg}", f"background: {name}, objects: {body}", f"use {a_bg} for {body}",
        f"{body}; {name}", f"I want {body} on {a_bg}", f"we see {body} against {a_bg}", f"against {a_bg} stands {body}",
        f"{a_bg}. On it {body}", f"{a_bg} has {body} on it", f"show {body} over {a_bg}", f"{name}: {body}",
    ])


def edit(r, src):
    """-> (prompt, target scene or None, style or None, op) or None when not applicable, as in `scenes.edit`"""
    e = sc.edit(r, src)
    if e is None or r.random() >= VARIED:
        return e
    prompt, tgt, style, op = e
    said = _instruction(r, src, tgt, style, op)
    if r.random() < 0.3:
        said = said[0].upper() + said[1:]
    if r.random() < 0.25:
        said += "."
    return said, tgt, style, op


def _changed(src, tgt):
    """the first object that differs, before and after"""
    return next(((a, b) for a, b in zip(src["objs"], tgt["objs"]) if a != b), (src["objs"][0], tgt["objs"][0]))


def _instruction(r, src, tgt, style, op):
    objs = src["objs"]
    the = lambda o: "the " + sc.ref(r, o, objs)
    if op == "recolor":
        o, t = _changed(src, tgt)
        R, c = the(o), sc.cw(r, t["color"])
        return r.choice([f"give {R} the color {c}", f"color {R} {c}", f"I want {R} in {c}", f"{R} in {c}", f"use {c} for {R}",
                         f"let {R} be {c}", f"{R} becomes {c}", f"set the color of {R} to {c}"])
    if op == "remove":
        R = the(next(o for o in objs if o not in tgt["objs"]))
        return r.choice([f"no {R[4:]} anymore", f"leave out {R}", f"clear {R}", f"I don't want {R}", f"without {R}", f"drop {R}",
                         f"{R} has to go", f"let {R} disappear"])
    if op == "add":
        n = next(o for o in tgt["objs"] if o not in objs)
        N, P = sc.art(sc.noun(r, n)), r.choice(sc.POS_W[n["pos"]])
        return r.choice([f"insert {N} {P}", f"I want {N} {P}", f"include {N} {P}", f"show {N} {P} too", f"{N} {P} as well",
                         f"let {N} appear {P}", f"with {N} {P}", f"add something {P}: {N}"])
    if op == "background":
        B = sc.bg_np(r, tgt["bg"])
        plain = tgt["bg"][0] == "plain" and r.random() < 0.6
        X = sc.cw(r, tgt["bg"][1]) if plain else sc.art(B)
        return r.choice([f"set the background to {X}", f"the background becomes {X}", f"give it {sc.art(B)}", f"I want {sc.art(B)}",
                         f"let the background be {X}", f"swap the background for {sc.art(B)}", f"show it on {sc.art(B)}",
                         f"background: {X}"])
    if op == "shape":
        o, t = _changed(src, tgt)
        R, N = the(o), sc.art(r.choice(sc.SHAPE_W[t["shape"]]))
        return r.choice([f"swap {R} for {N}", f"convert {R} to {N}", f"I want {N} instead of {R}", f"{R} becomes {N}", f"let {R} be {N}",
                         f"give {R} the shape of {N}", f"use {N} in place of {R}", f"transform {R} into {N}"])
    if op == "size":
        o, t = _changed(src, tgt)
        R, up = the(o), t["size"] == "large"
        more, verb = ("larger", "grow") if up else ("smaller", "shrink")
        return r.choice([f"scale {R} {'up' if up else 'down'}", f"I want {R} {more}", f"let {R} {verb}", f"give {R} a {more} size",
                         f"{R} becomes {more}", f"show {R} {more}", f"set the size of {R} to {t['size']}", f"{more}: {R}"])
    if op == "move":
        o, t = _changed(src, tgt)
        R, P = the(o), r.choice(sc.POS_W[t["pos"]])
        return r.choice([f"bring {R} {P}", f"I want {R} {P}", f"let {R} be {P}", f"show {R} {P}", f"{R} goes {P}", f"set {R} {P}",
                         f"draw {R} {P} instead", f"relocate {R}: {P}"])
    s = r.choice(sc.STYLE_W[style])
    return r.choice([f"I want you to {s}", f"can you {s}", f"{s} for me", f"now {s}", f"could you {s}"])


if __name__ == "__main__":
    import random
    rng = random.Random(0)
    for _ in range(12):
        print(t2i(rng)[0])
    for _ in range(40):
        e = edit(rng, sc.rand_scene(rng))
        if e:
            print(e[3], "|", e[0])
