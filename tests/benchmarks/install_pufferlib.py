"""Installs the peer PufferLib, which is built from source: `python tests/benchmarks/install_pufferlib.py`.

Its vector envs are Python alone. Its games and its trainer, which would be downloaded and compiled, are left out by the
switches that its build has for that; without the games the build stops at a name that it did not set, so that is set
here. Its pins are passed over: it works with the numpy and gymnasium that all other peers have, which makes them equal.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "pufferlib==3.0.0"
UNSET = "import builtins\nbuiltins.c_extension_paths = []\n"


def main() -> int:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", REQUIREMENT]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(UNSET)  # Python runs it at its start
        return subprocess.call(command, env={**os.environ, "NO_OCEAN": "1", "NO_TRAIN": "1", "PYTHONPATH": folder})


if __name__ == "__main__":
    sys.exit(main())
