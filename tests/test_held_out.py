"""Rows that are held out together: against the textbook's posterior of the others, and finite differences."""

import dense
import numpy as np
import pytest
import torch

from nonparam import GPRegressor, fitting
from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.model_selection.held_out import HeldOutRows, held_out_evidence, precision_of

RNG = np.random.default_rng(3)
N = 11
X = np.sort(RNG.uniform(0.0, 5.0, (N, 1)), 0)
Y = np.c_[np.sin(X[:, 0]), 2.0 + X[:, 0] + 0.3 * RNG.standard_normal(N)]
A = dense.rbf(X, X, 0.8, 1.5) + np.diag(RNG.uniform(0.05, 0.3, N))
MEANS = ["zero", "constant", "linear"]
SETS = {
    "loo": np.arange(N)[:, None],
    "pairs": np.array([[0, 1], [4, 9], [9, 4], [10, 2]]),
    "all but two": np.array([RNG.permutation(N)[2:] for _ in range(3)]),
}


def tensors(*tables):
    return [torch.tensor(table) for table in tables]


def textbook(rows, column, H):
    """The mean and covariance of some rows given the others, from the covariance of these alone."""
    old = np.setdiff1d(np.arange(N), rows)
    cross, corner = A[np.ix_(old, rows)], A[np.ix_(rows, rows)]
    return dense.posterior(A[np.ix_(old, old)], cross, corner, Y[old, column], H[old], H[rows])


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS)
@pytest.mark.parametrize("mean", MEANS)
def test_each_set_given_all_other_rows(mean, sets):
    H = dense.basis(mean, X)
    found = precision_of(*tensors(A, Y, H)).conditional(torch.tensor(sets))
    for i, rows in enumerate(sets):
        for j in range(2):
            m, v = textbook(rows, j, H)
            assert found.log_joint[i, j].item() == pytest.approx(dense.log_normal(Y[rows, j], m, v), abs=1e-8)
            np.testing.assert_allclose(found.error[i, :, j], Y[rows, j] - m, atol=1e-9)
            np.testing.assert_allclose(found.covariance[i], v, atol=1e-9)
            each = [dense.log_normal(Y[[r], j], m[[k]], v[[k]][:, [k]]) for k, r in enumerate(rows)]
            np.testing.assert_allclose(found.log_densities[i, :, j], each, atol=1e-8)


def test_without_a_mean_it_is_a_difference_of_marginal_likelihoods():
    rows = np.arange(7, N)
    whole = dense.log_normal(Y[:, 0], np.zeros(N), A)
    first = dense.log_normal(Y[:7, 0], np.zeros(7), A[:7, :7])
    found = precision_of(*tensors(A, Y[:, :1], Y[:, :0])).conditional(torch.tensor(rows[None]))
    assert found.log_joint.item() == pytest.approx(whole - first, abs=1e-9)


def test_all_rows_together_are_the_marginal_likelihood():
    found = precision_of(*tensors(A, Y[:, :1], Y[:, :0])).conditional(torch.arange(N)[None])
    assert found.log_joint.item() == pytest.approx(dense.log_normal(Y[:, 0], np.zeros(N), A), abs=1e-9)


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS)
@pytest.mark.parametrize("mean", MEANS)
def test_the_derivative_in_the_covariance(mean, sets):
    y, basis, held = *tensors(Y, dense.basis(mean, X)), torch.tensor(sets)
    upper = torch.tensor(A).triu()

    def value(entries):
        full = entries.triu() + entries.triu(1).mT
        return held_out_evidence(full.contiguous(), y, basis, held).value

    found = held_out_evidence(torch.tensor(A), y, basis, held, gradient=True).gradient
    step = 1e-5
    for i, j in [(0, 0), (0, 1), (3, 7), (4, 9), (9, 9), (2, 10)]:
        change = torch.zeros_like(upper)
        change[i, j] = step
        slope = (value(upper + change) - value(upper - change)) / (2.0 * step)
        assert found[i, j].item() == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_objectives_are_means_over_held_out_rows_times_all():
    H = dense.basis("constant", X)
    for sets in SETS.values():
        each = [
            dense.log_normal(Y[rows, j], *textbook(rows, j, H)) for rows in sets for j in range(Y.shape[1])
        ]
        found = held_out_evidence(*tensors(A, Y, H, sets)).value
        assert found == pytest.approx(sum(each) / sets.size * N, abs=1e-8)


@pytest.mark.parametrize(("n", "fraction", "left"), [(20, 0.9, 2), (100, 0.9, 10), (7, 0.5, 3), (4, 0.5, 2)])
def test_the_last_rows_of_random_orders(n, fraction, left):
    rows = HeldOutRows("clml", fraction, n_orderings=50, seed=3)
    sets = rows.sets(n).numpy()
    assert sets.shape == (50, left) and (np.sort(sets, 1)[:, 1:] > np.sort(sets, 1)[:, :-1]).all()
    assert np.unique(sets).tolist() == list(range(n))
    np.testing.assert_array_equal(sets, rows.sets(n))
    assert not np.array_equal(sets, HeldOutRows("clml", fraction, n_orderings=50, seed=4).sets(n))


@pytest.mark.parametrize(
    ("n", "fraction", "said"),
    [
        (10, 0.9, "fraction=0.9 of 10 rows leaves 1 to predict from 9, and 2 are needed on either side"),
        (10, 0.01, "leaves 10 to predict from 0"),
        (3, 0.5, "leaves 1 to predict from 2"),
        (10, 1.0, "fraction must be between 0 and 1, got 1.0: 0.9 conditions on 90 % of the rows"),
        (10, float("nan"), "fraction must be between 0 and 1, got nan"),
    ],
)
def test_a_fraction_that_leaves_too_few_rows(n, fraction, said):
    with pytest.raises(InputError, match=said):
        HeldOutRows("clml", fraction).sets(n)


