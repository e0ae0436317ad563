"""Regression with learnt features: where they help, where they do not, and what a user may give."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from nonparam import DeepKernelRegressor, GPRegressor, deep
from nonparam.deep import Collapse
from nonparam.deep_training import Learnt, State, Training, log_likelihood
from nonparam.errors import InputError
from nonparam.kernels import RBF, DeepKernel, Scale, covariance
from nonparam.objective import Data

RNG = np.random.default_rng(3)
X = RNG.uniform(-1.0, 1.0, (200, 2))
JUMP = np.tanh(15.0 * (X[:, 0] + X[:, 1] ** 2 - 0.3)) + 0.05 * RNG.standard_normal(200)
NEW = RNG.uniform(-1.0, 1.0, (200, 2))


@pytest.fixture(scope="module")
def jump():
    """A model whose features are used, whatever held-out rows say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learnt, "pays", True)
        return DeepKernelRegressor((16, 2), max_steps=120, random_state=0).fit(X, JUMP)


def test_training_improves_on_the_kernel_of_the_columns(jump):
    assert jump.training_.scores[0] < jump.training_.score
    assert jump.collapse_.held_out > jump.training_.scores[0]


def test_it_is_a_process_with_the_trained_kernel(jump):
    """With few rows all hyperparameters are those of the network's training, in the units of the data."""
    assert jump.uses_features_ and isinstance(jump.kernel_, DeepKernel)
    assert not any("network" in name for name in jump.theta_names_)
    trained, spread = jump.training_.state, np.var(JUMP)
    assert jump.noise_ == pytest.approx(spread * trained.noise, rel=1e-12)
    assert jump.fit_report_.message == deep.KEPT
    assert jump.fit_report_.objective < jump.log_marginal_likelihood_ - 1.0  # with the prior
    base, ours = trained.kernel.base_kernel, jump.kernel_.base_kernel
    torch.testing.assert_close(ours.outputscale, spread * base.outputscale)
    torch.testing.assert_close(ours.kernel.lengthscale, base.kernel.lengthscale)
    x, new = torch.from_numpy(X), torch.from_numpy(NEW)
    with torch.no_grad():
        k = covariance(jump.kernel_, x) + jump.noise_ * torch.eye(len(X), dtype=torch.float64)
        ones = torch.ones(len(X), 1, dtype=torch.float64)
        solved = torch.linalg.solve(k, torch.cat([torch.from_numpy(JUMP)[:, None], ones], 1))
        mean = solved[:, 0].sum() / solved[:, 1].sum()
        expected = mean + covariance(jump.kernel_, new, x) @ (solved[:, 0] - mean * solved[:, 1])
    np.testing.assert_allclose(jump.predict(NEW), expected, rtol=1e-7)


def test_with_many_rows_hyperparameters_are_learnt_again(monkeypatch):
    monkeypatch.setattr(deep, "CONTEXT", 150)
    monkeypatch.setattr(Learnt, "pays", True)
    model = DeepKernelRegressor((16, 2), max_steps=20, random_state=0).fit(X, 100.0 * JUMP)
    assert model.fit_report_.steps > 1 and model.fit_report_.message != deep.KEPT
    assert model.fit_report_.gradient < 1e-3
    assert model.noise_ != pytest.approx(1e4 * np.var(JUMP) * model.training_.state.noise, rel=1e-6)


def test_a_row_is_predicted_alone_as_among_others(jump):
    np.testing.assert_allclose(jump.predict(NEW[:1]), jump.predict(NEW)[:1], rtol=1e-9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(jump)).predict(NEW), jump.predict(NEW))


def test_features_are_what_the_kernel_sees(jump):
    found, base = torch.from_numpy(jump.features(NEW)), jump.kernel_.base_kernel
    assert found.shape == (200, 2)
    x = torch.from_numpy(NEW)
    torch.testing.assert_close(covariance(base, found), covariance(jump.kernel_, x))


def test_a_file_holds_the_network(jump, tmp_path):
    jump.save(tmp_path / "model")
    again = DeepKernelRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(NEW), jump.predict(NEW))
    assert again.uses_features_ and again.get_params() == jump.get_params()
    assert not any(p.requires_grad for p in again.kernel_.feature_extractor.parameters())


