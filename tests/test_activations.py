"""Moments of activations: quadrature written out, identities, and gradients where arguments coincide."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from nonparam.errors import InputError
from nonparam.kernels.activations import (
    ACTIVATIONS,
    elementwise,
    exponential,
    gaussian,
    hermite,
    leaky_relu,
    polynomial,
    rectified_power,
    sinusoid,
)

HOMOGENEOUS = {  # f(t x) = t^p f(x) for t > 0, with its degree
    "relu": (ACTIVATIONS["relu"], 1),
    "leaky": (leaky_relu(0.2), 1),
    "abs": (ACTIVATIONS["abs"], 1),
    "sign": (ACTIVATIONS["sign"], 0),
    **{f"power {p}": (rectified_power(p), p) for p in range(4)},
}
SMOOTH = {
    **{name: ACTIVATIONS[name] for name in ("erf", "gelu", "sin", "cos", "exp", "gaussian")},
    **{name: ACTIVATIONS[name] for name in ("sigmoid", "silu", "softplus", "tanh")},
    "wave": sinusoid(1.5, 0.4),
    "decay": exponential(-0.5),
    "bump": gaussian(0.3),
    "cubic": polynomial([0.3, -1.0, 0.5, 0.2]),
    "constant": polynomial([2.0]),
    "user": elementwise(lambda x: torch.sin(x) / (1.0 + x**2)),
}
EVERY = {**{name: pair[0] for name, pair in HOMOGENEOUS.items()}, **SMOOTH}
PLACES = [(0.5, 1.0, 1.0), (-0.3, 0.7, 1.2), (-0.9, 1.0, 1.0), (0.0, 0.5, 2.0), (0.84, 0.7, 1.2)]


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def slope(function, x):
    x = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(function(x).sum(), x, allow_unused=True)
    return torch.zeros_like(x) if found is None else found.detach()


def on_the_circle(function, degree, c, q1, q2):
    """``E f(u) f(v)`` of a homogeneous function: the radius in closed form, the angle by quadrature."""
    angle = math.acos(max(-1.0, min(1.0, c / math.sqrt(q1 * q2))))
    quarter = 0.5 * math.pi
    kinks = sorted((at + turn) % (2.0 * math.pi) for at in (quarter, 3.0 * quarter) for turn in (0.0, angle))

    def around(t):
        u, v = torch.tensor([math.cos(t), math.cos(t - angle)], dtype=torch.float64)
        return float(function(u) * function(v))

    ends = [0.0, *kinks, 2.0 * math.pi]
    pieces = pairwise(ends)
    total = sum(quad(around, low, high, epsabs=1e-13)[0] for low, high in pieces)
    radius = 2.0**degree * math.gamma(1.0 + degree)  # E R^(2 p)
    return (q1 * q2) ** (0.5 * degree) * radius * total / (2.0 * math.pi)


def on_a_grid(function, c, q1, q2, nodes=300):
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    rho = c / math.sqrt(q1 * q2)
    u, v = np.broadcast_arrays(
        math.sqrt(q1) * z[:, None], math.sqrt(q2) * (rho * z[:, None] + math.sqrt(max(1.0 - rho**2, 0.0)) * z)
    )
    weights = w[:, None] * w / w.sum() ** 2
    left, right = (function(torch.from_numpy(each.copy())).numpy() for each in (u, v))
    return float((weights * left * right).sum())


def on_an_even_grid(function, c, q1, q2, steps=3000):
    """The trapezoidal rule, for functions with a kink: nine deviations to either side."""
    z, rho = np.linspace(-9.0, 9.0, steps + 1), c / math.sqrt(q1 * q2)
    w = np.exp(-0.5 * z**2)
    left = function(torch.from_numpy(math.sqrt(q1) * z)).numpy()
    v = math.sqrt(q2) * (rho * z[:, None] + math.sqrt(1.0 - rho**2) * z)
    right = function(torch.from_numpy(v)).numpy()
    return float((w * left) @ right @ w / w.sum() ** 2)


@pytest.mark.parametrize("place", PLACES)
def test_elu_by_an_even_grid(place):
    values, slopes = ACTIVATIONS["elu"].moments(*tensors(*place))
    function = ACTIVATIONS["elu"].function
    assert float(values) == pytest.approx(on_an_even_grid(function, *place), abs=1e-6)
    assert float(slopes) == pytest.approx(on_an_even_grid(partial(slope, function), *place), abs=1e-5)


def test_hermite_polynomials_have_powers_of_the_correlation():
    one, c = tensors(1.0, 0.7)
    for degree in (0, 1, 5, 12):
        values, slopes = hermite(degree).moments(c, one, one)
        assert float(values) == pytest.approx(0.7**degree, rel=1e-9)
        assert float(slopes) == pytest.approx(degree * 0.7 ** max(degree - 1, 0), rel=1e-9)
    for wrong in (-1, 21, True, 2.0):
        with pytest.raises(InputError, match="degree must be a whole number from 0 to 20"):
            hermite(wrong)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_kinked_functions_by_quadrature_of_the_angle(name, place):
    activation, degree = HOMOGENEOUS[name]
    values, slopes = activation.moments(*tensors(*place))
    assert float(values) == pytest.approx(on_the_circle(activation.function, degree, *place), abs=1e-10)
    if degree > 0:
        expected = on_the_circle(partial(slope, activation.function), degree - 1, *place)
        assert float(slopes) == pytest.approx(expected, abs=1e-10)
    else:
        assert float(slopes) == 0.0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_by_quadrature_in_the_plane(name, place):
    activation = SMOOTH[name]
    values, slopes = activation.moments(*tensors(*place))
    tolerance = 1e-6 if name == "user" else 1e-9  # poles at +-i: expansions converge slowly
    assert float(values) == pytest.approx(on_a_grid(activation.function, *place), abs=tolerance)
    derivative = on_a_grid(lambda x: slope(activation.function, x), *place)
    assert float(slopes) == pytest.approx(derivative, abs=100.0 * tolerance if name == "user" else 1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_the_second_moment_is_the_slope_of_the_first(name):
    """Price's theorem."""
    for place in PLACES[:4]:
        c, q1, q2 = tensors(*place)
        c.requires_grad_(True)
        values, slopes = EVERY[name].moments(c, q1, q2)
        found = torch.autograd.grad(values, c, allow_unused=True)[0] if values.requires_grad else None
        if name in ("sign", "power 0"):  # their derivative is a point mass
            continue
        assert slopes.item() == pytest.approx(0.0 if found is None else found.item(), abs=1e-7)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("q", [0.0, 1e-12, 0.3, 1.0, 2.5])
