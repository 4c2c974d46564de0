"""Draws the example pictures: the scenes that the embedded model knows, at four times its size.

    python examples/make.py        (needs numpy and Pillow)
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "daemon" / "models" / "training"))
import scenes  # noqa: E402

SCALE, SAMPLES = 4, 4

PICTURES = {
    "shapes.png": {
        "bg": ("plain", "white"),
        "objs": [
            {"shape": "circle", "color": "red", "size": "large", "pos": "left"},
            {"shape": "star", "color": "blue", "size": "large", "pos": "right"},
        ],
    },
    "heart.png": {"bg": ("plain", "cyan"), "objs": [{"shape": "heart", "color": "pink", "size": "large", "pos": "center"}]},
}


def draw(scene):
    """The scene at SCALE times the model's size, with SAMPLES x SAMPLES samples a pixel."""
    side = scenes.S * SCALE
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = scenes.draw_bg(scene["bg"]).repeat(SCALE, 0).repeat(SCALE, 1)
    grid = (np.arange(side * SAMPLES) + 0.5) / (SAMPLES * SCALE)
    for thing in scene["objs"]:
        cx, cy = scenes.XY[thing["pos"]]
        radius = scenes.SIZES[thing["size"]]
        x, y = np.meshgrid((grid - cx) / radius, (grid - cy) / radius)
        inside = scenes._inside(thing["shape"], x, y).astype(np.float32)
        cover = inside.reshape(side, SAMPLES, side, SAMPLES).mean((1, 3))[..., None]
        picture = picture * (1 - cover) + np.array(scenes.COLORS[thing["color"]], np.float32) * cover
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))


if __name__ == "__main__":
    for name, scene in PICTURES.items():
        draw(scene).save(HERE / name, optimize=True)
        print(name)