def test_the_seed_decides_everything_and_units_nothing():
    model = DeepKernelRegressor((16, 2), objective="lml", max_steps=20, random_state=0)
    found = clone(model).fit(X, JUMP).predict(NEW)
    np.testing.assert_array_equal(clone(model).fit(X, JUMP).predict(NEW), found)
    scaled = clone(model).fit(1000.0 * X + 7.0, 50.0 * JUMP - 3.0)
    np.testing.assert_allclose(scaled.predict(1000.0 * NEW + 7.0), 50.0 * found - 3.0, atol=1e-3)
    other = clone(model).set_params(random_state=1).fit(X, JUMP)
    assert np.abs(other.predict(NEW) - found).max() > 1e-3


def test_where_features_do_not_help_the_kernel_of_the_columns_is_the_model():
    y = X[:, 0] + 0.3 * RNG.standard_normal(200)
    model = DeepKernelRegressor((4, 2), max_steps=20, random_state=0).fit(X, y)
    assert not model.uses_features_ and not isinstance(model.kernel_, DeepKernel)
    np.testing.assert_allclose(model.predict(NEW), GPRegressor().fit(X, y).predict(NEW))
    with pytest.raises(InputError, match="does without learnt features: see uses_features_"):
        model.features(NEW)


def test_several_outputs_weights_and_known_noise():
    y = np.column_stack([JUMP, X[:, 1]])
    model = DeepKernelRegressor((8, 1), max_steps=20, random_state=0).fit(X, y)
    assert model.predict(NEW).shape == (200, 2)
    weights = np.ones(200)
    weights[:5] = 0.0
    model = DeepKernelRegressor((8, 1), max_steps=20, noise=np.full(200, 0.01), random_state=0)
    assert np.isfinite(model.fit(X, JUMP, weights).predict(NEW)).all()


@pytest.mark.filterwarnings("ignore")
def test_a_spectral_base():
    model = DeepKernelRegressor((8, 2), base="spectral", max_steps=20, random_state=0).fit(
        X[:100], JUMP[:100]
    )
    assert np.isfinite(model.predict(NEW)).all()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Collapse(0.99, 0.0, 0.0, 0.1), "have collapsed: two rows correlate by 0.99 .* objective='clml'"),
        (
            Collapse(0.5, 1.0, -2.0, 0.1),
            "learnt the rows: a row that was held out has a log density of -2 nats",
        ),
    ],
)
def test_features_that_learn_the_rows_are_told_of(found, said, monkeypatch):
    monkeypatch.setattr(deep, "_collapse", lambda *_: found)
    model = DeepKernelRegressor((4, 1), objective="lml", max_steps=20, random_state=0)
    with pytest.warns(ConvergenceWarning, match=said):
        model.fit(X[:40], JUMP[:40])
    assert model.uses_features_


def test_the_diagnosis_is_of_the_trained_rows():
    x = torch.from_numpy(X[:60])
    data = Data(x, torch.from_numpy(JUMP[:60, None]), x[:, :0], torch.ones(60, dtype=torch.float64), None)
    state = State(Scale(RBF([1e6, 1e6])), torch.tensor(-1.0, dtype=torch.float64))
    after = torch.tensor([1.0, 3.0], dtype=torch.float64)
    learnt = Learnt(
        Training(state, 2.0, (2.0,), (), 0, ""), after - 1.0, after - 1.0, after, torch.arange(45)
    )
    found = deep._collapse(learnt, data, torch.Generator().manual_seed(0))
    assert found.correlation == pytest.approx(1.0) and found.collapsed
    seen = data.rows(torch.arange(45))
    assert found.log_marginal_likelihood == pytest.approx(float(log_likelihood(state, seen, "lml").detach()))
    assert (found.held_out, found.standard_error) == pytest.approx((2.0, 1.0))