def test_gradients_are_finite_where_arguments_coincide(name, q):
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    q = scale * q
    for moment in EVERY[name].moments(q, q, q):
        assert torch.isfinite(moment)
        if moment.requires_grad:
            (gradient,) = torch.autograd.grad(moment, scale, retain_graph=True)
            assert torch.isfinite(gradient)


def by_halves(function, q):
    """The mean of a square by SciPy's adaptive quadrature, on either side of 0 and scale by scale."""

    def density(z):
        at = torch.tensor([math.sqrt(q) * z], dtype=torch.float64)
        return float(function(at)) ** 2 * math.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)

    ends = [-12.0, -3.0, -0.5, -0.05, -0.005, 0.0, 0.005, 0.05, 0.5, 3.0, 12.0]
    return sum(quad(density, *pair, limit=200, epsabs=1e-13, epsrel=1e-11)[0] for pair in pairwise(ends))


@pytest.mark.parametrize("q", [1e-4, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("name", EVERY)
def test_variances_are_exact(name, q):
    values, slopes = EVERY[name].moments(*tensors(q, q, q))
    assert float(values) == pytest.approx(by_halves(EVERY[name].function, q), rel=1e-8)
    if name not in ("sign", "step"):
        derivative = partial(slope, EVERY[name].function)
        assert float(slopes) == pytest.approx(by_halves(derivative, q), rel=1e-8)


@pytest.mark.parametrize("q", [30.0, 1e3, 1e6])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu", "softplus", "elu", "user"])
def test_variances_of_rows_far_away_are_exact(name, q):
    """There a function is nearly a step, or its slope nearly a spike."""
    one = ACTIVATIONS.get(name, EVERY["user"])
    values, slopes = one.moments(*tensors(q, q, q))
    assert float(values) == pytest.approx(by_halves(one.function, q), rel=1e-6)
    assert float(slopes) == pytest.approx(by_halves(partial(slope, one.function), q), rel=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_matrices_are_positive_semidefinite(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3))
    x[15:20] = x[:5]  # rows that occur twice
    c = torch.from_numpy(x @ x.T / 3.0)
    q = torch.diagonal(c)
    for moment in EVERY[name].moments(c, q[:, None], q[None]):
        values = torch.linalg.eigvalsh(moment.expand(30, 30))
        assert values[0] > -1e-7 * max(1.0, float(values[-1]))
        torch.testing.assert_close(moment.expand(30, 30), moment.expand(30, 30).mT, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_those_of_differences(name):
    place = [value.requires_grad_(True) for value in tensors(0.4, 0.8, 1.3)]
    assert torch.autograd.gradcheck(lambda *p: EVERY[name].moments(*p)[0] + 0.0 * p[0], place, atol=1e-6)
    assert torch.autograd.gradcheck(lambda *p: EVERY[name].moments(*p)[1] + 0.0 * p[0], place, atol=1e-6)


def test_activations_that_cannot_be_are_refused():
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(InputError, match="the activation is not finite where the network needs it"):
        elementwise(torch.log).moments(one, one, one)
    with pytest.raises(InputError, match="power must be a whole number from 0 to 3, got 4"):
        rectified_power(4)
    with pytest.raises(InputError, match="rate must be positive, got -1"):
        gaussian(-1.0)
    for wrong in ([], [float("nan")]):
        with pytest.raises(InputError, match="coefficients must be finite numbers, at least one"):
            polynomial(wrong)
