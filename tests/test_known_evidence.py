"""Cases whose evidence is known: published, or in closed form."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, softmax

from nonparam import BayesianLinearRegressor
from nonparam.laplace import laplace
from nonparam.lbfgs import minimise
from nonparam.model_selection import Hypothesis, bayes_factor, importance_evidence, sensitivity

DATA = Path(__file__).parents[2] / "shared" / "data" / "evidence"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data of the published cases are not here")


def case(name):
    """A published case, with the numbers that it is known by."""
    cases = json.loads((DATA / "reference_cases.json").read_text())["cases"]
    return next(each for each in cases if each["id"] == name)


# radiata pine: a conjugate linear model ------------------------------------------------------


def pine(column):
    """The strength of 42 specimens on their density, with the prior of Friel and Wyse (2012)."""
    table = pd.read_csv(DATA / "radiata_pine.csv")
    x = table[[column]].to_numpy()
    model = BayesianLinearRegressor(
        lambda x: np.c_[np.ones(len(x)), x - np.mean(table[column])],
        intercept=False,
        prior_mean=[3000.0, 185.0],
        prior_variance=[1.0 / 0.06, 1.0 / 6.0],
        noise="marginalise",
        noise_shape=3.0,
        noise_rate=2.0 * 300.0**2,
    )
    return model.fit(x, table["y_strength"])


@needs_data
def test_radiata_pine():
    known, (first, second) = case("radiata_pine"), (pine("x_density"), pine("z_adj_density"))
    assert first.log_evidence() == pytest.approx(known["lnZ_M1"], abs=1e-6)
    assert second.log_evidence() == pytest.approx(known["lnZ_M2"], abs=1e-6)
    assert first.log_evidence() == pytest.approx(-310.1283, abs=1e-4)
    assert second.log_evidence() == pytest.approx(-301.7046, abs=1e-4)
    assert second.joint_density().log_density() == pytest.approx(known["lnZ_M2"], abs=1e-6)
    increments = second.joint_density().increments(np.random.default_rng(0).permutation(42))
    assert increments.sum() == pytest.approx(known["lnZ_M2"], abs=1e-6)


# Pima: logistic regression -------------------------------------------------------------------


def pima(columns):
    """The log joint density of a logistic model with N(0, 100) priors, and its mode."""
    table = pd.read_csv(DATA / "pima_532_standardised.csv")
    design, sign = np.c_[np.ones(len(table)), table[columns]], 2.0 * table["diabetes"].to_numpy() - 1.0
    p, precision = design.shape[1], 0.01

    def log_joint(theta):
        margin = theta @ design.T * sign
        log_prior = 0.5 * p * np.log(precision / (2.0 * np.pi)) - 0.5 * precision * np.square(theta).sum(1)
        return log_prior - np.logaddexp(0.0, -margin).sum(1), (
            expit(-margin) * sign
        ) @ design - precision * theta

    def negative(theta, which):
        values, slopes = log_joint(theta)
        return -values, -slopes

    wide = np.full(p, 99.0)
    return log_joint, minimise(negative, np.zeros((1, p)), -wide, wide)[0].theta, np.full(p, 10.0)


@needs_data
@pytest.mark.parametrize(
    ("columns", "name", "published"),
    [
        (["NP", "PGC", "BMI", "DP"], "M1", -257.2342),
        (["NP", "PGC", "BMI", "DP", "AGE"], "M2", -259.8519),
    ],
)
def test_pima(columns, name, published):
    known = case("pima_logistic")["tau_0.01"]
    model = pima(columns)
    approximate = laplace(*model).log_evidence
    assert approximate == pytest.approx(known[f"laplace_{name}"], abs=1e-4)
    assert approximate == pytest.approx(published, abs=0.05)
    found = importance_evidence(*model, n_draws=40_000)
    assert found.log_evidence == pytest.approx(known[f"lnZ_{name}"], abs=0.01)
    assert found.log_evidence == pytest.approx(published, abs=0.01)
    assert found.standard_error < 0.003 and found.effective_sample_size > 20_000


# Student's sleep data: a t-test ---------------------------------------------------------------

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])  # hours gained, second drug less first
RATIO = np.sqrt(0.5)  # the scale of the Cauchy prior of the effect in standard deviations


def jzs(t, n, scale=RATIO):
    """An effect with a Cauchy prior: normal with a variance that has an inverse gamma prior."""
    return Hypothesis(
        "an effect",
        lambda g: stats.t(n - 1, scale=np.sqrt(1.0 + n * g)),
        prior=stats.invgamma(0.5, scale=0.5 * scale**2),
    )


def test_sleep():
    n = len(SLEEP)
    t = stats.ttest_1samp(SLEEP, 0.0).statistic
    assert t == pytest.approx(4.062127684, abs=1e-8)
    factor = bayes_factor(jzs(t, n), Hypothesis("none", stats.t(n - 1)), t)
    assert factor.value == pytest.approx(17.258880268, abs=1e-5)
    assert factor.words == "positive"

    def of_effect(effect):  # the noncentral t density of the statistic
        return stats.nct.pdf(t, n - 1, effect * np.sqrt(n)) * stats.cauchy.pdf(effect, scale=RATIO)

    area = quad(of_effect, -5.0, 0.0)[0] + quad(of_effect, 0.0, 5.0, epsabs=1e-12)[0]
    assert factor.value == pytest.approx(area / stats.t(n - 1).pdf(t), rel=1e-3)


@needs_data
def test_the_sleep_data_are_those_of_the_table():
    table = pd.read_csv(DATA / "sleep.csv")
    gained = table["extra"][10:].to_numpy() - table["extra"][:10].to_numpy()
    np.testing.assert_allclose(gained, SLEEP, atol=1e-12)
    assert case("jzs_sleep_paired")["BF10"] == pytest.approx(17.258880268)


# Mercury's perihelion -------------------------------------------------------------------------

PRECESSION, ERROR, EINSTEIN = 41.6, 2.0, 42.9  # arc seconds a century
GENERAL_RELATIVITY = Hypothesis("general relativity", stats.norm(EINSTEIN, ERROR))


def newton(width):
    return Hypothesis("Newton", lambda alpha: stats.norm(alpha, ERROR), prior=stats.norm(0.0, width))


def test_mercury():
    factor = bayes_factor(GENERAL_RELATIVITY, newton(50.0), PRECESSION)
    assert factor.value == pytest.approx(28.61652336, rel=1e-6)
    assert str(factor) == "28.6 to 1 for general relativity against Newton: strong"


def test_mercury_depends_on_the_width_and_grows_with_it():
    widths = np.array([50.0, 100.0, 1000.0, 1e4, 1e5])
    table = sensitivity(newton, GENERAL_RELATIVITY, PRECESSION, widths)
    against = np.exp(-table["log_bayes_factor"].to_numpy())
    closed = stats.norm.pdf(PRECESSION, EINSTEIN, ERROR) / stats.norm.pdf(
        PRECESSION, 0.0, np.hypot(ERROR, widths)
    )
    np.testing.assert_allclose(against, closed, rtol=1e-6)
    assert (np.diff(against) > 0.0).all()
    np.testing.assert_allclose(against[2:] / widths[2:], against[-1] / widths[-1], rtol=2e-3)
    assert set(table["favours"]) == {"general relativity"}


def test_no_normal_prior_of_mercurys_precession_does_better_than_the_bound():
    best = np.sqrt(PRECESSION**2 - ERROR**2)  # the width of largest evidence
    factors = [
        bayes_factor(GENERAL_RELATIVITY, newton(best * share), PRECESSION).value for share in (0.9, 1.0, 1.1)
    ]
    assert factors[1] == min(factors) == pytest.approx(27.76296634, rel=1e-6)


# averages of two conjugate models -------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [{"noise": 0.5}, {"noise": "marginalise", "noise_shape": 2.0, "noise_rate": 1.0}]
)
def test_weights_of_two_conjugate_models(noise):
    rng = np.random.default_rng(8)
    x = rng.uniform(-1.0, 1.0, (15, 1))
    y = 0.8 * x[:, 0] + 0.5 * rng.standard_normal(15)
    designs = [x, np.c_[x, x**2]]
    degrees = [lambda x: x, lambda x: np.c_[x, x**2]]
    models = [
        BayesianLinearRegressor(degree, intercept=False, prior_variance=2.0, **noise).fit(x, y)
        for degree in degrees
    ]
    if noise["noise"] == 0.5:
        densities = [
            stats.multivariate_normal.pdf(y, None, 2.0 * d @ d.T + 0.5 * np.eye(15)) for d in designs
        ]
    else:
        densities = [stats.multivariate_t.pdf(y, None, d @ d.T + 0.5 * np.eye(15), df=4.0) for d in designs]
    weights = softmax([model.log_evidence() for model in models])
    np.testing.assert_allclose(weights, np.array(densities) / np.sum(densities), atol=1e-8)
