"""Bad input: a right answer or one clear error, and never a NaN, a negative variance or a warning."""

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process import kernels as sk

from nonparam import GPRegressor
from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.kernels import RBF

RNG = np.random.default_rng(11)
X = RNG.standard_normal((20, 2))
Y = np.sin(X[:, 0]) + 0.1 * X[:, 1]
NEW = RNG.standard_normal((6, 2))
MEANS = ["zero", "constant", "linear"]
KERNELS = ["matern52", "linear + rbf", "periodic * rbf", "wiener + polynomial(2)", "changepoint(rbf, cosine)"]


def assert_sound(model, new):
    """Every number that the model gives is finite, in order, and no variance is negative."""
    mean, sd = model.predict(new, return_std=True)
    _, covariance = model.predict(new, return_cov=True)
    quantiles = model.predict_quantiles(new, [0.01, 0.5, 0.99])
    for numbers in (mean, sd, covariance, quantiles, model.sample_y(new, 2), model.log_marginal_likelihood_):
        assert np.isfinite(numbers).all()
    assert (sd >= 0.0).all() and (np.diff(quantiles) >= 0.0).all()
    assert (np.diagonal(covariance) >= 0.0).all()
    return mean, sd


# data with a right answer --------------------------------------------------------------------


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows(n, kernel, mean):
    model = GPRegressor(kernel, mean=mean).fit(X[:n], Y[:n])
    _, sd = assert_sound(model, NEW)
    assert (sd < 100.0).all()


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.c_[X[:, 0], np.full(20, 0.1)], Y),
        (np.ones((20, 2)), Y),
        (np.full((20, 2), -1e8), Y),
        (X, np.full(20, 3.0)),
        (X, np.full(20, -0.1)),
        (X, np.zeros(20)),
        (np.ones((20, 2)), np.ones(20)),
        (np.repeat(X[:10], 2, 0), Y),
        (np.c_[X[:, 0], X[:, 0]], Y),
        (np.c_[X[:, 0], 3.0 * X[:, 0] - 2.0], Y),
        (np.c_[X[:, 0], 1e6 + 1e-9 * X[:, 1]], Y),
        (X, np.r_[np.zeros(19), 1e6]),
        (np.r_[X[:19], [[1e9, -1e9]]], Y),
    ],
    ids=[
        "one constant column",
        "all columns constant",
        "all columns constant and large",
        "constant y",
        "constant y that rounds",
        "zero y",
        "nothing varies",
        "duplicated rows with different y",
        "a column twice",
        "a column that is a line of another",
        "a column that varies in its last digits",
        "an outlier in y",
        "an outlier in X",
    ],
)
def test_degenerate_data(x, y, kernel, mean):
    model = GPRegressor(kernel, mean=mean).fit(x, y)
    assert_sound(model, x[:5])
    assert_sound(model, x[:5] + NEW[:5])


def test_constant_y_is_predicted():
    mean, sd = GPRegressor().fit(X, np.full(20, 3.0)).predict(NEW, return_std=True)
    np.testing.assert_allclose(mean, 3.0, rtol=1e-6)
    assert (sd < 0.01).all()


def test_duplicated_rows_with_different_y_are_averaged():
    model = GPRegressor("rbf").fit([[0.0]] * 10 + [[50.0]] * 10, np.r_[[1.0, 2.0] * 5, [7.0, 9.0] * 5])
    np.testing.assert_allclose(model.predict([[0.0], [50.0]]), [1.5, 8.0], atol=0.2)
    assert 0.2 < np.sqrt(model.noise_) < 2.0


