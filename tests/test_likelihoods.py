"""Likelihoods: against SciPy's distributions, sums and integrals, and derivatives by differences."""

import numpy as np
import pytest
import torch
from likelihood_cases import CASES, CENSORED, CENSORED_Y, DISCRETE
from scipy.integrate import quad
from scipy.stats import norm

from nonparam.errors import InputError
from nonparam.likelihoods import Likelihood, ParametricLikelihood, StudentT
from nonparam.likelihoods.registry import NAMES, as_likelihood

NAMED = list(CASES)
SMOOTH = [name for name in NAMED if name not in DISCRETE]
SINGLE = [name for name in NAMED if name != "heteroscedastic"]
ALL = {name: (case.likelihood, case.y, case.f) for name, case in CASES.items()}
ALL["censored"] = (CENSORED, CENSORED_Y, CASES["student_t"].f)


def cells(case):
    return [(i, j) for i in range(len(case.y)) for j in range(3)]


def like(case, value):
    """An observation in every cell's row, with its exposure."""
    return torch.cat([torch.full((len(case.y), 1), float(value), dtype=torch.float64), case.y[:, 1:]], 1)


@pytest.mark.parametrize("name", NAMED)
def test_log_densities_are_scipys(name):
    case = CASES[name]
    found = case.likelihood.log_density(case.y, case.f).detach()
    for i, j in cells(case):
        law, y = case.at(i, j), float(case.y[i, 0])
        expected = law.logpmf(y) if name in DISCRETE else law.logpdf(y)
        assert float(found[i, j]) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_sum_to_one(name):
    case = CASES[name]
    most = {"bernoulli": 1, "binomial": 4}.get(name, 400)
    y = case.y.clone()
    y[:, 1:] = 4.0
    total = 0.0
    for count in range(most + 1):
        y[:, 0] = count
        total = total + case.likelihood.log_density(y, case.f).exp()
    torch.testing.assert_close(total.detach(), torch.ones_like(case.f), rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("name", SMOOTH)
def test_densities_integrate_to_one(name):
    case = CASES[name]

    def density(value):
        return float(case.likelihood.log_density(like(case, value), case.f)[0, 0].exp().detach())

    ends = [0.0, 1.0] if name == "beta" else [-np.inf, np.inf]
    assert quad(density, *ends, epsabs=1e-11)[0] == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("name", [*SINGLE, "censored"])
def test_closed_derivatives_are_those_of_differences(name):
    likelihood, y, f = ALL[name]
    closed, h = likelihood.derivatives(y, f), 1e-3
    automatic = Likelihood.derivatives(likelihood, y, f)
    near = [likelihood.log_density(y, f + k * h).detach() for k in range(-3, 4)]
    weights = (
        (np.array([-1, 9, -45, 0, 45, -9, 1]) / 60.0, 1e-8),
        (np.array([2, -27, 270, -490, 270, -27, 2]) / 180.0, 1e-6),
        (np.array([1, -8, 13, 0, -13, 8, -1]) / 8.0, 1e-4),
    )
    for order, (w, tolerance) in enumerate(weights, 1):
        differences = sum(float(a) * b for a, b in zip(w, near, strict=True)) / h**order
        for found in (closed[order - 1], automatic[order - 1]):
            torch.testing.assert_close(found.detach(), differences, rtol=tolerance, atol=10.0 * tolerance)


@pytest.mark.parametrize("name", ALL)
def test_slopes_of_densities_and_expectations_are_those_of_differences(name):
    likelihood, y, f = ALL[name]
    parameters = dict(likelihood.named_parameters())
    mean = (f[:, 0] if f.ndim == 3 else f[:, :1]).clone()

    def of(method, *arguments):
        def value(*all_of_them):
            raw = dict(zip(parameters, all_of_them, strict=False))
            moments = all_of_them[len(raw) :]
            before = {key: likelihood._parameters[key] for key in raw}
            likelihood._parameters.update(raw)
            try:
                return getattr(likelihood, method)(y, *moments)
            finally:
                likelihood._parameters.update(before)

        inputs = [p.detach().clone() for p in parameters.values()] + [a.clone() for a in arguments]
        return torch.autograd.gradcheck(
            value, [each.requires_grad_() for each in inputs], eps=1e-6, atol=1e-6
        )

    assert of("log_density", f)
    assert of("expected_log_density", mean, 0.1 + 0.3 * torch.rand(mean.shape, dtype=mean.dtype))


@pytest.mark.parametrize("variance", [1e-6, 0.2, 3.0])
@pytest.mark.parametrize("name", [name for name in ALL if name not in ("heteroscedastic", "student_t")])
def test_expected_log_densities_are_integrals(name, variance):
    likelihood, y, f = ALL[name]
    mean = f[:, :1]
    found = likelihood.expected_log_density(y, mean, torch.full_like(mean, variance)).detach()
    for i in range(len(y)):
        m, sd = float(mean[i]), variance**0.5

        def integrand(z, i=i, m=m, sd=sd):
            at = torch.full((1, 1), m + sd * z, dtype=torch.float64)
            return float(likelihood.log_density(y[i : i + 1], at).detach()) * norm.pdf(z)

        expected = quad(integrand, -12.0, 12.0, epsabs=1e-11, epsrel=1e-11, limit=200, points=(-m / sd,))[0]
        assert float(found[i]) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("name", NAMED)
def test_distributions_are_scipys(name):
    case = CASES[name]
    places = [0.2, 0.5, 0.99, 1.0] if name == "beta" else [-2.0, -0.3, 0.0, 0.7, 1.0, 4.0, 4.5, 30.0]
    for value in places:
        y = torch.full((len(case.y), 1), value, dtype=torch.float64)
        found = case.likelihood.distribution(y, case.f, case.exposure).detach()
        for i, j in cells(case):
            assert float(found[i, j]) == pytest.approx(case.at(i, j).cdf(value), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", NAMED)
def test_responses_are_scipys_moments(name):
    case = CASES[name]
    mean, variance = (each.detach() for each in case.likelihood.response(case.f, case.exposure))
    for i, j in cells(case):
        expected = case.at(i, j).stats("mv")
        assert float(mean[i, j]) == pytest.approx(float(expected[0]), rel=1e-9)
        assert float(variance[i, j]) == pytest.approx(float(expected[1]), rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_draws_have_the_moments_of_the_response_and_repeat_with_their_seed(name):
    likelihood, y, f = ALL[name]
    exposure = y[:, 1:] if y.shape[1] > 1 else None
    many = f[:, :1].expand(-1, 40_000, *f.shape[2:]).contiguous()
    draws = likelihood.sample(many, torch.Generator().manual_seed(1), exposure).detach()
    again = likelihood.sample(many, torch.Generator().manual_seed(1), exposure).detach()
    torch.testing.assert_close(draws, again, rtol=0.0, atol=0.0)
    mean, variance = (each.detach()[:, 0] for each in likelihood.response(f, exposure))
    assert (((draws.mean(1) - mean) / (variance / 40_000).sqrt()).abs() < 4.0).all()
    torch.testing.assert_close(draws.var(1), variance, rtol=0.3 if name == "student_t" else 0.06, atol=0.0)


@pytest.mark.parametrize("name", ALL)
def test_functions_far_away_are_survived(name):
    likelihood, y, f = ALL[name]
    for far in (-200.0, 200.0):
        value = likelihood.log_density(y, torch.full_like(f, far)).detach()
        assert not value.isnan().any() and (value < np.inf).all()
        slope = likelihood.expected_log_density(
            y,
            torch.full((len(y), likelihood.latents), 30.0 * np.sign(far), dtype=f.dtype),
            torch.ones_like(y[:, :1]) if likelihood.latents == 1 else torch.ones(len(y), 2, dtype=f.dtype),
        )
        assert torch.isfinite(slope).all()


# parameters ---------------------------------------------------------------------------------


PARAMETRIC = [name for name in ALL if isinstance(ALL[name][0], ParametricLikelihood)]


@pytest.mark.parametrize("name", PARAMETRIC)
def test_unset_parameters_start_at_their_prior_medians_and_given_ones_where_they_were_given(name):
    given, y, _ = ALL[name]
    plain = type(given)(lower=-0.5, upper=1.2) if name == "censored" else type(given)()
    before = repr(plain)
    ready = plain.initialised(y.numpy(), np.ones(len(y)))
    assert repr(plain) == before != repr(ready)
    assert set(ready.priors()) == {key for key, _ in ready.named_parameters()}
    for key, prior in ready.priors().items():
        assert float(ready.get_parameter(key).detach()) == pytest.approx(prior.mean)
        assert prior.lower < prior.mean < prior.upper
    kept = given.initialised(y.numpy(), np.ones(len(y)))
    for key, value in given.named_parameters():
        assert float(kept.get_parameter(key).detach()) == float(value.detach())


def test_fixed_parameters_are_not_learnt():
    likelihood = StudentT(df=4.0, fixed=("df",)).initialised(np.arange(5.0)[:, None], np.ones(5))
    assert [key for key, p in likelihood.named_parameters() if p.requires_grad] == ["raw_scale"]
    assert list(likelihood.priors()) == ["raw_scale"]


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan, "many", True, [1.0, 2.0]])
def test_a_parameter_that_is_no_positive_number_is_refused(value):
    with pytest.raises(InputError, match="StudentT: df must be"):
        StudentT(df=value)


@pytest.mark.parametrize("fixed", ["df", ("noise",)])
def test_unknown_names_of_fixed_parameters_are_refused(fixed):
    with pytest.raises(InputError, match=r"StudentT: fixed must list some of \['df', 'scale'\], got"):
        StudentT(fixed=fixed)


def test_every_name_makes_its_likelihood():
    for name in NAMES[1:]:
        assert as_likelihood(name).keyword == name
    with pytest.raises(InputError, match=r"likelihood must be one of .*'student_t'.*got 'cauchy'"):
        as_likelihood("cauchy")


# observations that cannot be ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("poisson", [[1.0], [-1.0]], r"'poisson' is of counts 0, 1, 2, ..., got y\[1\]=-1"),
        ("negative_binomial", [[0.5]], r"'negative_binomial' is of counts .* got y\[0\]=0.5"),
        ("negative_binomial", [[1.0, 0.0]], "second column of y is the exposure, a positive number; got 0"),
        ("binomial", [[1.0, 4.0], [5.0, 4.0]], "row 1 has more successes than trials, 5 of 4"),
        ("binomial", [[2.0]], "row 0 has more successes than trials, 2 of 1 .* two columns"),
        ("binomial", [[-1.0, 4.0]], r"numbers of successes 0, 1, 2, ..., got y\[0\]=-1"),
        ("binomial", [[0.5, 4.0]], r"got y\[0\]=0.5 .*take 'beta'"),
        ("binomial", [[0.0, 0.0]], "number of trials, 1, 2, ...; got 0 in row 0"),
        ("binomial", [[1.0, 2.5]], "number of trials, 1, 2, ...; got 2.5 in row 0"),
        ("beta", [[0.5], [1.2]], r"shares between 0 and 1, got y\[1\]=1.2 .*divide percentages by 100"),
        ("beta", [[-0.1]], r"shares between 0 and 1, got y\[0\]=-0.1"),
        ("beta", [[0.5], [0.0]], r"exactly 0 or 1, got y\[1\]=0 .*take 'binomial'"),
        ("beta", [[1.0]], r"exactly 0 or 1, got y\[0\]=1"),
        ("bernoulli", [[0.0], [2.0]], r"happen \(1\) or not \(0\), got y\[1\]=2"),
    ],
)
def test_observations_that_cannot_be_are_refused(name, rows, said):
    with pytest.raises(InputError, match=said):
        as_likelihood(name).check(np.array(rows))
