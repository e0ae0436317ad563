"""The conditional marginal likelihood against the density of new rows under the textbook's posterior."""

import dense
import numpy as np
import pytest
import torch

from nonparam.errors import InputError
from nonparam.model_selection import conditional_log_likelihood

RNG = np.random.default_rng(4)
N = 10
X = RNG.uniform(0.0, 5.0, (N, 1))
Y = np.c_[np.sin(X[:, 0]), 3.0 - X[:, 0] + 0.3 * RNG.standard_normal(N)]
A = dense.rbf(X, X, 0.8, 1.5) + 0.2 * np.eye(N)
ORDERS = np.stack([RNG.permutation(N) for _ in range(3)])


def tensors(*tables):
    return [torch.tensor(table) for table in tables]


@pytest.mark.parametrize("m", [2, 7, 9])
@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_it_is_the_joint_density_of_the_rows_that_were_not_seen(mean, m):
    H = dense.basis(mean, X)
    expected = []
    for order in ORDERS:
        old, new = order[:m], order[m:]
        for j in range(2):
            mean_new, covariance = dense.posterior(
                A[np.ix_(old, old)], A[np.ix_(old, new)], A[np.ix_(new, new)], Y[old, j], H[old], H[new]
            )
            expected.append(dense.log_normal(Y[new, j], mean_new, covariance))
    found = conditional_log_likelihood(*tensors(A, Y, H, ORDERS), m)
    assert found == pytest.approx(sum(expected) / len(ORDERS), abs=1e-8)


def test_without_a_mean_it_is_a_difference_of_marginal_likelihoods():
    order, nothing = np.arange(N), np.zeros((N, 0))
    found = conditional_log_likelihood(*tensors(A, Y[:, :1], nothing, order[None]), 6)
    whole = dense.log_normal(Y[:, 0], np.zeros(N), A)
    assert found == pytest.approx(whole - dense.log_normal(Y[:6, 0], np.zeros(6), A[:6, :6]), abs=1e-9)


def test_all_orders_of_two_rows_average():
    found = [
        conditional_log_likelihood(*tensors(A, Y, np.zeros((N, 0)), o), 4) for o in (ORDERS[:1], ORDERS[1:2])
    ]
    both = conditional_log_likelihood(*tensors(A, Y, np.zeros((N, 0)), ORDERS[:2]), 4)
    assert both == pytest.approx(sum(found) / 2.0)


@pytest.mark.parametrize("m", [1, N])
def test_too_few_or_too_many_rows_to_condition_on(m):
    with pytest.raises(
        InputError, match=f"m must be at least the 2 coefficients of the mean and below 10 rows, got {m}"
    ):
        conditional_log_likelihood(*tensors(A, Y, dense.basis("linear", X), ORDERS), m)