@pytest.mark.parametrize("kernel", ["rbf", "matern52", "linear + rbf", "periodic"])
@pytest.mark.parametrize("of_x", [[1.0, 1.0], [1e-12, 1e12], [1e12, 1e-12]])
@pytest.mark.parametrize("of_y", [1e-9, 1.0, 1e9])
def test_units_change_no_prediction(kernel, of_x, of_y):
    y = Y + 0.1 * np.random.default_rng(0).standard_normal(20)
    plain = GPRegressor(kernel, mean="linear").fit(X, y)
    scaled = GPRegressor(kernel, mean="linear").fit(X * of_x, y * of_y)
    for a, b in zip(
        scaled.predict(NEW * of_x, return_std=True), plain.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_allclose(a / of_y, b, rtol=1e-6, atol=1e-6)
    shift = 20 * np.log(of_y)
    assert scaled.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_ - shift, abs=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "matern52", "rq", "linear + rbf"])
def test_a_huge_offset_of_x_changes_no_prediction(kernel):
    """Offsets that are exact in binary, so that the differences of rows are exactly the same."""
    x, new = np.round(X * 2**10) / 2**10, np.round(NEW * 2**10) / 2**10
    plain = GPRegressor(kernel).fit(x, Y).predict(new, return_std=True)
    moved = GPRegressor(kernel).fit(x + 1e8, Y).predict(new + 1e8, return_std=True)
    np.testing.assert_allclose(moved, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("offset", "tolerance"), [(1e3, 1e-6), (1e6, 1e-4), (1e9, 1e-2)])
def test_a_huge_offset_of_y_moves_predictions_with_it(offset, tolerance):
    """As far as the digits that the offset leaves allow."""
    y = Y + 0.1 * np.random.default_rng(0).standard_normal(20)
    plain = GPRegressor().fit(X, y).predict(NEW, return_std=True)
    mean, sd = GPRegressor().fit(X, y + offset).predict(NEW, return_std=True)
    np.testing.assert_allclose(mean - offset, plain[0], atol=tolerance)
    np.testing.assert_allclose(sd, plain[1], rtol=tolerance)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # without noise it may be so
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e12])
def test_known_noise_of_any_size(kernel, noise):
    model = GPRegressor(kernel, noise=noise).fit(X, Y)
    assert_sound(model, np.r_[X, NEW])
    assert model.noise_ == noise


def test_noise_that_differs_by_orders_from_row_to_row():
    model = GPRegressor(noise=np.geomspace(1e-9, 1e9, 20)).fit(X, Y)
    assert_sound(model, NEW)
    np.testing.assert_allclose(model.predict(X[:1]), Y[:1], atol=1e-2)


def test_far_from_the_data():
    model = GPRegressor("rbf + linear").fit(X, Y)
    assert_sound(model, [[1e30, -1e30], [0.0, 1e-30]])


def test_weights_of_many_orders():
    assert_sound(GPRegressor().fit(X, Y, sample_weight=np.geomspace(1e-12, 1e12, 20)), NEW)
    alone = GPRegressor().fit(X[:1], Y[:1])
    counted = GPRegressor().fit(X, Y, sample_weight=np.r_[1.0, np.zeros(19)])
    np.testing.assert_allclose(counted.predict(NEW), alone.predict(NEW))


# arguments -----------------------------------------------------------------------------------


