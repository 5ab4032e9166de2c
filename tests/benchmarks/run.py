"""Measures the figures we promise, ours and the peers' side by side: `python tests/benchmarks/run.py`.

Every file in `cases/` holds the cases of one subject. Rounds are interleaved: in each round every
implementation of a case runs once, alone, in its own interpreter with one thread, and the order rotates
from round to round, so that slow drift of the machine falls on all alike. Ratios are taken within a round,
and their median is reported.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from measure import Case
from report import machine, rows, table

HERE = Path(__file__).resolve().parent
TIME_LIMIT = 900  # seconds for one run of one implementation
ONE_THREAD = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def load_cases() -> dict[str, Case]:
    """All cases by name, in the order of their files."""
    found: dict[str, Case] = {}
    for file in sorted((HERE / "cases").glob("*.py")):
        found |= importlib.import_module(f"cases.{file.stem}").CASES
    return found


def run_once(name: str, implementation: str, quick: bool) -> dict:
    """Run in a fresh interpreter: a Sample as a dict, or {"missing": package} or {"crash": message}."""
    command = [sys.executable, str(HERE / "run.py"), "--measure", name, implementation]
    with subprocess.Popen(
        command + ["--quick"] * quick,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            return {"crash": f"no result within {TIME_LIMIT} s"}
        finally:  # workers that it left would disturb the next one
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return json.loads(out.splitlines()[-1])
    return {"crash": (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}


def run_here(case: Case, implementation: str, quick: bool) -> dict:
    """What the fresh interpreter does: measure, or say which package of a peer is missing."""
    try:
        return asdict(case.implementations[implementation](max(1, case.size // 10) if quick else case.size))
    except ModuleNotFoundError as error:
        if implementation in case.ours:
            raise
        return {"missing": error.name}


def run_case(name: str, case: Case, rounds: int, quick: bool) -> dict[str, list[dict]]:
    """All rounds of one case, by implementation. One that fails is not tried again."""
    order = list(case.implementations)
    results: dict[str, list[dict]] = {implementation: [] for implementation in order}
    for turn in range(rounds):
        shift = turn % len(order)
        for implementation in order[shift:] + order[:shift]:
            if any("value" not in result for result in results[implementation]):
                continue
            result = run_once(name, implementation, quick)
            results[implementation].append(result)
            print(f"{name} {turn + 1}/{rounds} {implementation}: {result}", file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Run the chosen cases, print the table, write the JSON file; 1 if one of ours crashed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work and two rounds: a smoke run")
    parser.add_argument("--rounds", type=int, help="rounds per case (5, or 2 with --quick)")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose name contains this; repeatable")
    parser.add_argument("--json", type=Path, default=Path("bench-results/latest.json"), metavar="FILE")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = load_cases()
    if arguments.measure:
        name, implementation = arguments.measure
        print(json.dumps(run_here(cases[name], implementation, arguments.quick)))
        return 0

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what is running as well
    chosen = {n: c for n, c in cases.items() if not arguments.only or any(part in n for part in arguments.only)}
    if not chosen:
        parser.error(f"no case matches {arguments.only}; the cases are {', '.join(cases)}")
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    results = {name: run_case(name, case, rounds, arguments.quick) for name, case in chosen.items()}
    report = [row for name, case in chosen.items() for row in rows(name, case, results[name])]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(
        json.dumps({"machine": machine(), "rounds": rounds, "table": report, "runs": results}, indent=1)
    )
    print(table(report))
    return int(any("crash" in run for n, c in chosen.items() for ours in c.ours for run in results[n][ours]))


if __name__ == "__main__":
    sys.exit(main())
