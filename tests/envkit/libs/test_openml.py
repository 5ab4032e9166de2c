from __future__ import annotations

import copy
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import (
    Categorical,
    EnvDataError,
    MissingDependencyError,
    SerialEnv,
    Unbounded,
    UnknownEnvError,
    check_env_specs,
)
from envkit.libs.openml import OpenMLEnv
from envkit.testing import env_checks

HEIGHTS = [1.5, 2.0, 0.5, 3.0, 0.25]
COLOURS = ["red", "blue", "red", "green", "blue"]
KINDS = ["tree", "tree", "shrub", "tree", "shrub"]


def loader(name, version):
    return {"height": HEIGHTS, "colour": COLOURS}, KINDS


def local(name="adult_num", batch_size=(), **kwargs):
    return OpenMLEnv(name, batch_size=batch_size, loader=kwargs.pop("loader", loader), **kwargs)


class TestData:
    def test_numbers_and_numbered_categories(self):
        env = local(batch_size=[5])
        assert env.observation_spec["observation"] == Unbounded((5, 2))
        assert env.action_spec == Categorical(2, (5,))
        assert env.classes == ["shrub", "tree"]
        td = env.reset()
        rows = sorted(zip(td["observation"].tolist(), td["y"].tolist(), strict=True))
        codes = [{"blue": 0.0, "green": 1.0, "red": 2.0}[colour] for colour in COLOURS]
        labels = [int(kind == "tree") for kind in KINDS]
        assert rows == sorted(zip(map(list, zip(HEIGHTS, codes, strict=True)), labels, strict=True))

    def test_one_hot_categories(self):
        td = local("mushroom_onehot", batch_size=[5]).reset()
        assert td["observation"].shape == (5, 4)
        assert (td["observation"][:, 1:].sum(-1) == 1).all()
        colours = dict(zip(HEIGHTS, COLOURS, strict=True))
        for height, *hot in td["observation"].tolist():
            assert ["blue", "green", "red"][hot.index(1.0)] == colours[height]

    def test_the_loader_is_asked_for_the_version(self):
        asked = []
        local("covertype", loader=lambda *args: asked.append(args) or loader(*args))
        assert asked == [("covertype", 3)]

    def test_incomplete_rows_are_left_out(self):
        def gaps(name, version):
            return {"a": [1.0, np.nan, 3.0, 4.0], "b": np.array(["x", "y", None, "x"], dtype=object)}, [0, 1, 2, 3]

        td = local(loader=gaps, batch_size=[2]).reset()
        assert sorted(td["observation"].tolist()) == [[1.0, 0.0], [4.0, 0.0]]
        assert local(loader=gaps).classes == ["0", "3"]

    def test_a_data_frame(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"height": HEIGHTS, "colour": pandas.Categorical(COLOURS)})
        one, other = local(loader=lambda name, version: (frame, pandas.Series(KINDS))), local()
        for env in (one, other):
            env.set_seed(3)
        assert (one.rollout(20, break_when_any_done=False) == other.rollout(20, break_when_any_done=False)).all()


