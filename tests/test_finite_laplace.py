"""Laplace's approximation: exact where the network is linear in its weights, and against dense algebra."""

import numpy as np
import pytest
import torch

from nonparam import BayesianLinearRegressor
from nonparam.errors import InsufficientMemoryError
from nonparam.kernels import InfiniteNetwork
from nonparam.networks import memory
from nonparam.networks.finite import FiniteNetwork
from nonparam.networks.finite_laplace import jacobian, network_laplace
from nonparam.networks.members import Members

GENERATOR = torch.Generator().manual_seed(0)
NEW = torch.randn(4, 3, generator=GENERATOR)


def linear(outputs=1):
    return Members([torch.nn.Linear(3, outputs) for _ in range(2)]).double()


def network(outputs):
    kernel = InfiniteNetwork("erf-1", center=0.0, spread=1.0)
    return Members([FiniteNetwork(kernel, 3, 4, outputs=outputs, seed=3)])


@pytest.mark.parametrize("n", [2, 20])  # fewer rows than weights, and more
def test_linear_network_is_the_bayesian_linear_model(n):
    x, noise, precision = torch.randn(n, 3, dtype=torch.float64, generator=GENERATOR), 0.3, 2.5
    roots = torch.full((n, 1, 1), noise**-0.5, dtype=torch.float64)
    found = network_laplace(linear(), 1, x, roots)
    variances = found.variances(linear(), NEW.double(), torch.tensor([precision, 1e3]))
    oracle = BayesianLinearRegressor(
        lambda rows: np.column_stack([rows, np.ones(len(rows))]),
        intercept=False,
        prior_variance=1.0 / precision,
        noise=noise,
    ).fit(x.numpy(), np.arange(float(n)))
    sd = oracle.predict(NEW.double().numpy(), return_std=True, include_noise=False)[1]
    np.testing.assert_allclose(variances[0, :, 0], sd**2, rtol=1e-6)
    assert bool((variances[1] < variances[0]).all())


@pytest.mark.parametrize("n", [2, 30])
@pytest.mark.parametrize("outputs", [1, 3])
def test_networks_against_dense_algebra(n, outputs):
    members = network(outputs)
    weights = members.flat()[0]
    x = torch.randn(n, 3, dtype=torch.float64, generator=GENERATOR)
    p = torch.softmax(torch.randn(n, outputs, dtype=torch.float64, generator=GENERATOR), -1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None] + 0.1 * torch.eye(outputs)
    slopes = jacobian(members, weights, x)
    precision = 0.7
    hessian = torch.einsum("nap,nab,nbq->pq", slopes, curvature, slopes) + precision * torch.eye(len(weights))
    new = jacobian(members, weights, NEW.double())
    expected = torch.einsum("nap,pq,naq->na", new, torch.linalg.inv(hessian), new)
    found = network_laplace(members, 0, x, torch.linalg.cholesky(curvature))
    variances = found.variances(members, NEW.double(), torch.tensor([precision], dtype=torch.float64))
    torch.testing.assert_close(variances[0], expected, rtol=1e-5, atol=1e-9)


def test_jacobian_is_that_of_autograd():
    members = network(2)
    weights = members.flat()[0]
    expected = torch.autograd.functional.jacobian(lambda flat: members.one(flat, NEW.double()), weights)
    torch.testing.assert_close(jacobian(members, weights, NEW.double()), expected)


def test_parts_of_the_rows_are_the_whole(monkeypatch):
    members, x = network(2), NEW.double()
    found = network_laplace(members, 0, x, torch.eye(2).double().expand(4, 2, 2))
    precisions = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    whole = found.variances(members, x, precisions)
    monkeypatch.setattr("nonparam.networks.finite_laplace.CHUNK", 1)
    torch.testing.assert_close(found.variances(members, x, precisions), whole)
    assert whole.shape == (3, 4, 2)


def test_rows_that_say_nothing_leave_the_prior():
    members, x = network(1), NEW.double()
    found = network_laplace(members, 0, x, torch.zeros(4, 1, 1, dtype=torch.float64))
    slopes = jacobian(members, members.flat()[0], x)
    variances = found.variances(members, x, torch.tensor([4.0], dtype=torch.float64))
    torch.testing.assert_close(variances[0], slopes.square().sum(-1) / 4.0)


def test_too_large_is_refused_with_an_estimate(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**4)
    message = r"Laplace's approximation of 21 weights from 400 outputs needs about .* kB.*average='swag'"
    with pytest.raises(InsufficientMemoryError, match=message):
        network_laplace(network(1), 0, torch.zeros(400, 3).double(), torch.ones(400, 1, 1).double())
