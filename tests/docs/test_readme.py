"""README and docs say what is true: commands, snippets, links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "zoo/README.md",
    ROOT / "tests/benchmarks/README.md",
]
GUIDES = [page for page in (ROOT / "docs").rglob("*.md") if "```python\n" in page.read_text()]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("index", range(len(blocks(ROOT / "README.md", "python"))))
def test_readme_snippets_run(index, tmp_path):
    code = blocks(ROOT / "README.md", "python")[index]
    how = ["-W", "error", "-c", code]
    if "def test_" in code:
        file = tmp_path / "test_readme.py"
        file.write_text(code)
        how = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    run = subprocess.run([sys.executable, *how], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout


def assert_prints_what_it_says(code: str, folder: Path) -> None:
    """Runs code in which each ``print`` is executed once, and has its output beside it as a comment."""
    said = re.findall(r"^ *print\(.*\)  # (.+)$", code, re.M)
    assert len(said) == code.count("print(")
    script = folder / "page.py"
    script.write_text(code)
    run = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines() == said


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_guides_print_what_they_say(page, tmp_path):
    assert_prints_what_it_says("\n".join(blocks(page, "python")), tmp_path)


@pytest.mark.parametrize("extra", ["envpool", "vmas", pytest.param("ray", marks=pytest.mark.slow)])
def test_guides_with_an_extra_print_what_they_say(extra, tmp_path):
    pytest.importorskip(extra, exc_type=ImportError)
    found = [block for page in PAGES for block in blocks(page, f"python {extra}")]
    assert found
    for code in found:
        assert_prints_what_it_says(code, tmp_path)


def test_ci_calls_the_readme_test_command():
    command = blocks(ROOT / "README.md", "bash")[1].strip()
    assert command.endswith("tox -e tests")
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def test_first_command_installs_what_pyproject_defines():
    command = blocks(ROOT / "README.md", "bash")[0]
    project = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"\[(\w+)\]", command):
        assert f"\n{extra} = [" in project
    assert 'zoo = "zoo.cli:main"' in project


def test_named_zoo_configs_exist():
    named = {name for page in PAGES for name in re.findall(r"\b(ppo/[\w-]+-v\d)\b", page.read_text())}
    assert named
    for name in named:
        assert (ROOT / "zoo/configs" / f"{name}.yaml").is_file(), name


def test_tox_environments_named_in_the_docs_exist():
    tox = (ROOT / "tox.ini").read_text()
    for page in PAGES:
        for name in re.findall(r"tox -e (\w+)", page.read_text()):
            assert f"[testenv:{name}]" in tox, f"{page.name}: {name}"
