"""Newton's steps on all rows, and the searches before them: interrupts and kernels that are no number."""

import gpytorch
import numpy as np
import pytest
from fits import X, Y, assert_empty, regressor, shrink, stopped_at, undisturbed
from sklearn.exceptions import ConvergenceWarning

from nonparam import fitting, newton
from nonparam.checkpoint import NewtonState
from nonparam.errors import ConvergenceError, NotPositiveDefiniteError
from nonparam.objective import Objective
from nonparam.persistence import read_file
from nonparam.solves import SolvedEvidence

ONE = X[:, :1]
WAVE = np.sin(2.0 * ONE[:, 0]) + 0.3 * np.random.default_rng(6).standard_normal(len(X))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted():
    return undisturbed()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


class Holed(gpytorch.kernels.RBFKernel):
    """Not a number for lengthscales in an interval, of as many rows as training on all of them has."""

    hole = (np.inf, np.inf)

    def forward(self, x1, x2, diag=False, **params):
        k = super().forward(x1, x2, diag=diag, **params)
        return k * np.nan if self.hole[0] < float(self.lengthscale.detach()) < self.hole[1] else k


@pytest.fixture
def holed(monkeypatch):
    """Lengthscales at Newton's steps; around the second is a hole, ``share`` as wide as the step."""
    slope = SolvedEvidence.slope

    def watched(self, point, near=None):
        lengthscale = float(np.logaddexp(0.0, point[1]))
        if near is not None and Holed.hole[0] == np.inf:
            watched.step = (watched.seen[-1], lengthscale)
            reach = watched.share * abs(lengthscale - watched.seen[-1])
            monkeypatch.setattr(Holed, "hole", (lengthscale - reach, lengthscale + reach))
        watched.seen.append(lengthscale)
        return slope(self, point, near)

    monkeypatch.setattr(newton, "FLAT", 1e-3)
    monkeypatch.setattr(SolvedEvidence, "slope", watched)
    watched.share, watched.seen = 0.3, []
    return watched


def test_a_step_to_where_the_kernel_is_not_a_number_is_halved(path, holed):
    model = regressor(path).set_params(kernel=Holed()).fit(ONE, WAVE)
    assert np.isfinite(model.theta_).all() and np.isfinite(model.predict(ONE[:5])).all()
    after = holed.seen[holed.seen.index(holed.step[1]) + 1 :]
    assert min(abs(later - np.mean(holed.step)) for later in after) < 0.01 * abs(np.diff(holed.step))


def test_a_kernel_that_is_no_number_near_a_step_ends_the_fit_with_the_checkpoint_intact(path, holed):
    holed.share = 0.99
    with pytest.raises(NotPositiveDefiniteError, match="entries that are not finite: expected a kernel"):
        regressor(path).set_params(kernel=Holed()).fit(ONE, WAVE)
    document, tensors = read_file(path, "Checkpoint")
    assert document["dict"]["state"]["dict"]["newton"]["dict"]["step"] == 2
    assert tensors["Checkpoint.state.newton.point"].isfinite().all()


def test_a_search_by_cholesky_steps_back_from_where_the_kernel_is_not_a_number(path, monkeypatch):
    x, y = ONE[:80], WAVE[:80]
    evaluated = stopped_at(monkeypatch, Objective, "negative", -1, None)
    optimum = regressor(None, "cholesky").set_params(kernel=Holed()).fit(x, y)
    _, second = (float(np.logaddexp(0.0, arguments[1][0, 1])) for arguments in evaluated[:2])
    monkeypatch.setattr(Holed, "hole", (second - 1e-3, second + 1e-3))
    evaluated.clear()
    again = regressor(path, "cholesky").set_params(kernel=Holed()).fit(x, y)
    assert float(np.logaddexp(0.0, evaluated[1][1][0, 1])) == second  # in the hole
    np.testing.assert_allclose(again.theta_, optimum.theta_, atol=1e-4)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("call", [2, 6])
