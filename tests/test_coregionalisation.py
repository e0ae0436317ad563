"""The covariance between outputs: its size, its derivatives, and where it starts."""

import numpy as np
import pytest

from nonparam.kernels import RBF, with_amplitude
from nonparam.multioutput.coregionalisation import (
    PanelTheta,
    coregionalisation,
    correlations,
    loadings_of,
    slopes,
)
from nonparam.scales import measure

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("t", "rank"), [(2, 1), (4, 1), (4, 3), (5, 5)])
def test_variances_have_a_mean_of_one_whatever_the_size(t, rank):
    w, own = RNG.standard_normal((t, rank)), RNG.uniform(0.1, 1.0, t)
    b = coregionalisation(w, own)
    assert np.trace(b) == pytest.approx(t)
    assert np.linalg.eigvalsh(b).min() > 0.0
    np.testing.assert_allclose(coregionalisation(10.0 * w, 100.0 * own), b, rtol=1e-12)
    np.testing.assert_allclose(coregionalisation(-w, own), b, rtol=1e-12)


@pytest.mark.parametrize(("t", "rank"), [(2, 1), (4, 3)])
def test_slopes_are_those_of_differences(t, rank):
    w, log_own = RNG.standard_normal((t, rank)), RNG.standard_normal(t)
    slope = RNG.standard_normal((t, t))
    slope = slope + slope.T

    def value(point):
        return (slope * coregionalisation(point[:-t].reshape(t, rank), np.exp(point[-t:]))).sum()

    point = np.r_[w.reshape(-1), log_own]
    steps = 1e-6 * np.eye(len(point))
    differences = [(value(point + step) - value(point - step)) / 2e-6 for step in steps]
    in_w, in_own = slopes(w, np.exp(log_own), slope)
    np.testing.assert_allclose(np.r_[in_w.reshape(-1), in_own], differences, atol=1e-8)


def test_correlations_are_of_the_rows_that_two_outputs_share():
    table = RNG.standard_normal((30, 3))
    table[:, 1] += table[:, 0]
    table[:10, 0], table[25:, 1], table[:28, 2] = np.nan, np.nan, np.nan
    found = correlations(table)
    both = slice(10, 25)
    assert found[0, 1] == pytest.approx(np.corrcoef(table[both, 0], table[both, 1])[0, 1])
    assert found[0, 2] == found[1, 2] == 0.0  # two rows shared, and none
    np.testing.assert_array_equal(found, found.T)
    assert correlations(np.ones((5, 2))).tolist() == [[1.0, 0.0], [0.0, 1.0]]  # constants correlate with none


def test_loadings_of_full_rank_give_the_correlation_back():
    correlation = np.corrcoef(RNG.standard_normal((4, 50)))
    w, own = loadings_of(correlation, 4)
    np.testing.assert_allclose(w @ w.T, correlation, atol=1e-12)
    assert (own > 0.0).all()
    torn = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])  # of pairs: no covariance
    assert np.isfinite(np.concatenate([part.reshape(-1) for part in loadings_of(torn, 3)])).all()


def theta_of(t, rank, noise=None, informative=True):
    x = RNG.uniform(size=(20, 2))
    scales = measure(x, x, np.ones(20), normalize_y=False)
    kernel = with_amplitude(RBF([1.0, 1.0])).double()
    return PanelTheta(kernel, scales, np.eye(t), rank, noise, informative=informative)


def test_the_vector_has_a_name_for_every_number():
    theta = theta_of(2, 1)
    assert theta.names[-6:] == ["loadings[0]", "loadings[1]", "own[0]", "own[1]", "noise[0]", "noise[1]"]
    point = theta.start.copy()
    point[-2:] = np.log([0.3, 0.7])
    np.testing.assert_allclose(theta.noise(point), [0.3, 0.7])
    assert theta.b(point).shape == (2, 2)
    assert np.isfinite(theta.log_priors(point[None])[0]).all()
    assert (theta.lower < theta.start).all() and (theta.start < theta.upper).all()


def test_one_output_has_nothing_to_share():
    theta = theta_of(1, 1)
    assert theta.names[-1] == "noise" and not any(
        name.startswith(("loadings", "own")) for name in theta.names
    )
    assert theta.b(theta.start).tolist() == [[1.0]]


def test_known_noise_is_not_learnt_and_priors_can_be_left_out():
    theta = theta_of(3, 2, noise=np.array([0.1, 0.2, 0.3]), informative=False)
    assert not any(name.startswith("noise") for name in theta.names)
    np.testing.assert_array_equal(theta.noise(theta.start), [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(theta.log_priors(theta.start[None])[0], [0.0])
