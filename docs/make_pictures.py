"""Makes the pictures of README.md with the embedded model: `python docs/make_pictures.py target/debug/easel`."""
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

easel = sys.argv[1]
pictures = HERE / "pictures"
pictures.mkdir(exist_ok=True)
source = pictures / "source.png"
shutil.copy(ROOT / "examples" / "shapes.png", source)
run = lambda *command: subprocess.run([easel, *map(str, command), "--force"], check=True)
run("edit", source, "make the circle green", "--seed", 1, "-o", pictures / "edited.png")
run("edit", source, "remove the star", "--seed", 1, "-o", pictures / "removed.png")
run("generate", "a large yellow star on a dark blue background", "--seed", 3, "-o", pictures / "drawn.png")
