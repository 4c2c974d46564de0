#!/usr/bin/env python3
"""Proves the plugin in real Krita under Xvfb: packs and installs it into a private home, works the panel against a drill daemon, and
reads the saved documents. Prints 'ok NAME', 'not ok NAME: WHY' or 'skip NAME: WHY' a line for each check."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent.parent / "tests" / "conformance")]
import pack  # noqa: E402
from harness.daemon import Daemon  # noqa: E402

TIMEOUT_S = 240


def say(verdict, name, why=""):
    print(f"{verdict} {name}{': ' + why if why else ''}", flush=True)
    return verdict == "ok"


def display():
    """Xvfb on a number of its own choice."""
    read, write = os.pipe()
    process = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "1440x900x24", "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as file:
        number = file.readline().strip()
    if not number:
        raise SystemExit("Xvfb does not start")
    return process, f":{number}"


def install(home, wheel):
    """The plugin and the one that works it, as Krita finds them."""
    pykrita = home / ".local" / "share" / "krita" / "pykrita"
    pykrita.mkdir(parents=True)
    archive = pack.pack(wheel, home / "packed" / "pykrita")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(pykrita)
    for name in ("easel_krita_test", "easel_krita_test.desktop"):
        source = HERE / "inside" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, pykrita / name)
    config = home / ".config"
    config.mkdir()
    (config / "kritarc").write_text("[python]\nenable_easel_krita=true\nenable_easel_krita_test=true\n")


def environment(home, show, folder, daemon):
    keep = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    run = home / "run" / "easel"
    run.mkdir(parents=True, mode=0o700)
    os.chmod(home / "run", 0o700)
    # The discovery file stands where the plugin looks for it, whatever the daemon does.
    found = next(daemon.folder.glob("**/daemon.json"))
    (run / "daemon.json").symlink_to(found)
    places = {"HOME": home, "XDG_RUNTIME_DIR": home / "run", "XDG_CONFIG_HOME": home / ".config", "XDG_DATA_HOME": home / ".local" / "share"}
    return {**keep, **{key: str(value) for key, value in places.items()}, "DISPLAY": show, "EASEL_KRITA_TEST": str(folder), "LC_ALL": "C.UTF-8"}


def follow(folder, krita, daemon):
    """Reads what the plugin inside saw until its end, and does what it asks for. True when all was well."""
    good, seen, ended = True, 0, False
    end = time.monotonic() + TIMEOUT_S
    while not ended and time.monotonic() < end:
        alive = krita.poll() is None
        lines = (folder / "seen").read_text().splitlines() if (folder / "seen").exists() else []
        for line in lines[seen:]:
            told = json.loads(line)
            if "ok" in told:
                say("ok", told["ok"])
            elif "bad" in told:
                good = say("not ok", told["bad"], told["why"].replace("\n", " | "))
            elif "ask" in told:
                {"restart": lambda: (daemon.kill(), daemon.start()), "stop": daemon.kill}[told["ask"]]()
                (folder / f"done-{told['ask']}").touch()
            ended = ended or "end" in told
        seen = len(lines)
        if not alive and not ended:
            return say("not ok", "Krita stays alive", f"exit code {krita.returncode}")
        time.sleep(0.05)
    return good if ended else say("not ok", "the work inside Krita ends", f"not within {TIMEOUT_S} s")


def documents(folder):
    """The saved documents have the layer and its mask."""
    good = True
    for depth in ("U8", "U16"):
        with zipfile.ZipFile(folder / f"saved-{depth}.kra") as saved:
            text = saved.read("maindoc.xml").decode()
        has = 'nodetype="transparencymask"' in text and "Easel: make it blue (7)" in text
        good &= say("ok" if has else "not ok", f"{depth}: the saved .kra has the layer and its mask")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--easel", required=True, type=Path)
    parser.add_argument("--wheel", required=True, type=Path)
    parser.add_argument("--pictures", type=Path, help="keep the screenshots here")
    parser.add_argument("--readme", type=Path, help="only make the picture of the README, with the embedded model, and write it here")
    options = parser.parse_args()
    missing = [name for name in ("krita", "Xvfb") if not shutil.which(name)]
    if missing:
        say("skip", "krita", f"{' and '.join(missing)} are not installed: apt install krita xvfb")
        return 0
    daemon = Daemon(options.easel, engine="dreamlite") if options.readme else Daemon(options.easel, "denoise_step_ms=250")
    server, show = display()
    try:
        with tempfile.TemporaryDirectory(prefix="easel-krita-") as name:
            home, folder = Path(name) / "home", Path(name) / "seen"
            home.mkdir()
            folder.mkdir()
            install(home, options.wheel)
            with open(folder / "krita.log", "w") as log:
                env = environment(home, show, folder, daemon)
                if options.readme:
                    env["EASEL_KRITA_SHAPES"] = str(HERE.parent.parent.parent / "examples" / "shapes.png")
                krita = subprocess.Popen(["krita", "--nosplash"], env=env, stdout=log, stderr=log)
            try:
                good = follow(folder, krita, daemon)
                code = krita.wait(30) if good else krita.poll()
                good = good and say("ok" if code == 0 else "not ok", "Krita ends well", f"exit code {code}" if code else "")
                good = good and (bool(options.readme) or documents(folder))
            finally:
                krita.kill()
                krita.wait()
                if options.readme and (folder / "readme.png").exists():
                    shutil.copy(folder / "readme.png", options.readme)
                if options.pictures:
                    options.pictures.mkdir(parents=True, exist_ok=True)
                    for picture in [*folder.glob("*.png"), folder / "krita.log"]:
                        shutil.copy(picture, options.pictures)
    finally:
        server.terminate()
        server.wait()
        daemon.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
