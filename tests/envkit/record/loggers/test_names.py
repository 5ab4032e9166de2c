import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.record import generate_exp_name
from envkit.record.loggers.names import check_log_name


@pytest.mark.parametrize("name", ["a", "train/reward", "loss (mean)", "a.b-c_d", "..a", "récompense"])
def test_names_that_stay_below_are_taken(name):
    assert check_log_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", "a\\..\\b", "C:/a", "a\nb", "a\x00b"]
)
def test_names_that_may_lead_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match="tag: expected printable characters"):
        check_log_name(name, "tag")


@given(st.text(max_size=20))
def test_whatever_is_taken_stays_below(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        check_log_name(name)
    except ValueError:
        return
    assert folder in (folder / name).resolve().parents


def test_generated_names_differ_and_may_be_used():
    names = {generate_exp_name("PPO", "CartPole") for _ in range(10)}
    assert len(names) == 10
    assert all(check_log_name(name).startswith("PPO_CartPole_") for name in names)
