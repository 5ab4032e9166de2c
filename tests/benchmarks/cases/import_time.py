"""Seconds to `import envkit` in a fresh interpreter, the least of several, against the packages below it.

Same work: we import `torch`, `tensordict` and `gymnasium`, so the ratio to these three says what we add.
"""

import subprocess
import sys
from functools import partial

from measure import Case, Sample


def import_seconds(modules: str, size: int) -> Sample:
    clocked = f"import time; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-I", "-c", clocked], capture_output=True, text=True) for _ in range(size)]
    if failed := [run for run in runs if run.returncode]:
        last = failed[0].stderr.strip().splitlines()[-1]
        raise ModuleNotFoundError(last, name=modules) if "ModuleNotFoundError" in last else RuntimeError(last)
    return Sample(min(float(run.stdout.splitlines()[-1]) for run in runs))


CASES = {
    "import_time": Case(
        unit="s",
        size=3,
        ours={"envkit": partial(import_seconds, "envkit")},
        peers={
            "torch, tensordict, gymnasium": partial(import_seconds, "torch, tensordict, gymnasium"),
            "torchrl.envs": partial(import_seconds, "torchrl.envs"),
        },
        targets={"torch, tensordict, gymnasium": 1.3},
        lower_is_better=True,
    )
}
