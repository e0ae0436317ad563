"""What the data's scale says: measures, starting values, priors, and the mean's basis functions."""

import numpy as np
import pytest
import torch
from scipy.signal import lombscargle

from nonparam.errors import InputError
from nonparam.kernels import RBF, Linear, Periodic, Sum, WhiteNoise, parse
from nonparam.means import Mean
from nonparam.scales import default_priors, initialise, measure, waits_for_period
from nonparam.spectrum import periodogram
from nonparam.theta import Theta

RNG = np.random.default_rng(0)
X = RNG.uniform(0.0, 10.0, (40, 2))
Y = np.sin(2 * np.pi * X[:, :1] / 2.5) + 3.0
ONES = np.ones(40)
EVERY_KIND = (
    "rbf + rq + periodic + cosine + linear + polynomial(2) + constant + white + wiener"
    " + changepoint(rbf, linear) + additive + orthogonal_rbf + soft_invariant(rbf, 'reflection', center=None)"
)


def values(kernel):
    return {name: p.detach().clone() for name, p in kernel.named_parameters()}


def test_location_and_spread():
    scales = measure(X, Y, ONES, normalize_y=True)
    np.testing.assert_allclose(scales.x_mean, X.mean(0))
    np.testing.assert_allclose(scales.x_sd, X.std(0))
    np.testing.assert_allclose((scales.x_low, scales.x_high), (X.min(0), X.max(0)))
    assert scales.y_variance == pytest.approx(Y.var())


def test_a_weight_of_two_is_the_row_twice():
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    weighted = measure(X, Y, weights, normalize_y=True)
    repeated = measure(np.r_[X, X[:10]], np.r_[Y, Y[:10]], np.ones(50), normalize_y=True)
    np.testing.assert_allclose(weighted.x_mean, repeated.x_mean)
    np.testing.assert_allclose(weighted.x_sd, repeated.x_sd)
    assert weighted.y_variance == pytest.approx(repeated.y_variance)


def test_y_counts_as_standardised_where_it_is_not_to_be_normalised():
    assert measure(X, 1e6 * Y, ONES, normalize_y=False).y_variance == 1.0


@pytest.mark.parametrize("level", [0.1, 1.0, -1e9, 1e-9])
def test_a_constant_column_has_spread_one(level):
    scales = measure(np.c_[X[:, 0], np.full(40, level)], Y, ONES, normalize_y=True)
    assert scales.x_sd[1] == 1.0 and scales.period[1] == 1.0


@pytest.mark.parametrize("level", [0.1, -3.0, 1e9, 1e-9])
def test_a_constant_y_takes_its_size_as_scale(level):
    assert measure(X, np.full((40, 1), level), ONES, normalize_y=True).y_variance == pytest.approx(level**2)


def test_a_y_of_zeros_has_scale_one():
    assert measure(X, np.zeros((40, 1)), ONES, normalize_y=True).y_variance == 1.0


def test_a_small_wave_on_a_large_level_is_no_constant():
    scales = measure(X, 1e10 + Y, ONES, normalize_y=True)
    assert scales.y_variance == pytest.approx(Y.var(), rel=1e-5)


@pytest.mark.parametrize("period", [0.7, 2.5])
def test_the_strongest_period_is_found_on_irregular_rows_with_a_trend(period):
    x = RNG.uniform(0.0, 10.0, (120, 1))
    y = np.sin(2 * np.pi * x / period) + 0.5 * x + 0.1 * RNG.standard_normal((120, 1))
    found = measure(x, y, np.ones(120), normalize_y=True).period
    assert found[0] == pytest.approx(period, rel=0.05)


def test_the_periodogram_is_that_of_scipy():
    time, y, weights = RNG.uniform(-0.5, 0.5, 50), RNG.standard_normal((50, 2)), RNG.uniform(0.1, 3.0, 50)
    frequencies = np.linspace(1.0, 20.0, 77)
    power = [
        lombscargle(time, column, 2 * np.pi * frequencies, weights=weights, normalize=True) for column in y.T
    ]
    ours = periodogram(time, y, weights / weights.sum(), frequencies)
    np.testing.assert_allclose(ours, np.sum(power, 0), rtol=1e-9)


