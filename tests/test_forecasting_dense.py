"""Exact inference for series: naive oracles from the kernels themselves, regular times and others.

Distances of irregular times are rounded to nine decimals of a cycle, and oracles are as near as that allows.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal

from nonparam.forecasting.dense import Dense
from nonparam.forecasting.structure import build_structure
from nonparam.kernels.evaluate import covariance

N = 30
RNG = np.random.default_rng(0)
REGULAR = np.arange(1.0 - N, 1.0) / 12.0
GAPS = np.delete(np.arange(-1.0 - N, 1.0), [3, 17]) / 16.0
IRREGULAR = np.sort(RNG.uniform(-3.0, 0.0, N)).round(6)
TIMES = {"regular": REGULAR, "gaps": GAPS, "irregular": IRREGULAR}


def series(times: np.ndarray, *, regressor: bool = False, **options) -> tuple[Dense, np.ndarray, np.ndarray]:
    """Two series, points near the medians of the priors, and the series of each point."""
    x = times[:, None]
    if regressor:
        x = np.column_stack([times, RNG.standard_normal(N)])
    groups = {"price": [1]} if regressor else {}
    structure = build_structure(float(times[0]), regressors=groups, **options)
    y = RNG.standard_normal((N, 2)).cumsum(0) / 4.0
    points = structure.theta().start + 0.3 * RNG.standard_normal((3, structure.theta().size))
    return Dense(structure, x, y), points, np.array([0, 1, 0])


def naive(dense: Dense, point: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The covariance without noise, part by part, each by its own kernel."""
    theta = dense.structure.theta()
    theta.assign(point)
    total = np.zeros((len(rows), len(rows)))
    for part, kernel in zip(dense.structure.parts, theta.kernel.kernels, strict=True):
        x = rows[:, :1] if part.kernel.is_stationary else rows  # functions of the lag know the time only
        total += covariance(kernel, torch.from_numpy(x)).detach().numpy()
    return total


CASES = [
    *(pytest.param(times, {}, id=name) for name, times in TIMES.items()),
    pytest.param(REGULAR, {"has_slope": True}, id="slope"),
    pytest.param(REGULAR, {"seasons": {}}, id="no season"),
    pytest.param(IRREGULAR, {"regressor": True}, id="regressor"),
]


@pytest.mark.parametrize(("times", "options"), CASES)
def test_the_likelihood_is_that_of_a_normal_with_the_sum_of_the_kernels(times, options):
    dense, points, outputs = series(times, **options)
    values, _ = dense(points, outputs)
    for value, point, output in zip(values, points, outputs, strict=True):
        a = naive(dense, point, dense.x) + np.exp(point[-1]) * np.eye(N)
        assert value == pytest.approx(
            multivariate_normal(np.zeros(N), a).logpdf(dense.y[:, output]), rel=1e-9
        )


@pytest.mark.parametrize(("times", "options"), CASES)
def test_gradients_are_those_of_differences(times, options):
    dense, points, outputs = series(times, **options)
    _, gradients = dense(points, outputs)
    for point, output, gradient in zip(points, outputs, gradients, strict=True):
        own = np.array([output])
        error = check_grad(
            lambda p, own=own: dense(p[None], own)[0][0], lambda _, g=gradient: g, point, epsilon=1e-6
        )
        assert error < 1e-4 * max(1.0, np.abs(gradient).max())


@pytest.mark.parametrize(("times", "options"), CASES)
def test_a_batch_is_as_one_by_one(times, options):
    dense, points, outputs = series(times, **options)
    values, gradients = dense(points, outputs)
    for i in range(len(points)):
        value, gradient = dense(points[i : i + 1], outputs[i : i + 1])
        np.testing.assert_allclose(value[0], values[i], rtol=1e-12)
        np.testing.assert_allclose(gradient[0], gradients[i], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("times", "options"), CASES)
def test_other_rows_follow_from_the_series(times, options):
    dense, points, outputs = series(times, **options)
    new = np.column_stack([dense.x[-1, 0] + np.array([0.1, 0.25, 2.0]), np.ones((3, dense.x.shape[1] - 1))])
    means, covariances = dense.predict(points, outputs, new)
    both = dense.marginals(points, outputs, new)
    (whole,) = dense.sums([[part.name for part in dense.structure.parts]], points[1], outputs[1], new)
    for i, (point, output) in enumerate(zip(points, outputs, strict=True)):
        joint = naive(dense, point, np.concatenate([dense.x, new]))
        a, cross = joint[:N, :N] + np.exp(point[-1]) * np.eye(N), joint[N:, :N]
        np.testing.assert_allclose(means[i], cross @ np.linalg.solve(a, dense.y[:, output]), rtol=1e-7)
        expected = joint[N:, N:] - cross @ np.linalg.solve(a, cross.T)
        np.testing.assert_allclose(covariances[i], expected, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(both[0][i], means[i], rtol=1e-12)
        np.testing.assert_allclose(both[1][i], np.diagonal(covariances[i]), rtol=1e-9)
    np.testing.assert_allclose(whole, [both[0][1], both[1][1]], rtol=1e-9)


def test_many_rows_are_computed_block_by_block():
    dense, points, outputs = series(REGULAR)
    new = np.linspace(-3.0, 5.0, 600)[:, None]
    means, variances = dense.marginals(points, outputs, new)
    assert means.shape == variances.shape == (3, 600)
    some = dense.marginals(points, outputs, new[[0, 299, 599]])
    np.testing.assert_allclose(some[0], means[:, [0, 299, 599]], rtol=1e-8)
    np.testing.assert_allclose(some[1], variances[:, [0, 299, 599]], rtol=1e-8)


def test_nothing_is_computed_where_the_covariance_is_not_positive_definite():
    dense, points, outputs = series(REGULAR)
    broken = points.copy()
    broken[1, 0], broken[1, -1] = 80.0, -800.0  # a base beside which nothing else is seen, and no noise
    broken[2, 0] = 800.0  # infinite
    values, gradients = dense(broken, outputs)
    assert np.isfinite(values).tolist() == [True, False, False]
    np.testing.assert_array_equal(gradients[1:], 0.0)
    np.testing.assert_allclose(values[0], dense(points, outputs)[0][0], rtol=1e-12)


def test_the_inputs_stay_as_they_are():
    dense, points, outputs = series(REGULAR)
    before = dense.x.copy(), dense.y.copy(), points.copy()
    dense(points, outputs)
    dense.predict(points, outputs, np.array([[1.0]]))
    for now, then in zip((dense.x, dense.y, points), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(("times", "options"), CASES)
def test_smoothed_functions_are_those_at_the_rows_themselves(times, options):
    dense, points, outputs = series(times, **options)
    means, variances = dense.smoothed(points, dense.y[:, outputs])
    for mean, variance, point, output in zip(means, variances, points, outputs, strict=True):
        k = naive(dense, point, dense.x)
        gain = np.linalg.solve(k + np.exp(point[-1]) * np.eye(N), k).T
        np.testing.assert_allclose(mean, gain @ dense.y[:, output], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(variance, np.diag(k - gain @ k), rtol=1e-6, atol=1e-10)
