from dataclasses import replace
from pathlib import Path

import pytest

from zoo.registry import config_names, find_config
from zoo.result import stored_results
from zoo.table import COLUMNS, results_page, table_row, version_sets

PAGE = Path(__file__).parents[2] / "docs/zoo-results.md"


def row(result):
    return table_row(result, version_sets([result]))


def test_a_row_has_all_that_a_number_needs(made_up):
    result = made_up()
    found = row(result)
    assert list(found) == list(COLUMNS)
    assert found["config"] == "ppo/CartPole-v1"
    assert found["algorithm"] == "ppo"
    assert found["steps"] == "100,000"
    assert found["bar"] == "475"
    assert found["protocol"] == "100 episodes, 10000 to 10099"
    assert found["mean ± std"] == "485.0 ± 21.2"
    assert found["worst"] == "470.0"
    assert found["reached"] == "1/2"
    assert found["TR"] == "475.0"
    assert found["MX"] == "485.0"
    assert found["steps to bar"] == "200 (1/2)"
    assert found["CPU s"] == "1"
    assert found["config hash"] == result.config_hash[:12]
    assert found["commit"] == "0123456789ab"
    assert found["made with"] == "A"


@pytest.mark.parametrize(
    ("score", "protocol", "verdict"),
    [
        (484.0, "FE", "beaten"),
        (485.0, "FE", "met"),
        (499.9, "FE", "met"),  # the standard error is 15
        (500.1, "FE", "short"),
        (474.0, "TR", "beaten"),
        (484.9, "MX", "beaten"),
    ],
)
def test_a_published_number_is_compared_in_its_own_protocol(made_up, score, protocol, verdict):
    published = {"score": score, "source": "someone", "protocol": protocol}
    result = made_up(config={**made_up().config, "published": published})
    assert row(result)["published"] == f"{score:g} {protocol}, someone: {verdict}"
    assert row(made_up(config={**made_up().config, "published": None}))["published"] == "-"


def test_a_config_that_has_changed_is_marked(made_up):
    assert row(made_up(config_hash="0" * 64))["config hash"] == "0" * 12 + "*"


def test_without_a_bar(made_up):
    found = row(made_up(target=None))
    assert (found["bar"], found["reached"], found["steps to bar"]) == ("-", "-", "-")


def test_the_page_shows_every_seed_and_what_has_not_been_run(made_up):
    other = made_up("ppo/Acrobot-v1", scores=(-80.0, -70.0), target=-100.0, versions={"torch": "2.14"})
    page = results_page([made_up(), other])
    assert "500.0, 470.0" in page
    assert "-80.0, -70.0" in page
    assert "`zoo bench ppo/CartPole-v1 --seeds 2`" in page
    assert "- **A**: python 3.11.7, torch 2.13.0\n- **B**: torch 2.14" in page
    not_run = page.partition("## Not run yet")[2]
    assert [line[2:] for line in not_run.splitlines() if line] == [
        name for name in config_names() if name not in ("ppo/CartPole-v1", "ppo/Acrobot-v1")
    ]


def test_what_else_was_tried(made_up):
    lines = find_config("a2c/Pendulum-v1").tried
    gone = replace(made_up(), name="ppo/Gone-v1")
    page = results_page([made_up("a2c/Pendulum-v1"), made_up("ppo/CartPole-v1"), gone])
    assert f"What else was tried:\n\n- a2c/Pendulum-v1: {'; '.join(lines)}.\n\n" in page
    assert "What else was tried" not in results_page([made_up("ppo/CartPole-v1")])


def test_the_page_of_the_docs_is_what_the_command_writes():
    assert PAGE.read_text() == results_page(stored_results())


@pytest.mark.parametrize("result", stored_results(), ids=lambda result: result.name)
def test_results_that_come_with_the_zoo_are_of_its_configs(result):
    assert result.name in config_names()
    assert [entry.seed for entry in result.seeds] == list(range(len(result.seeds)))
    assert result.command == f"zoo bench {result.name} --seeds {len(result.seeds)}"