class TestBandit:
    @env_checks(lambda: local(batch_size=[3]))
    def test_conforms(self, check):
        check()

    @pytest.mark.parametrize("size", [(), (4,), (2, 3)])
    def test_specs_hold(self, size):
        assert check_env_specs(local(batch_size=size)) == []

    def test_1000_steps_against_a_plain_loop(self, tools):
        env = local()
        env.set_seed(0)
        actions = tools.draw_actions(env, 1000)
        data = env.rollout(1000, tools.FixedPolicy(actions), break_when_any_done=False)
        for row, action in zip(data.unbind(0), actions, strict=True):
            i = HEIGHTS.index(row["observation"][0].item())
            assert row["y"] == int(KINDS[i] == "tree")
            assert row["next", "reward"].item() == float(action["action"] == row["y"])
            assert row["next", "terminated"].item() is row["next", "done"].item() is True
            assert torch.equal(row["next", "observation"], row["observation"])

    def test_the_label_is_no_observation(self):
        env = local()
        assert env.observation_keys == ["observation"]
        assert env.state_keys == ["y"]
        assert "y" not in env.rollout(1)["next"]

    @settings(deadline=None, max_examples=25, derandomize=True)
    @given(size=st.integers(1, 12), rounds=st.integers(1, 4))
    def test_every_row_once_before_any_comes_again(self, size, rounds):
        env = local(batch_size=[size])
        drawn = torch.cat([env.reset()["observation"][:, 0] for _ in range(5 * rounds)])
        for whole in drawn.split(5):
            if len(whole) == 5:
                assert sorted(whole.tolist()) == sorted(HEIGHTS)

    def test_seeds(self, tools):
        one, other = local(batch_size=[2]), local(batch_size=[2])
        other.reset()
        for env in (one, other):
            env.set_seed(1)
        tools.assert_same(*(env.rollout(30, break_when_any_done=False) for env in (one, other)))
        one.set_seed(2)
        other.set_seed(1)
        first = [env.rollout(30, break_when_any_done=False)["observation"] for env in (one, other)]
        assert not torch.equal(*first)

    def test_copies_go_on_from_where_they_are(self, tools):
        env = local()
        env.set_seed(1)
        env.rollout(3, break_when_any_done=False)
        twin = copy.deepcopy(env)
        tools.assert_same(twin.rollout(20, break_when_any_done=False), env.rollout(20, break_when_any_done=False))

    def test_in_a_batch_of_envs(self):
        data = SerialEnv(3, local).rollout(10, break_when_any_done=False)
        assert data["next", "reward"].shape == (3, 10, 1)
        assert (data["next", "reward"].squeeze(-1) == (data["action"] == data["y"])).all()

    def test_some_are_reset(self):
        env = local(batch_size=[4])
        td = env.reset()
        before = td.clone()
        td = env.reset(td.set("_reset", torch.tensor([[True], [False], [False], [False]])))
        assert torch.equal(td["observation"][1:], before["observation"][1:])
        assert torch.equal(td["y"][1:], before["y"][1:])
        assert td["y"][0] == int(KINDS[HEIGHTS.index(td["observation"][0, 0].item())] == "tree")


class TestErrors:
    def test_unknown_names(self):
        with pytest.raises(UnknownEnvError, match=r"'mushroom': expected one of \['adult_num'.*did you mean"):
            local("mushroom")

    def test_available(self):
        assert OpenMLEnv.available_envs == [
            "adult_num",
            "adult_onehot",
            "covertype",
            "magic",
            "mushroom_num",
            "mushroom_onehot",
            "shuttle",
        ]

    def test_columns_of_another_length(self):
        with pytest.raises(EnvDataError, match=r"column 'a' of 'adult': .* 3 labels, found shape \[2\]"):
            local(loader=lambda name, version: ({"a": [1.0, 2.0]}, [0, 1, 0]))

    def test_nothing_complete(self):
        with pytest.raises(EnvDataError, match="rows without missing values, found none of 2"):
            local(loader=lambda name, version: ({"a": [np.nan, np.nan]}, [0, 1]))

    def test_scikit_learn_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[openml\]'"):
            OpenMLEnv("magic")


class TestFetching:
    @pytest.fixture
    def answer(self, monkeypatch):
        """Stands for scikit-learn, and answers with what it is told to (as of 1.9)."""
        answers = {}

        def fetch_openml(name, *, version, as_frame, return_X_y):
            if "error" in answers:
                raise answers["error"]
            answers["asked"] = name, version
            assert as_frame
            assert return_X_y
            return loader(name, version)

        parent, module = ModuleType("sklearn"), ModuleType("sklearn.datasets")
        parent.datasets, module.fetch_openml = module, fetch_openml
        monkeypatch.setitem(sys.modules, "sklearn", parent)
        monkeypatch.setitem(sys.modules, "sklearn.datasets", module)
        return answers

    def test_goes_the_way_of_local_data(self, answer, tools):
        env, other = OpenMLEnv("magic"), local("magic")
        assert answer["asked"] == ("MagicTelescope", 1)
        for each in (env, other):
            each.set_seed(0)
        tools.assert_same(*(each.rollout(10, break_when_any_done=False) for each in (env, other)))

    def test_without_a_network(self, answer):
        answer["error"] = OSError("Name or service not known")
        with pytest.raises(ConnectionError, match=r"'shuttle' could not be fetched \(Name or service not known\)"):
            OpenMLEnv("shuttle")
