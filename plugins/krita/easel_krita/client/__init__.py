"""The client of the daemon: the Python SDK over the standard library, in a thread of its own."""

import sys
from pathlib import Path

# The SDK is packed beside this plugin, under its own name; another copy that the user has wins nothing here.
_LIB = str(Path(__file__).resolve().parent.parent / "lib")
if Path(_LIB).is_dir() and _LIB not in sys.path:
    sys.path.insert(0, _LIB)
