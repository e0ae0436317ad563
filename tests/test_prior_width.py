"""The evidence under wider priors: against quadrature, and against itself where nothing changes."""

import numpy as np
import pytest
from comparison_cases import sine
from scipy.special import logsumexp

from nonparam import GPRegressor
from nonparam.errors import InputError

X, Y = sine()


def by_quadrature(model: GPRegressor, width: float) -> float:
    """The log evidence of two hyperparameters, summed on a grid."""
    theta = model._objective(model._scales, model.posterior_.data).theta
    sd = width * theta.prior_precision**-0.5
    axes = [np.linspace(centre - 4.0, centre + 5.0, 46) for centre in model.theta_]
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    likelihood = np.array([model.log_marginal_likelihood(point) for point in points])
    prior = -0.5 * ((points - theta.prior_mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
    return float(logsumexp(likelihood + prior.sum(1)) + np.log([axis[1] - axis[0] for axis in axes]).sum())


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_width_agrees_with_quadrature(width: float):
    model = GPRegressor("rbf", mean="zero", noise=0.04).fit(X, Y)
    assert model.log_evidence(width) == pytest.approx(by_quadrature(model, width), abs=0.15)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("kernel", ["rbf", "linear + matern32"])
def test_width_of_about_one_changes_nothing(mean, kernel: str):
    model = GPRegressor(kernel, mean=mean).fit(X, Y)
    before = model.theta_.copy(), model.kernel_.state_dict()
    assert model.log_evidence(1.0 + 1e-9) == pytest.approx(model.log_evidence(), abs=1e-5)
    np.testing.assert_array_equal(model.theta_, before[0])
    assert all((model.kernel_.state_dict()[name] == value).all() for name, value in before[1].items())


def test_wide_priors_cost_the_logarithm_of_their_width():
    model = GPRegressor("rbf").fit(X, Y)
    lost = model.log_evidence(1e3) - model.log_evidence(1e4)
    assert lost == pytest.approx(len(model.theta_) * np.log(10.0), abs=1e-3)


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_impossible_width(width: float):
    with pytest.raises(InputError, match="prior_width must be a positive number"):
        GPRegressor("rbf").fit(X, Y).log_evidence(width)


def test_without_priors_there_is_no_width():
    model = GPRegressor("rbf", priors=None).fit(X, Y)
    with pytest.raises(InputError, match="prior_width must be a positive number, and 1 where BIC"):
        model.log_evidence(2.0)
