from envkit.spelling import closest, did_you_mean


def test_closest_ignores_case_and_puts_the_nearest_first():
    assert closest("GAMA", ["lr", "gamma", "gae_lambda"])[0] == "gamma"
    assert closest("zzz", ["lr", "gamma"]) == []


def test_hints_are_quoted():
    assert did_you_mean("zzz", ["lr", "gamma"]) == ""
    assert did_you_mean("epoch", ["epochs", "lr"]) == "; did you mean 'epochs'?"
    assert did_you_mean("evl", ["eval", "env"]) == "; did you mean 'eval' or 'env'?"


def test_what_is_no_word_is_unlike_all():
    assert did_you_mean(3, ["lr"]) == ""