def test_a_row_that_alone_determines_the_mean_cannot_be_predicted():
    A, H = np.eye(3), np.c_[np.ones(3), [0.0, 0.0, 1.0]]
    precision = precision_of(*tensors(A, Y[:3], H))
    assert torch.isfinite(precision.conditional(torch.tensor([[0], [1]])).log_joint).all()
    with pytest.raises(NotPositiveDefiniteError, match=r"without rows \[2\] the others do not determine the"):
        precision.conditional(torch.arange(3)[:, None])


def test_a_matrix_that_is_no_covariance():
    y = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(NotPositiveDefiniteError):
        precision_of(-torch.eye(2, dtype=torch.float64), y, y[:, :0])


# as what training maximises -------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["learn", 0.04, "per row"])
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("objective", ["loo", "clml"])
def test_training_ends_where_the_objective_is_flat(objective, mean, noise):
    """The derivative in every hyperparameter by differences of the naive objective, prior included."""
    x = np.linspace(0.0, 6.0, 25)[:, None]
    y = np.sin(x[:, 0]) + 0.2 * RNG.standard_normal(25)
    noise = np.linspace(0.02, 0.06, 25) if noise == "per row" else noise
    model = GPRegressor("rbf", mean=mean, noise=noise, objective=objective, random_state=0).fit(x, y)
    data, theta = model.posterior_.data, model._objective(model._scales, model.posterior_.data).theta
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    sets = HeldOutRows(objective, seed=seed).sets(25).numpy()

    def value(point):
        logs = dict(zip(model.theta_names_, point, strict=True))
        k = dense.rbf(x, x, np.exp(logs["kernel.lengthscale"]), np.exp(logs["outputscale"]))
        variances = np.exp(logs["noise"]) if "noise" in logs else noise
        a, total = k + np.diag(np.broadcast_to(variances, 25)), 0.0
        H, outputs = data.basis.numpy(), data.y[:, 0].numpy()
        for rows in sets:
            old = np.setdiff1d(np.arange(25), rows)
            m, v = dense.posterior(
                a[np.ix_(old, old)],
                a[np.ix_(old, rows)],
                a[np.ix_(rows, rows)],
                outputs[old],
                H[old],
                H[rows],
            )
            total += dense.log_normal(outputs[rows], m, v)
        return total / sets.size * 25 + float(theta.log_priors(point[None])[0][0])

    steps = 1e-4 * np.eye(len(model.theta_))
    slopes = [(value(model.theta_ + step) - value(model.theta_ - step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-4)
    assert model.fit_report_.objective == pytest.approx(value(model.theta_), abs=1e-7)


def test_the_objectives_differ_where_the_prior_is_wrong():
    """Wide noise-free steps: the marginal likelihood and the held-out rows ask for other lengthscales."""
    x = np.linspace(0.0, 1.0, 40)[:, None]
    y = np.sign(np.sin(9.0 * x[:, 0]))
    found = [GPRegressor("rbf", objective=name).fit(x, y).kernel_.kernel.lengthscale.item() for name in
             ("lml", "loo", "clml")]  # fmt: skip
    assert len({round(value, 4) for value in found}) == 3


def test_more_rows_than_are_searched_at_once_start_on_subsets(monkeypatch):
    x = RNG.uniform(size=(700, 1))
    y = np.sin(9.0 * x[:, 0]) + 0.1 * RNG.standard_normal(700)
    whole = GPRegressor("rbf", objective="loo").fit(x, y)
    monkeypatch.setattr(fitting, "SEARCHED", 600)
    model = GPRegressor("rbf", objective="loo").fit(x, y)
    assert "next to nothing" in model.fit_report_.message
    np.testing.assert_allclose(model.theta_, whole.theta_, atol=0.05)
    assert model.fit_report_.objective == pytest.approx(whole.fit_report_.objective, abs=0.01)


@pytest.mark.parametrize("solver", ["cg", "ski", "toeplitz", "state_space", "kronecker"])
def test_held_out_objectives_need_a_factor(solver):
    with pytest.raises(
        InputError, match=f"objective='loo' is maximised with a factor, got solver='{solver}'"
    ):
        GPRegressor("matern32", objective="loo", solver=solver).fit(X, Y[:, 0])


@pytest.mark.parametrize("n", [4, 7, 14])
def test_of_few_rows_two_are_predicted(n):
    model = GPRegressor("rbf", objective="clml", noise=0.1).fit(
        X[:n] if n <= N else np.arange(n)[:, None], np.sin(np.arange(n))
    )
    assert np.isfinite(model.fit_report_.objective)
    with pytest.raises(InputError, match="of 3 rows leaves"):
        GPRegressor("rbf", objective="clml").fit(X[:3], Y[:3, 0])


def test_an_unknown_objective():
    with pytest.raises(InputError, match=r"objective must be one of .*'lml', 'clml', 'loo'.*got 'elbo'"):
        GPRegressor(objective="elbo").fit(X, Y[:, 0])


def test_the_evidence_needs_the_maximum_of_the_marginal_likelihood():
    model = GPRegressor("rbf", objective="clml").fit(np.arange(30.0)[:, None], np.sin(np.arange(30.0)))
    with pytest.raises(
        InputError, match="this model was fitted with objective='clml': fit with objective='lml'"
    ):
        model.log_evidence()