def test_the_periodogram_where_all_rows_have_one_phase():
    """At every other place of a wave its sine is 0, and the cosine alone explains what it can."""
    y = np.array([1.0, -1.0, 1.0, 1.0])
    power = periodogram(np.arange(4.0), y[:, None], np.full(4, 0.25), np.array([0.5]))
    assert power == pytest.approx(0.25)  # (1 + 1 + 1 - 1)^2 / 4 of a sum of squares of 4


def test_the_period_of_weighted_rows_is_that_of_repeated_rows():
    """The heavy rows follow another wave than the light ones, and decide."""
    x = np.sort(RNG.uniform(0.0, 10.0, 90))[:, None]
    heavy = np.arange(90) % 3 == 0
    y = np.where(heavy[:, None], np.sin(2 * np.pi * x / 2.5), np.sin(2 * np.pi * x / 0.9)) + x
    weights = np.where(heavy, 8.0, 1.0)
    weighted = measure(x, y, weights, normalize_y=True).period
    repeated = measure(
        np.repeat(x, weights.astype(int), 0),
        np.repeat(y, weights.astype(int), 0),
        np.ones(300),
        normalize_y=True,
    ).period
    assert weighted == pytest.approx(repeated, rel=1e-9)
    assert weighted == pytest.approx(2.5, rel=0.1)
    assert measure(x, y, np.ones(90), normalize_y=True).period == pytest.approx(0.9, rel=0.1)


@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_all_outputs_vote_for_the_period_whatever_their_units(scale):
    x = np.linspace(0.0, 10.0, 80)[:, None]
    noise = RNG.standard_normal((80, 2))
    y = np.c_[scale * noise[:, :1], np.sin(2 * np.pi * x / 2.5) + 0.1 * noise[:, 1:], np.ones((80, 1))]
    for order in ([0, 1, 2], [2, 1, 0]):
        period = measure(x, y[:, order], np.ones(80), normalize_y=True).period
        assert period == pytest.approx(2.5, rel=0.05)


def test_hyperparameters_are_about_the_columns_that_their_kernel_names():
    x = np.c_[X, 100 * X]
    kernel = parse("changepoint(rbf, rbf, column=3) + wiener(active_dims=[2]) + wiener")
    initialise(kernel, measure(x, Y, ONES, normalize_y=True))
    change, third, first = kernel.kernels
    assert change.value("location") == pytest.approx(0.5 * (x[:, 3].min() + x[:, 3].max()))
    assert change.value("width") == pytest.approx(0.1 * x[:, 3].std())
    assert third.value("origin") == pytest.approx(x[:, 2].min())
    assert first.value("origin") == pytest.approx(x[:, 0].min())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_rows_have_finite_scales(n):
    scales = measure(X[:n], Y[:n], ONES[:n], normalize_y=True)
    assert np.isfinite(scales.period).all() and (scales.period > 0).all()
    assert scales.y_variance > 0 and (scales.x_sd > 0).all()


# starting values -----------------------------------------------------------------------------


def test_starting_values_are_those_of_the_data():
    kernel = parse("rbf + linear + white + periodic")
    initialise(kernel, measure(X, Y, ONES, normalize_y=True))
    rbf, linear, white, periodic = kernel.kernels
    np.testing.assert_allclose(rbf.value("lengthscale"), X.std(0) * np.sqrt(2))
    np.testing.assert_allclose(linear.value("center"), X.mean(0))
    np.testing.assert_allclose(linear.value("variance"), Y.var() / (X.var(0) * 2))
    assert white.value("variance") == pytest.approx(Y.var())
    assert periodic.value("period")[0] == pytest.approx(2.5, rel=0.05)


