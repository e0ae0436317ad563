"""What ``benchmarks/clml.py`` finds, where it is so in every draw: small and deterministic."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nonparam import GPRegressor
from nonparam.kernels import RBF
from nonparam.model_selection import clml, lml, prequential

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "clml_models.py"


@pytest.fixture(scope="module")
def models():
    spec = importlib.util.spec_from_file_location("clml_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published():
    """The numbers of the published density model: 40 to learn from, 960 new ones."""
    return np.random.RandomState(2).randn(1000) + 1.0


@pytest.mark.parametrize(
    ("name", "total", "mean", "new"),
    [("wide", -66.94, 0.7911, -1.435), ("narrow", -66.32, 0.4776, -1.535)],
)
def test_density_model_has_the_published_figures(models, published, name, total, mean, new):
    location = models.LOCATIONS[name]
    fitted = location.fit(published[:40])
    assert lml(fitted) == pytest.approx(total, abs=0.005)
    assert fitted.predict(np.zeros((1, 1)))[0] + location.mean == pytest.approx(mean, abs=5e-5)
    assert location.log_densities(fitted, published[40:]).mean() == pytest.approx(new, abs=0.0005)


@pytest.mark.parametrize("conditioned", [5, 20, 36])
def test_density_model_is_ranked_by_clml_as_by_new_rows(models, published, conditioned):
    wide, narrow = (models.LOCATIONS[name].fit(published[:40]) for name in ("wide", "narrow"))
    fraction = conditioned / 40
    assert lml(wide) < lml(narrow)
    assert clml(wide, fraction=fraction).value > clml(narrow, fraction=fraction).value


@pytest.fixture(scope="module")
def rows(models):
    return models.wave_rows(0, 500)


def test_lml_prefers_three_frequencies_and_clml_nine(models, rows):
    x, y = (part[:100] for part in rows)
    three, nine = (models.wave_model(name, x, y) for name in ("d = 3", "d = 9"))
    assert lml(three) > lml(nine) + 20.0
    assert clml(three, fraction=0.85).value < clml(nine, fraction=0.85).value - 0.05


def test_a_better_prior_of_the_same_waves_mends_lml_and_not_clml(models, rows):
    x, y = (part[:100] for part in rows)
    plain, corrected = (models.wave_model(name, x, y) for name in ("d = 9", "d = 9, corrected"))
    assert lml(corrected) > lml(plain) + 20.0
    assert clml(corrected).value == pytest.approx(clml(plain).value, abs=0.01)


def test_with_many_rows_both_prefer_nine_frequencies(models, rows):
    three, nine = (models.wave_model(name, *rows) for name in ("d = 3", "d = 9"))
    assert lml(nine) > lml(three)
    assert clml(nine).value > clml(three).value
    gain = prequential(nine) - prequential(three)
    crossing = models.first_above(np.cumsum(gain))
    assert 200 < crossing < 450
    assert np.cumsum(gain)[crossing - 1] > 0.0 >= np.cumsum(gain)[crossing - 2]


def test_clml_is_a_validation_loss_where_most_rows_are_conditioned_on(models, rows):
    x, y = (part[:100] for part in rows)
    model = models.wave_model("d = 9", x, y)
    late, early = (clml(model, fraction=fraction).gap for fraction in (0.9, 0.1))
    assert abs(late) < 0.02 and early > 1.0


@pytest.mark.parametrize(
    ("curve", "first"), [([1.0, 2.0], 1), ([-1.0, 1.0], 2), ([1.0, 0.0, 3.0], 3), ([1.0, -1.0], 3)]
)
def test_first_above(models, curve, first):
    assert models.first_above(np.array(curve)) == first


def test_the_prior_decides_and_not_the_count(models):
    t, y = models.airline()
    n = len(y) - 24
    inside, ahead = {}, {}
    for name, features in models.AIRLINE.items():
        found = features(t, y, n)
        model = found.fit(y, n)
        assert found.table.shape[1] >= 10_000 or "features" not in name
        inside[name] = clml(model).value
        model.update(found.table[n:], y[n:])
        ahead[name] = model.joint_density().held_out([np.arange(n, len(y))])[0].log_joint
    for scores in (inside, ahead):
        order = sorted(scores, key=scores.__getitem__)
        assert order[-2:] == ["cubic and 12 months", "10,000 features, structured"]
        assert order[0] == "10,000 features, naive"


def test_evidence_falls_with_random_labels_while_the_fit_stays_perfect(models):
    evidence = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8):
        x, y, _, _ = models.digit_labels(share, seed=0, n=150)
        model = models.label_model(x, y)
        assert models.accuracy(model, x, y) == 1.0
        evidence.append(model.log_evidence())
    assert (np.diff(evidence) < 0.0).all()


def test_a_neural_mean_fools_lml_and_clml_of_rows_that_it_has_seen(models):
    x = np.linspace(0.0, 10.0, 100)[:, None]
    y = models.smooth_rows(x[:, 0], 0.75, 0.02, np.random.default_rng(1))
    old, new = (x[:50], y[:50]), (x[50:], y[50:])
    neural = models.NeuralMean(steps=250, rate=0.02).fit(*old)
    constant = GPRegressor(RBF(ard=False), priors=None).fit(*old)
    assert lml(neural) > lml(constant) + 10.0
    assert clml(neural).value > clml(constant).value
    refitted = [clml(m, *old, refitted=True, n_orderings=2).value for m in (neural, constant)]
    assert refitted[0] < refitted[1] - 0.2
    assert neural.log_predictive_density(*new).mean() < constant.log_predictive_density(*new).mean() - 1.0
    assert neural.lengthscale_ > 2.0
