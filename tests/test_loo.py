"""Leave-one-out densities in closed form against models that never saw the row."""

import dense
import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import NotPositiveDefiniteError
from nonparam.model_selection import leave_one_out

RNG = np.random.default_rng(3)
X = np.sort(RNG.uniform(0.0, 5.0, (9, 1)), 0)
Y = np.c_[np.sin(X[:, 0]), 2.0 + X[:, 0] + 0.3 * RNG.standard_normal(9)]


def covariance(x, z):
    return dense.rbf(x, z, 0.8, 1.5)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_each_row_given_all_others(mean):
    A, H = covariance(X, X) + 0.1 * np.eye(9), dense.basis(mean, X)
    found = leave_one_out(*(torch.tensor(table) for table in (A, Y, H)))
    for i in range(9):
        kept = np.arange(9) != i
        for j in range(2):
            m, v = dense.posterior(
                A[np.ix_(kept, kept)], A[kept][:, [i]], A[[i]][:, [i]], Y[kept, j], H[kept], H[[i]]
            )
            assert found[i, j].item() == pytest.approx(dense.log_normal(Y[[i], j], m, v), abs=1e-9)


def test_it_is_what_a_model_without_the_row_predicts():
    model = GPRegressor("rbf", noise=0.05).fit(X, Y[:, 1])
    data, kernel = model.posterior_.data, model.kernel_
    with torch.no_grad():
        a = kernel.matrix(data.x) + torch.diag(data.noise_variances(0.0))
    found = leave_one_out(a, data.y, data.basis)[4, 0].item()
    fixed = model.kernel_.__sklearn_clone__()
    fixed.set_params(fixed=("outputscale",), kernel__fixed=("lengthscale",))
    kept = np.arange(9) != 4
    other = GPRegressor(fixed, noise=0.05).fit(X[kept], Y[kept, 1])
    assert found == pytest.approx(other.log_predictive_density(X[[4]], Y[[4], 1]).item(), abs=1e-8)


def test_a_row_that_alone_fixes_the_mean_tells_nothing():
    A, H = np.eye(3), np.c_[np.ones(3), [0.0, 0.0, 1.0]]
    found = leave_one_out(*(torch.tensor(table) for table in (A, Y[:3], H)))
    assert (found[2] < -100.0).all() and torch.isfinite(found).all()


def test_a_matrix_that_is_no_covariance():
    y = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(NotPositiveDefiniteError):
        leave_one_out(-torch.eye(2, dtype=torch.float64), y, y[:, :0])