def test_what_is_called_a_collapse():
    assert Collapse(0.99, 0.0, 0.0, 0.1).collapsed and not Collapse(0.5, 0.0, 0.0, 0.1).collapsed
    assert Collapse(0.5, 1.0, 0.7, 0.1).overfitted and not Collapse(0.5, 1.0, 0.9, 0.1).overfitted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hidden": ()}, r"hidden must be the widths of one or more layers, got \(\)"),
        ({"hidden": "64"}, "hidden must be the widths"),
        ({"hidden": 64}, "hidden must be the widths"),
        ({"hidden": (8, 0)}, "each width in hidden must be an integer, at least 1; got 0"),
        ({"objective": "loo"}, r"objective must be one of \('lml', 'clml'\), got 'loo'"),
        ({"max_steps": 0}, "max_steps must be an integer, at least 1"),
        ({"base": "spectra"}, "spectra"),
    ],
)
def test_arguments_that_no_features_can_be_learnt_with(arguments, said):
    with pytest.raises(InputError, match=said):
        DeepKernelRegressor(**arguments).fit(X[:30], JUMP[:30])


@pytest.mark.parametrize("objective", ["clml", "lml"])
def test_too_few_rows_to_hold_some_out(objective):
    model = DeepKernelRegressor((4, 1), objective=objective, max_steps=20, random_state=0)
    with pytest.raises(
        InputError, match=r"needs 4 different rows, some to be held out; got 3 sample\(s\): try GPRegressor"
    ):
        model.fit(np.repeat(X[:3], 4, 0), np.repeat(JUMP[:3], 4))
    few = model.fit(X[:4], JUMP[:4])
    assert np.isfinite(few.predict(NEW, return_std=True)).all()
    assert few.collapse_.standard_error == np.inf if objective == "lml" else few.collapse_.standard_error > 0


@pytest.mark.parametrize("noise", ["learn", 0.01, np.linspace(0.01, 0.02, 12)], ids=["learnt", "one", "rows"])
def test_rows_given_again_count_as_weights(noise):
    """No row trains the network and judges it: with these features the same model to rounding follows."""
    times = np.random.default_rng(0).integers(1, 4, 12)
    again = np.repeat(noise, times) if isinstance(noise, np.ndarray) else noise
    model = DeepKernelRegressor((4, 1), objective="lml", max_steps=60, random_state=0)
    weighted = clone(model).set_params(noise=noise).fit(X[:12], JUMP[:12], times)
    repeated = model.set_params(noise=again).fit(np.repeat(X[:12], times, 0), np.repeat(JUMP[:12], times))
    assert weighted.uses_features_ and repeated.uses_features_
    for one, other in zip(
        weighted.predict(NEW, return_std=True), repeated.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7)


@pytest.mark.parametrize(
    ("objective", "mean"), [("clml", "constant"), ("lml", "zero"), ("lml", "constant"), ("lml", "linear")]
)
@pytest.mark.filterwarnings("ignore:the features have")
def test_a_constant_output(objective, mean):
    model = DeepKernelRegressor((4, 1), objective=objective, mean=mean, max_steps=20, random_state=0)
    model.fit(X[:40], np.full(40, 3.0))
    np.testing.assert_allclose(model.predict(NEW), 3.0, atol=1e-3 if mean != "zero" else 0.1)
    assert np.isfinite(model.predict(NEW, return_std=True)[1]).all()


@pytest.mark.parametrize("objective", ["clml", "lml"])
@pytest.mark.parametrize("mean", ["zero", "linear"])
@pytest.mark.filterwarnings("ignore:the features have")
def test_features_are_trained_around_the_mean_of_the_model(mean, objective, monkeypatch):
    """They are no worse than the columns, which a level or a slope of the wrong model would make them."""
    monkeypatch.setattr(Learnt, "pays", True)
    at, new = (100.0, 100.0) if mean == "zero" else (50.0 * X[:100, 0], 50.0 * NEW[:, 0])
    model = DeepKernelRegressor((8, 2), objective=objective, mean=mean, max_steps=40, random_state=0)
    model.fit(X[:100], JUMP[:100] + at)
    plain = GPRegressor(mean=mean).fit(X[:100], JUMP[:100] + at)
    assert model.uses_features_
    assert model.log_marginal_likelihood_ > plain.log_marginal_likelihood_ - 2.0
    clean = np.tanh(15.0 * (NEW[:, 0] + NEW[:, 1] ** 2 - 0.3)) + new
    error, usual = (np.sqrt(np.mean((m.predict(NEW) - clean) ** 2)) for m in (model, plain))
    assert error < 1.1 * usual


def test_features_are_not_asked_of_what_is_not_fitted():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        _ = DeepKernelRegressor().uses_features_
