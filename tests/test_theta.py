"""Hyperparameters as a vector: batches of any size, one after the other."""

import numpy as np
import torch

from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.theta import Theta

X = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)[:, None]


def test_a_graph_that_is_still_alive_does_not_spoil_a_batch_of_another_size():
    """Something else, such as a profiler's hold of a frame, may keep the last evaluation's graph alive."""
    kernel = RBF(1.0).double()
    theta = Theta(kernel, {}, None)
    theta.assign(np.zeros((4, 1)))
    alive = covariance(kernel, X)
    theta.assign(np.log([[0.5], [1.0], [2.0]]))
    (found,) = torch.autograd.grad(covariance(kernel, X).sum(), theta.parameters)
    assert alive.grad_fn is not None
    for one, slope in zip((0.5, 1.0, 2.0), found.reshape(-1), strict=True):
        theta.assign(np.log([one]))
        (expected,) = torch.autograd.grad(covariance(kernel, X).sum(), theta.parameters)
        torch.testing.assert_close(slope, expected.squeeze())
