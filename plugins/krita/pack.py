#!/usr/bin/env python3
"""Packs the plugin for Krita with the Python SDK in it: `pack.py --wheel EASEL.whl FOLDER` fills FOLDER as Krita's `pykrita` folder is
filled, and makes `easel_krita.zip` beside it for Tools, Scripts, Import Python Plugin."""

import argparse
import shutil
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def pack(wheel, target):
    """Fills `target`; the archive's path."""
    plugin = target / "easel_krita"
    shutil.rmtree(plugin, ignore_errors=True)
    shutil.copytree(HERE / "easel_krita", plugin, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "easel_krita.desktop", target)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            # Type stubs and what needs grpcio stay behind.
            wanted = name.startswith("easel/") and not name.endswith((".pyi", "transport/grpc.py", "_aio.py", "_aio_stream.py"))
            if wanted:
                archive.extract(name, plugin / "lib")
    made = target.parent / "easel_krita.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(target.rglob("*")):
            archive.write(file, file.relative_to(target))
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(pack(options.wheel, options.folder))
