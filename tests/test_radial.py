"""Profiles of the squared distance, the distance itself, and the gradient without an n x n x d tensor."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nonparam.kernels.radial import (
    Exponential,
    Identity,
    Matern32Profile,
    Matern52Profile,
    Profile,
    SquaredExponential,
    centre_of,
    radial,
    squared_distance,
)

TEXTBOOK: list[tuple[Profile, Callable[[Tensor], Tensor]]] = [
    (Identity(), lambda r: r**2),
    (SquaredExponential(), lambda r: torch.exp(-0.5 * r**2)),
    (Exponential(), lambda r: torch.exp(-r)),
    (Matern32Profile(), lambda r: (1 + math.sqrt(3) * r) * torch.exp(-math.sqrt(3) * r)),
    (Matern52Profile(), lambda r: (1 + math.sqrt(5) * r + 5 * r**2 / 3) * torch.exp(-math.sqrt(5) * r)),
]
profiles = pytest.mark.parametrize(("profile", "textbook"), TEXTBOOK, ids=lambda value: type(value).__name__)
SHAPES = [
    (3, 3, 1),
    (7, 5, 3),
    (7, 5, 4),
    (6, 9, 16),
]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def distance_by_loops(x1: Tensor, x2: Tensor) -> Tensor:
    return torch.tensor(
        [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in x2.tolist()] for p in x1.tolist()],
        dtype=torch.float64,
    )


# profiles ------------------------------------------------------------------------------------


@profiles
def test_profile_and_slope(profile: Profile, textbook: Callable[[Tensor], Tensor]):
    r2 = torch.tensor([1e-12, 1e-3, 0.3, 1.0, 7.0, 500.0], dtype=torch.float64, requires_grad=True)
    expected = textbook(r2.sqrt())
    (slope,) = torch.autograd.grad(expected.sum(), r2)
    value, derivative = profile.evaluate(profile.stretch * r2.detach())
    torch.testing.assert_close(value, expected.detach(), rtol=1e-13, atol=1e-300)
    per_r2 = (profile.stretch * profile.factor * derivative).expand(6)
    torch.testing.assert_close(per_r2, slope, rtol=1e-8, atol=1e-300)
    (direct,) = torch.autograd.grad(profile.of(r2).sum(), r2)
    torch.testing.assert_close(profile.of(r2.detach()), expected.detach(), rtol=1e-13, atol=1e-300)
    torch.testing.assert_close(direct, slope, rtol=1e-8, atol=1e-300)


@profiles
def test_profile_at_zero_and_far_away(profile: Profile, textbook: Callable[[Tensor], Tensor]):
    value, slope = profile.evaluate(torch.tensor([0.0, 1e12], dtype=torch.float64))
    assert value[0] == (0.0 if isinstance(profile, Identity) else 1.0)
    assert value.isfinite().all() and slope.isfinite().all()


# distances -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_squared_distance_equals_the_loops(n: int, m: int, d: int):
    x1, x2 = rows(n, d), rows(m, d, seed=1)
    torch.testing.assert_close(squared_distance(x1, x2), distance_by_loops(x1, x2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("d", [1, 3, 4, 16])
def test_squared_distance_is_zero_at_twins_and_never_negative(d: int):
    x = rows(40, d)
    x = torch.cat([x, x + 1e-9, x])
    r2 = squared_distance(x, x)
    assert (r2 >= 0.0).all()
    assert (r2[:40, 80:].diagonal() == 0.0).all() and (r2.diagonal() == 0.0).all()
    near = distance_by_loops(x[:40], x[40:80]).diagonal()
    torch.testing.assert_close(r2[:40, 40:80].diagonal(), near, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("d", [2, 6])
def test_squared_distance_broadcasts_over_batches(d: int):
    x1, x2 = rows(3, 5, d), rows(4, d, seed=1)
    x2[0] = x1[1, 2]
    expected = torch.stack([distance_by_loops(part, x2) for part in x1])
    torch.testing.assert_close(squared_distance(x1, x2), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(squared_distance(x2, x1), expected.mT, rtol=1e-13, atol=1e-13)
    assert squared_distance(x1, x2)[1, 2, 0] == 0.0


@pytest.mark.parametrize("d", [2, 6])
@pytest.mark.parametrize("own", [0, 4])
def test_squared_distance_of_rows_that_are_among_the_others(own: int, d: int):
    x = rows(9, d)
    r2 = squared_distance(x[own : own + 5], x, own=own)
    torch.testing.assert_close(r2, distance_by_loops(x[own : own + 5], x), rtol=1e-13, atol=1e-13)


def test_inputs_are_left_alone():
    x1, x2 = rows(5, 6), rows(4, 6, seed=1)
    copies = x1.clone(), x2.clone()
    for profile, _ in TEXTBOOK:
        radial(x1, x2, profile)
        radial(x1, None, profile)
    assert torch.equal(x1, copies[0]) and torch.equal(x2, copies[1])


# the matrix and its gradient -----------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
@profiles
def test_gradient(profile: Profile, textbook: Callable[[Tensor], Tensor], n: int, m: int, d: int, batch):
    n, m = min(n, 4), min(m, 3)
    x1 = rows(*batch, n, d).requires_grad_()
    x2 = rows(m, d, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x1: radial(x1, None, profile), (x1,))
    assert torch.autograd.gradcheck(lambda x1, x2: radial(x1, x2, profile), (x1, x2))
    assert torch.autograd.gradcheck(lambda x2: radial(x1.detach(), x2, profile), (x2,))
    assert torch.autograd.gradcheck(lambda x1: radial(x1, x2.detach(), profile), (x1,))


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("d", [1, 2, 5])
@profiles
def test_gradient_in_the_lengthscale(profile: Profile, textbook: Callable[[Tensor], Tensor], d: int, batch):
    x1, x2 = rows(4, d) + 3.0, rows(3, d, seed=1) + 3.0
    each = (0.5 + rows(*batch, 1, d, seed=2).square()).requires_grad_()
    shared = (0.5 + rows(*batch, 1, 1, seed=2).square()).requires_grad_()
    for lengthscale in (each, shared):
        expected = textbook(((x1[:, None] - x2) / lengthscale.unsqueeze(-2)).norm(dim=-1))
        torch.testing.assert_close(radial(x1, x2, profile, lengthscale), expected, rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(lambda ls: radial(x1, x2, profile, ls), (lengthscale,))
        assert torch.autograd.gradcheck(lambda ls: radial(x1, None, profile, ls), (lengthscale,))


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("d", [1, 5])
@pytest.mark.parametrize(("profile", "textbook"), TEXTBOOK[1:], ids=lambda value: type(value).__name__)
def test_gradient_in_the_lengthscale_beside_a_far_row(
    profile: Profile, textbook: Callable[[Tensor], Tensor], d: int, place: int
):
    x = rows(5, d)
    x[place] += 1e3
    lengthscale = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    apart = ~torch.eye(5, dtype=torch.bool)
    expected = textbook(((x[:, None] - x)[apart] / lengthscale).norm(dim=-1))
    (slope,) = torch.autograd.grad(radial(x, None, profile, lengthscale).sum(), lengthscale)
    torch.testing.assert_close(
        slope, torch.autograd.grad(expected.sum(), lengthscale)[0], rtol=1e-8, atol=0.0
    )


@pytest.mark.parametrize("d", [2, 5])
@profiles
def test_many_rows(profile: Profile, textbook: Callable[[Tensor], Tensor], d: int):
    x = rows(600, d)
    x[-5:] = x[:5]
    x = x.requires_grad_()
    r = (x.detach()[:, None] - x.detach()).norm(dim=-1)
    matrix, cross, copied = radial(x, None, profile), radial(x, x, profile), radial(x, x.clone(), profile)
    for actual in (matrix, cross, copied):
        torch.testing.assert_close(actual.detach(), textbook(r), rtol=1e-12, atol=1e-12)
        assert torch.equal(actual.diagonal(), textbook(torch.zeros(600, dtype=torch.float64)))
    weights = rows(600, 600, seed=2)
    slopes = [torch.autograd.grad((k * weights).sum(), x)[0] for k in (matrix, cross, copied)]
    torch.testing.assert_close(slopes[0], slopes[2], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slopes[1], slopes[2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("d", [1, 2, 6])
def test_parts_of_the_same_memory(d: int):
    x = rows(3, 9, d)
    for profile, _ in TEXTBOOK:
        for first, second in [
            (x[0], x[0, :4]),
            (x[0, :4], x[0]),
            (x[0, 2:5], x[0, 2:]),
            (x[0, 2:5], x[0, 3:]),
            (x[:, :4], x),
            (x, x[:, :4]),
            (x[:, 2:5], x[:, 2:]),
            (x[:2], x[:2, :1]),
            (x[0, ::2], x[0, ::2]),
            (x[0, ::2], x[0]),
        ]:
            expected = radial(first.clone(), second.clone(), profile)
            torch.testing.assert_close(radial(first, second, profile), expected, rtol=1e-13, atol=1e-13)


@profiles
def test_single_precision_stays_single(profile: Profile, textbook: Callable[[Tensor], Tensor]):
    x = rows(6, 5)
    single = radial(x.float(), None, profile)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), radial(x, None, profile), rtol=1e-5, atol=1e-5)


def test_second_derivative_is_refused_not_wrong():
    x = rows(3, 2).requires_grad_()
    (slope,) = torch.autograd.grad(radial(x, None, SquaredExponential()).sum() ** 2, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_centre_is_within_the_range_of_each_column():
    x = rows(2, 5, 3).requires_grad_()
    centre = centre_of(x)
    assert centre.shape == (2, 1, 3) and not centre.requires_grad
    assert (centre >= x.amin(-2, keepdim=True)).all() and (centre <= x.amax(-2, keepdim=True)).all()
