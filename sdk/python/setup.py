"""Makes the generated files before the package is put together: from the protos of the tree, or from those that a source
distribution carries along."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))

import generate  # noqa: E402


class Build(build_py):
    """Generates, then builds."""

    def run(self):
        generate.all_files(HERE / "src" / "easel")
        super().run()


class Source(sdist):
    """A source distribution has the protos in it."""

    def run(self):
        generate.copy_protos(HERE / "proto")
        super().run()


setup(cmdclass={"build_py": Build, "sdist": Source})
