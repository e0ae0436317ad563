"""Joint densities of independent rows: against closed forms, and against the evidence of other priors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from comparison_cases import DRAWS, NormalMean
from scipy import stats
from scipy.integrate import quad
from scipy.special import betaln

from nonparam import compare
from nonparam.comparison.mixture_joint import mixture_joint, widened
from nonparam.errors import InputError

Y = DRAWS[:15]


@dataclass(frozen=True)
class Free:
    """A hypothesis with a parameter, whose evidence is found by adaptive quadrature."""

    density: Any
    prior: Any = None

    def log_evidence(self, y: np.ndarray) -> float:
        if self.prior is None:
            return float(self.density.logpdf(y).sum())
        low, middle, high = self.prior.ppf([1e-13, 0.5, 1.0 - 1e-13])
        if np.isinf(self.prior.support()[0]):
            low, high = low - (middle - low), high + (high - middle)
        log_density = self.density(0.5).logpdf if hasattr(self.density(0.5), "logpdf") else None

        def density(theta: float) -> float:
            given = self.density(theta)
            logs = given.logpdf(y) if log_density else given.logpmf(y)
            return float(np.exp(logs.sum() + SHIFT) * self.prior.pdf(theta))

        points = np.linspace(low, high, 40)[1:-1]
        return float(np.log(quad(density, low, high, points=points, limit=500, epsabs=0.0)[0]) - SHIFT)


SHIFT = 10.0


def normal(mean: float) -> Any:
    return stats.norm(mean, 1.0)


@pytest.mark.parametrize(("centre", "variance"), [(0.0, 1.0), (-3.0, 0.04), (1.0, 100.0)])
def test_normal_mean_is_the_closed_form(centre: float, variance: float):
    joint = mixture_joint(Free(normal, stats.norm(centre, variance**0.5)), Y)
    exact = NormalMean(centre, variance).joint_density(Y)
    assert joint.log_density() == pytest.approx(exact.log_density(), abs=1e-8)
    order = np.random.RandomState(0).permutation(15)
    np.testing.assert_allclose(joint.increments(order), exact.increments(order), atol=1e-7)
    sets = [np.array([i]) for i in range(15)] + [order[:4], order[4:]]
    for found, expected in zip(joint.held_out(sets), exact.held_out(sets), strict=True):
        assert found.log_joint == pytest.approx(expected.log_joint, abs=1e-7)
        for name in ("log_densities", "mean", "sd", "cdf", "residual"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-7)


def test_a_prior_with_ends_and_a_discrete_density():
    y = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    joint = mixture_joint(Free(stats.bernoulli, stats.beta(2.0, 2.0)), y)
    assert joint.log_density() == pytest.approx(betaln(6.0, 4.0) - betaln(2.0, 2.0), abs=1e-6)
    first = joint.held_out([np.array([0])])[0]
    assert np.exp(first.log_joint) == pytest.approx(5.0 / 9.0, abs=1e-6)
    assert first.mean.item() == pytest.approx(5.0 / 9.0, abs=1e-6)


def test_without_a_parameter_rows_are_independent():
    joint = mixture_joint(Free(normal(0.0)), Y)
    np.testing.assert_allclose(joint.increments(np.arange(15)), stats.norm.logpdf(Y))
    assert joint.held_out([np.arange(3)])[0].gap == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("prior", "support", "sd"),
    [
        (stats.norm(2.0, 3.0), (-np.inf, np.inf), 6.0),
        (stats.uniform(-50.0, 100.0), (-100.0, 100.0), 200.0 / 12**0.5),
        (stats.gamma(2.0, scale=3.0), (0.0, np.inf), 6.0 * 2**0.5),
        (stats.t(5.0, 1.0, 2.0), (-np.inf, np.inf), 4.0 * (5.0 / 3.0) ** 0.5),
    ],
)
def test_widened_priors(prior, support, sd: float):
    wide = widened(prior, 2.0)
    assert wide.support() == pytest.approx(support) and wide.std() == pytest.approx(sd)


def test_hypotheses_are_compared():
    models = {"fixed": Free(normal(0.0)), "free": Free(normal, stats.norm(0.0, 1.0))}
    report = compare(models, None, Y, orderings=4)
    exact = compare({"fixed": NormalMean(0.0, 1e-12), "free": NormalMean(0.0, 1.0)}, None, Y, orderings=4)
    for column in (
        "lml",
        "log_evidence",
        "clml",
        "clml_se",
        "loo",
        "tc_gap",
        "k_fold_log_loss",
        "k_fold_rmse",
    ):
        np.testing.assert_allclose(report.table[column], exact.table[column], atol=1e-6)
    np.testing.assert_allclose(report.hypothesis.sensitivity, exact.hypothesis.sensitivity, atol=1e-6)
    assert "hypothesis fits no values" in report.notes["free"]["effective_parameters"]


def test_heavy_tails_have_densities_and_no_deviation():
    models = {"cauchy": Free(stats.cauchy(0.0, 1.0)), "normal": Free(normal(0.0))}
    report = compare(models, None, Y, orderings=4)
    assert report.table.loo["cauchy"] == pytest.approx(stats.cauchy.logpdf(Y).mean())


def test_density_of_all_rows_together_is_refused():
    with pytest.raises(InputError, match="density is that of all rows together"):
        mixture_joint(Free(stats.multivariate_normal(np.zeros(15))), Y)


def test_a_grid_that_misses_a_peak_is_refused():
    @dataclass(frozen=True)
    class Other(Free):
        def log_evidence(self, y):
            return super().log_evidence(y) + 1.0

    with pytest.raises(InputError, match="one grid does not serve"):
        mixture_joint(Other(normal, stats.norm(0.0, 1.0)), Y)