BAD_ARGUMENTS = [
    ("kernel", "", "kernel '' cannot be read"),
    ("kernel", "  ", "kernel '  ' cannot be read"),
    ("kernel", "rbf +", r"kernel 'rbf \+' cannot be read"),
    ("kernel", "rfb", "no kernel is called 'rfb'; did you mean 'rbf'"),
    ("kernel", "3", "kernel '3' is 3: expected at least one of"),
    ("kernel", None, "kernel must be a formula or a kernel, got None: try 'matern52' or"),
    ("kernel", 3, "kernel must be a formula or a kernel, got 3"),
    ("kernel", RBF, r"kernel must be an instance, got the class RBF: call it, as in RBF\(\)"),
    ("kernel", gpytorch.kernels.RBFKernel, r"got the class RBFKernel: call it, as in RBFKernel\(\)"),
    ("kernel", sk.RBF(), r"got scikit-learn's RBF\(length_scale=1\): write kernel='rbf'"),
    ("kernel", "Matern52", "no kernel is called 'Matern52'; did you mean 'matern52'"),
    ("kernel", "rbf(active_dims=[5])", r"active_dims are \[5\], but X has only 2 columns"),
    ("kernel", "linear + sum(rbf, active_dims=[2])", r"active_dims are \[2\], but X has only 2 columns"),
    ("kernel", "changepoint(rbf, linear, column=2)", "ChangePoint: column is 2, but X has only 2 columns"),
    ("kernel", "rbf([1, 2, 3])", "lengthscale has 3 values, but X has 2 columns"),
    ("mean", "cubic", r"mean must be one of \('zero', 'constant', 'linear'\), got 'cubic'"),
    ("mean", None, "mean must be one of"),
    ("noise", "lern", "noise must be 'learn', a variance, or one variance per row; got 'lern'"),
    ("noise", -0.1, "noise variances must be finite and not negative, got -0.1"),
    ("noise", np.nan, "noise variances must be finite and not negative"),
    ("noise", np.inf, "noise variances must be finite and not negative"),
    ("noise", [np.nan] * 20, r"not negative, got \[nan, nan, nan, nan, nan, nan, \.\.\.\]$"),
    ("noise", None, "noise variances must be finite and not negative"),
    ("noise", True, "noise must be 'learn', a variance, or one variance per row; got True"),
    ("noise", np.arange(20).astype("m8[s]"), "noise must be a number or an array of numbers"),
    ("noise", np.r_[-1.0, np.ones(19)], "noise variances must be finite and not negative"),
    ("noise", [0.1, 0.2], r"one per row \(20\); got an array of shape \(2,\)"),
    ("noise", np.ones((20, 1)), r"got an array of shape \(20, 1\)"),
    ("noise", ["a"] * 20, "noise must be a number or an array of numbers"),
    ("noise", {}, "noise must be a number or an array of numbers, got {}"),
    ("noise", 1 + 2j, "noise must be a number or an array of numbers"),
    ("solver", "magic", r"solver must be one of \('auto', 'cholesky'.*got 'magic'"),
    ("solver", None, "solver must be one of"),
    ("solver", np.ones(2), "solver must be one of"),
    ("objective", "likelihood", r"objective must be one of .*got 'likelihood'"),
    ("n_restarts", -1, "n_restarts must be an integer, at least 0; got -1"),
    ("n_restarts", 1.5, "n_restarts must be an integer, at least 0; got 1.5"),
    ("n_restarts", "2", "n_restarts must be an integer, at least 0; got '2'"),
    ("n_restarts", True, "n_restarts must be an integer, at least 0; got True"),
    ("priors", "flat", r"priors must be one of .*got 'flat'"),
    ("priors", False, r"priors must be one of .*got False"),
    ("device", "gpu", "device must be 'auto', 'cpu' or 'cuda', got 'gpu'"),
    ("device", None, "device must be 'auto', 'cpu' or 'cuda', got None"),
    ("device", "meta", "device must be 'auto', 'cpu' or 'cuda', got 'meta'"),
    ("random_state", "abc", r"random_state must be None, an integer from 0 .* or a .*RandomState, got 'abc'"),
    ("random_state", -1, "random_state must be None, an integer from 0 .*, got -1"),
    ("random_state", 1.5, "random_state must be None, an integer from 0 .*, got 1.5"),
    ("verbose", "x", "verbose must be an integer, at least 0; got 'x'"),
    ("verbose", -1, "verbose must be an integer, at least 0; got -1"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD_ARGUMENTS)
def test_bad_arguments(name, value, said):
    model = GPRegressor(**{name: value})
    with pytest.raises(InputError, match=said):
        model.fit(X, Y)


def test_choices_may_be_numpy_scalars():
    """As a search over an array of candidates passes them."""
    model = GPRegressor(normalize_y=np.True_, objective=np.str_("lml"), solver=np.str_("auto"))
    np.testing.assert_array_equal(model.fit(X, Y).predict(NEW), GPRegressor().fit(X, Y).predict(NEW))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(device):
    with pytest.raises(
        InputError, match=f"device '{device}' was asked for, but this machine has no CUDA GPU"
    ):
        GPRegressor(device=device).fit(X, Y)


def test_a_gpu_beyond_those_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="device 'cuda:2' was asked for, but there are 2 GPUs"):
        GPRegressor(device="cuda:2").fit(X, Y)


