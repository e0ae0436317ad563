"""Random features: the kernels they stand for, how fast they get there, how they move, and what has none."""

import numpy as np
import pytest
import torch
from cases import CASES

from nonparam.errors import InputError
from nonparam.kernels import RBF, Linear, Matern, Periodic, RationalQuadratic, WhiteNoise, covariance
from nonparam.kernels.grammar import parse
from nonparam.kernels.random_features import random_features, white_variance

WITHOUT = (
    *("polynomial", "wiener", "integrated_wiener", "changepoint", "wandering"),
    *("orthogonal", "additive", "invariant", "soft_invariant"),
)
COVERED = [case for case in CASES if not case.name.startswith(WITHOUT)]
EXACT = {"constant", "white", "linear", "linear_ard", "linear_centred", "dot_product", "cosine", "cosine_ard"}


def rows(columns: int, n: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3.0 * torch.rand(n, columns, generator=generator, dtype=torch.float64) - 0.5


def error(kernel, x, num, seed=0):
    """The root mean square error of the kernel matrix, white noise apart, relative to the variance."""
    phi = random_features(kernel, x, num, seed)(x)
    K = covariance(kernel, x).detach()
    difference = phi @ phi.mT + torch.diag(white_variance(kernel, x)) - K
    return float(difference.square().mean().sqrt() / torch.diagonal(K).mean())


@pytest.mark.parametrize("case", COVERED, ids=lambda case: case.name)
def test_features_have_the_kernel_for_inner_products(case):
    assert error(case.make(), rows(case.columns), 4096) < (1e-12 if case.name in EXACT else 0.01)


@pytest.mark.parametrize("case", [c for c in CASES if c not in COVERED], ids=lambda case: case.name)
def test_a_kernel_without_features_is_named(case):
    with pytest.raises(
        InputError,
        match=r"(poly|wiener|change|orthogonal|additive|invariant).*has no random features: .*sample_y",
    ):
        random_features(case.make(), rows(case.columns), 64, 0)


def test_a_kernel_of_gpytorch_has_none():
    import gpytorch

    with pytest.raises(InputError, match=r"RBFKernel.*has no random features"):
        random_features(gpytorch.kernels.RBFKernel(), rows(1), 64, 0)


@pytest.mark.parametrize(
    "kernel", [Matern([1.0] * 5, nu=0.5), RationalQuadratic([1.0] * 5, 0.7), Periodic([2.0] * 5, 1.0)]
)
def test_error_falls_faster_than_that_of_independent_frequencies(kernel):
    x = rows(5)
    few, many = (np.mean([error(kernel, x, num, seed) for seed in range(4)]) for num in (256, 16384))
    assert many < few / 8.0  # 64 times as many independent ones: an eighth
    assert few < np.sqrt(0.5 / 256)  # which are off by about (2F)^-1/2


def test_the_season_without_a_mean_has_no_feature_that_stays_constant():
    x = rows(3)
    for scale in (0.3, 1.0, 1e4):
        kernel = Periodic([1.2, 3.0, 0.7], scale, zero_mean=True)
        (block,) = random_features(kernel, x, 512, 1).blocks
        assert bool((block.frequencies != 0.0).any(1).all())
        assert error(kernel, x, 4096) < 0.01


def test_many_harmonics_of_a_short_lengthscale():
    assert error(Periodic(1.0, 1e-3), rows(1), 4096) < 0.01


def test_features_move_smoothly_with_the_hyperparameters():
    x = rows(2)
    kernel, moved = (RationalQuadratic([s, 2.0], a) * Matern(s) for s, a in ((1.0, 0.5), (1.001, 0.5005)))
    first, second = (random_features(k, x, 256, 3)(x) for k in (kernel, moved))
    assert 0.0 < float((first - second).abs().max()) < 0.05 * float(first.abs().max())
    other = random_features(kernel, x, 256, 4)(x)
    assert float((first - other).abs().max()) > float(first.abs().max())
    torch.testing.assert_close(first, random_features(kernel, x, 256, 3)(x), rtol=0.0, atol=0.0)


def test_far_from_zero_and_in_float32():
    x = rows(2)
    expected = random_features(RBF(0.5), x, 512, 0)(x)
    shifted = x + 2.0**20
    torch.testing.assert_close(
        random_features(RBF(0.5), shifted, 512, 0)(shifted), expected, rtol=0, atol=1e-8
    )
    single = random_features(RBF(0.5) + Linear(1.0, center=0.0), x.float(), 512, 0)(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single[:, :1024].double(), expected, rtol=0.0, atol=1e-5)


def test_white_noise_is_no_function():
    x = rows(1)
    assert random_features(WhiteNoise(0.3), x, 64, 0)(x).shape == (40, 0)
    kernel = parse("2.0 * (linear(0.5, center=0) + white(0.3)) * constant(3) + white(1.0)")
    np.testing.assert_allclose(white_variance(kernel, x), 2.8 * np.ones(40), rtol=1e-14)


def test_a_product_of_lines_is_right_on_average():
    x = rows(3)
    assert error(Linear(0.5, center=0.2) * Linear([1.0, 2.0, 0.5], center=0.0), x, 4096) < 0.05
    assert error(Linear(0.5, center=0.2) * Linear(2.0, center=0.0), x[:, :1], 2) < 1e-12


def test_more_columns_than_there_are_sequences():
    with pytest.raises(InputError, match="takes 30,000 numbers, and there are 21,201 Sobol sequences"):
        random_features(RBF(1.0), torch.zeros(1, 30_000), 8, 0)