def test_an_additive_kernel_starts_with_functions_of_one_column_each():
    kernel = parse("additive(2)")
    initialise(kernel, measure(X, Y, ONES, normalize_y=True))
    for name, expected in (("lengthscale", X.std(0)), ("center", X.mean(0)), ("spread", X.std(0))):
        np.testing.assert_allclose(kernel.value(name), expected)
    np.testing.assert_allclose(kernel.value("variance"), [Y.var(), Y.var()])


def test_a_symmetry_may_be_broken_by_any_amount():
    kernel = parse("soft_invariant(rbf, 'reflection')")
    scales = measure(X, Y, ONES, normalize_y=True)
    initialise(kernel, scales)
    prior = default_priors(kernel, scales, informative=True)["raw_breaking"]
    assert kernel.value("center") == 0.0 and kernel.value("breaking") == pytest.approx(1e-4)
    span = np.exp(np.ravel(prior.mean) + np.array([-2.0, 2.0]) * prior.sd)
    np.testing.assert_allclose(span, [1e-8, 1.0])


def test_values_that_were_given_stay():
    kernel = RBF([3.0, 4.0]) + Periodic(1.5) + Linear(2.0, center=0.5) + WhiteNoise(0.25)
    before = {name: v for name, v in values(kernel).items() if name != "kernels.1.raw_lengthscale"}
    initialise(kernel, measure(X, Y, ONES, normalize_y=True))
    after = values(kernel)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_one_lengthscale_where_ard_is_off_is_the_geometric_mean():
    kernel = RBF(ard=False)
    initialise(kernel, measure(X, Y, ONES, normalize_y=True))
    assert kernel.value("lengthscale") == pytest.approx(np.sqrt(2 * X[:, 0].std() * X[:, 1].std()))


def test_starting_values_see_active_columns_only():
    x = np.c_[X, 100 * X]
    kernel = Sum(RBF(active_dims=[1]), Sum(RBF(), RBF(active_dims=[0]), active_dims=[3, 2]))
    scales = measure(x, Y, ONES, normalize_y=True)
    initialise(kernel, scales)
    one, (both, nested) = kernel.kernels[0], kernel.kernels[1].kernels
    sd = x.std(0)
    assert one.value("lengthscale") == pytest.approx(sd[1])
    np.testing.assert_allclose(both.value("lengthscale"), sd[[3, 2]] * np.sqrt(2))
    assert nested.value("lengthscale") == pytest.approx(sd[3])
    prior = default_priors(kernel, scales, informative=True)["kernels.1.kernels.1.raw_lengthscale"]
    assert np.exp(prior.mean) == pytest.approx(sd[3])


def test_active_columns_that_there_are_not():
    kernel = Sum(RBF(active_dims=[0]), Sum(RBF(active_dims=[1]), active_dims=[1]))
    with pytest.raises(InputError, match=r"active_dims are \[1\], but X has only 1 columns"):
        initialise(kernel, measure(X, Y, ONES, normalize_y=True))


def test_a_period_is_looked_for_only_where_a_kernel_waits_for_it():
    assert waits_for_period(RBF() + Periodic() * RBF())
    assert not waits_for_period(RBF() + Periodic(12.0))
    quick = measure(X, Y, ONES, normalize_y=True, find_periods=False)
    np.testing.assert_allclose(quick.period, np.ptp(X, axis=0) / 4)