def test_a_kernel_that_is_never_positive_definite():
    class Wrong(gpytorch.kernels.Kernel):
        def forward(self, x1, x2, diag=False, **params):
            matrix = -torch.ones(len(x1), len(x2), dtype=x1.dtype)
            return matrix.diagonal() if diag else matrix

    with pytest.raises(ConvergenceError, match=r"not positive definite at any start.*try a larger noise"):
        GPRegressor(Wrong(), noise=0.0).fit(X, Y)


def test_a_search_that_does_not_converge_says_so():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(80, 1)), rng.standard_normal(80)
    with pytest.warns(ConvergenceWarning, match=r"not converge \(the line search .*\): try noise='learn'"):
        model = GPRegressor(noise=0.0).fit(np.r_[x, x], np.r_[y, -y])
    assert not model.fit_report_.converged
    assert GPRegressor().fit(np.r_[x, x], np.r_[y, -y]).fit_report_.converged  # as the warning advises


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda of: gpytorch.kernels.RBFKernel(batch_shape=of(2)), "2, 1, 1"),
        (lambda of: gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(), batch_shape=of(1)), "1, 1, 1"),
        (lambda of: gpytorch.kernels.MaternKernel(batch_shape=of(3)) + RBF(), "3, 1, 1"),
        (lambda of: RBF(torch.ones(of(2, 1, 1), dtype=torch.float64)), "2, 1, 1"),
    ],
)
def test_a_batch_of_kernels(make, shape):
    kernel = make(lambda *sizes: torch.Size(sizes))
    with pytest.raises(
        InputError, match=rf"covariance of shape \({shape}\) for one row.*without batch_shape"
    ):
        GPRegressor(kernel).fit(X, Y)


def test_a_parameter_that_a_formula_lacks():
    with pytest.raises(InputError, match="RBF has no parameter 'period'; it has"):
        GPRegressor("rbf").set_params(kernel__period=2.0)


# methods -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return GPRegressor("rbf").fit(X, Y)


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.predict(X),
        lambda m: m.update(X, Y),
        lambda m: m.predict_quantiles(X, 0.5),
        lambda m: m.log_predictive_density(X, Y),
        lambda m: m.sample_y(X),
        lambda m: m.log_marginal_likelihood(),
        lambda m: m.score(X, Y),
    ],
)
def test_before_fit(ask):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        ask(GPRegressor())


@pytest.mark.parametrize("columns", [1, 3])
def test_another_number_of_columns(model, columns):
    for ask in (model.predict, model.sample_y, lambda x: model.update(x, Y[:4])):
        with pytest.raises(ValueError, match=f"X has {columns} features, but GPRegressor is expecting 2"):
            ask(np.ones((4, columns)))


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5, 1.5, np.nan, [0.5, 1.0], [[0.5]], None])
def test_probabilities_outside_the_open_interval(model, q):
    with pytest.raises(InputError, match="probabilities must lie strictly between 0 and 1"):
        model.predict_quantiles(X, q)


def test_probabilities_that_are_text(model):
    with pytest.raises(InputError, match="q must be a number or an array of numbers, got 'median'"):
        model.predict_quantiles(X, "median")


def test_deviations_and_covariance_at_once(model):
    with pytest.raises(InputError, match="ask for return_std or for return_cov, not for both"):
        model.predict(X, return_std=True, return_cov=True)


@pytest.mark.parametrize("draws", [-1, 1.5, "3", None, True])
def test_bad_numbers_of_draws(model, draws):
    with pytest.raises(InputError, match="n_samples must be an integer, at least 0"):
        model.sample_y(X, draws)