def test_an_interrupt_leaves_the_best_so_far_and_a_checkpoint(solver, call, path, uninterrupted, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_at(patch, Objective, "negative", call, KeyboardInterrupt())
        with pytest.warns(ConvergenceWarning, match=r"\(interrupted: .*\): to go on, fit again, with check"):
            model = regressor(path, solver, checkpoint_minutes=60.0).fit(X, Y)
    assert not model.fit_report_.converged and model.fit_report_.interrupted
    mean, sd = model.predict(X[:5], return_std=True)
    assert np.isfinite(mean).all() and (sd > 0.0).all() and np.isfinite(model.log_marginal_likelihood_)
    assert path.exists()
    again = regressor(path, solver).fit(X, Y)
    np.testing.assert_allclose(again.theta_, uninterrupted[solver].theta_, rtol=0.0, atol=2e-3)
    assert_empty(path.parent)


def test_an_interrupt_while_the_curvature_is_measured(path, monkeypatch):
    stopped_at(monkeypatch, newton, "laplace", 1, KeyboardInterrupt())
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = regressor(path).fit(X, Y)
    assert model.fit_report_.residual == 0.0 and np.isfinite(model.predict(X[:5])).all() and path.exists()


def test_an_interrupt_before_anything_is_known_stops_the_fit(path, monkeypatch):
    stopped_at(monkeypatch, Objective, "negative", 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        regressor(path, "cholesky").fit(X, Y)


class Cliff:
    """An objective that is not finite where it is asked for, as `_exact_steps` sees it."""

    theta = None

    def __init__(self, value: float, slope: float) -> None:
        self.value, self.slope = value, slope

    def negative(self, points, which):
        return np.full(len(points), -self.value), np.full_like(points, -self.slope)


@pytest.mark.parametrize(("value", "slope"), [(np.nan, 1.0), (-np.inf, 0.0), (1.0, np.nan)])
def test_steps_do_not_begin_where_the_objective_is_not_finite(value, slope):
    at = NewtonState(np.zeros(2), np.eye(2))
    with pytest.raises(ConvergenceError, match=r"log evidence .* expected finite numbers: try a kernel"):
        next(newton._exact_steps(Cliff(value, slope), at))


def test_the_last_step_counts_and_is_told_of(monkeypatch):
    monkeypatch.setattr(newton, "MAX_STEPS", 2)
    monkeypatch.setattr(newton, "FLAT_EXACTLY", 0.0)
    monkeypatch.setattr(fitting, "SEARCHED", 100)
    evaluated = stopped_at(monkeypatch, Objective, "negative", -1, None)
    with pytest.warns(ConvergenceWarning, match="steps were not enough"):
        model = regressor(None, "cholesky").set_params(kernel="matern32").fit(X, Y)
    report = model.fit_report_
    last = evaluated[-1][1][0]
    np.testing.assert_array_equal(model.theta_, last)  # the trial after the second step was accepted
    assert report.steps == 3 and report.evaluations >= 3


def test_an_interrupt_after_a_resume_keeps_the_point_whose_gradient_is_certified(path, monkeypatch):
    slopes = []
    slope = SolvedEvidence.slope

    def stopped(self, point, near=None):
        if len(slopes) == 2:
            raise RuntimeError("killed")
        slopes.append(point.copy())
        return slope(self, point, near)

    with monkeypatch.context() as patch:
        patch.setattr(SolvedEvidence, "slope", stopped)
        with pytest.raises(RuntimeError, match="killed"):
            regressor(path).fit(X, Y)
    with monkeypatch.context() as patch:
        stopped_at(patch, SolvedEvidence, "slope", 1, KeyboardInterrupt())
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model = regressor(path).fit(X, Y)
    np.testing.assert_allclose(model.theta_, slopes[-1], rtol=1e-12)
    assert model.fit_report_.residual <= 1e-3