@pytest.mark.parametrize(("of_x", "of_y"), [(1e-9, 1e9), (1e12, 1e-9)])
def test_starting_values_and_priors_move_with_the_units(of_x, of_y):
    """On logarithms every start, prior mean and bound shifts by the logarithm of its unit."""
    tables = {}
    for cx, cy in ((1.0, 1.0), (of_x, of_y)):
        scales = measure(cx * X, cy * Y, ONES, normalize_y=True)
        kernel = parse(EVERY_KIND)
        initialise(kernel, scales)
        theta = Theta(kernel, default_priors(kernel, scales, informative=True), 0.05 * scales.y_variance)
        rows = np.stack([theta.start, theta.prior_mean, theta.lower, theta.upper])
        tables[cx] = rows, theta.names
    (plain, names), (moved, _) = tables[1.0], tables[of_x]
    kernel = parse(EVERY_KIND)
    units = {
        "1": 0.0,
        "X": np.log(of_x),
        "y^2": 2 * np.log(of_y),
        "y^2/X": 2 * np.log(of_y) - np.log(of_x),
        "y^2/X^2": 2 * np.log(of_y) - 2 * np.log(of_x),
    }
    shifts = {"noise": units["y^2"]}
    for path, part in kernel.named_modules():
        for declared in getattr(part, "declared", tuple)():
            shifts[f"{path}.{declared.name}"] = units[declared.unit]
    checked = 0
    for j, name in enumerate(names):
        stem = name.split("[")[0]
        if stem.endswith("location"):
            np.testing.assert_allclose(moved[:, j], of_x * plain[:, j], rtol=1e-9)
        else:
            np.testing.assert_allclose(moved[:, j], plain[:, j] + shifts[stem], atol=1e-6, err_msg=name)
        checked += 1
    assert checked >= 15


def test_every_start_lies_within_its_bounds():
    scales = measure(X, Y, ONES, normalize_y=True)
    kernel = parse(EVERY_KIND)
    initialise(kernel, scales)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), 0.05 * scales.y_variance)
    assert (theta.lower <= theta.start).all() and (theta.start <= theta.upper).all()
    assert (theta.prior_precision > 0).all()


def test_uninformative_priors_keep_the_bounds_only():
    scales = measure(X, Y, ONES, normalize_y=True)
    kernel = parse("rbf")
    initialise(kernel, scales)
    theta = Theta(kernel, default_priors(kernel, scales, informative=False), 0.1)
    density, slope = theta.log_prior(theta.start[None])
    assert density[0] == 0.0 and not slope.any()
    assert np.isfinite(theta.lower).all() and np.isfinite(theta.upper).all()


def test_log_prior_is_the_normal_density_and_its_slope():
    from scipy.stats import norm

    scales = measure(X, Y, ONES, normalize_y=True)
    kernel = parse("rbf")
    initialise(kernel, scales)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), 0.1)
    points = theta.start + np.array([[0.0], [0.7], [-1.3]])
    density, slope = theta.log_prior(points)
    sd = theta.prior_precision**-0.5
    np.testing.assert_allclose(density, norm.logpdf(points, theta.prior_mean, sd).sum(-1))
    np.testing.assert_allclose(slope, (theta.prior_mean - points) / sd**2)


# the mean ------------------------------------------------------------------------------------


def mean_of(name, x):
    scales = measure(x, np.zeros((len(x), 1)), np.ones(len(x)), normalize_y=True)
    return Mean.from_scales(name, scales).identified(torch.tensor(x))


@pytest.mark.parametrize(("name", "columns"), [("zero", 0), ("constant", 1), ("linear", 3)])
def test_number_of_basis_functions(name, columns):
    assert mean_of(name, X).basis(torch.tensor(X)).shape == (40, columns)


@pytest.mark.parametrize(
    ("x", "rank"),
    [
        (np.c_[X, X], 3),
        (np.c_[X, X @ [2.0, -3.0] + 5.0], 3),
        (np.c_[X, np.full(40, 7.0)], 3),
        (X[:2], 2),
        (X[:1], 1),
        (np.c_[X * [1e-12, 1e12], X[:, 1] * 1e30], 3),
    ],
)
def test_linear_mean_leaves_out_columns_that_add_no_function(x, rank):
    basis = mean_of("linear", x).basis(torch.tensor(x)).numpy()
    assert basis.shape[1] == rank
    assert np.linalg.cond(basis) < 1e6


def test_unknown_mean():
    with pytest.raises(
        InputError, match=r"mean must be one of \('zero', 'constant', 'linear'\), got 'cubic'"
    ):
        mean_of("cubic", X)