@pytest.mark.parametrize("seed", ["abc", -1, 1.5])
def test_bad_seeds_of_draws(model, seed):
    with pytest.raises(InputError, match=f"random_state must be None, an integer from 0 .*got {seed!r}"):
        model.sample_y(X, random_state=seed)


@pytest.mark.parametrize("y", [np.c_[Y, Y], Y[:3]])
def test_densities_of_another_shape(model, y):
    with pytest.raises(InputError, match=r"y must have shape \(20,\)|inconsistent lengths"):
        model.log_predictive_density(X, y)


def test_update_with_another_number_of_outputs(model):
    with pytest.raises(InputError, match="y must have 1 outputs as in fit, got 2"):
        model.update(X, np.c_[Y, Y])


@pytest.mark.parametrize(
    ("theta", "said"),
    [
        ([1.0], r"theta must have 4 entries \['outputscale', .*'noise'\], got \(1,\)"),
        ([np.nan] * 4, "theta must be finite"),
        ([0.0, 0.0, 0.0, np.inf], "theta must be finite"),
        ("start", "theta must be a number or an array of numbers"),
    ],
)
def test_bad_hyperparameters(model, theta, said):
    with pytest.raises(InputError, match=said):
        model.log_marginal_likelihood(theta)


@pytest.mark.parametrize("shift", [-100.0, -50.0, 50.0, 300.0])
def test_hyperparameters_far_from_the_data(model, shift):
    value, gradient = model.log_marginal_likelihood(np.full(4, shift), eval_gradient=True)
    assert not np.isnan(value) and value < model.log_marginal_likelihood_
    assert not np.isnan(gradient).any()


def test_hyperparameters_beyond_what_a_float_holds(model):
    weighted = GPRegressor("rbf").fit(X, Y, sample_weight=np.linspace(0.5, 2.0, 20))
    for entry in range(4):
        for size in (-1e308, -1000.0, -400.0, 400.0, 710.0, 1e308):
            theta = model.theta_.copy()
            theta[entry] = size
            for fitted in (model, weighted):
                value, gradient = fitted.log_marginal_likelihood(theta, eval_gradient=True)
                assert fitted.log_marginal_likelihood(theta) == value
                assert np.isfinite(gradient).all()
                assert np.isfinite(value) or not gradient.any()
                assert abs(size) < 710.0 or np.isneginf(value)


def test_hyperparameters_that_are_large_because_the_units_are():
    tiny = GPRegressor("linear").fit(X * 1e-59, Y * 1e59)
    assert np.abs(tiny.theta_).max() > 350.0
    assert tiny.log_marginal_likelihood() == pytest.approx(tiny.log_marginal_likelihood_)


def test_a_failed_update_leaves_the_model_as_it_was(model):
    before = model.predict(NEW)
    for x, y in ((X, Y[:3]), (X[:, :1], Y), (X, np.full(20, np.nan))):
        with pytest.raises(ValueError, match=r"rows|features|NaN"):
            model.update(x, y)
    np.testing.assert_array_equal(model.predict(NEW), before)


# memory --------------------------------------------------------------------------------------


def test_rows_beyond_the_memory_are_refused_before_anything_is_allocated():
    n = 3_000_000
    with pytest.raises(InsufficientMemoryError, match=r"3,000,000 rows needs about .* TB.*at most about"):
        GPRegressor(solver="cholesky").fit(
            np.broadcast_to(np.arange(2.0), (n, 2))[:, :1], np.broadcast_to(1.0, n)
        )


@pytest.mark.parametrize("ask", [lambda m, x: m.predict(x, return_cov=True), lambda m, x: m.sample_y(x)])
def test_a_joint_covariance_beyond_the_memory_is_refused(model, ask):
    with pytest.raises(
        InsufficientMemoryError, match=r"joint covariance of 1,000,000 rows needs about .* TB"
    ):
        ask(model, np.zeros((1_000_000, 2)))
