"""Convolutions: kernels of neural-tangents, finite networks, loops by hand, and images that cannot be."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance, propagation, variance
from nonparam.kernels.activations import ACTIVATIONS
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import Apply, Dense, Flatten, LayerNorm, Product, Residual, Sequential
from nonparam.networks.finite import FiniteNetwork

PLAIN = {"center": 0.0, "spread": 1.0}
KINDS = ("nngp", "ntk")
RELU, ERF = Apply(ACTIVATIONS["relu"]), Apply(ACTIVATIONS["erf"])
REFERENCES = json.loads(Path(__file__).with_name("neural_tangents.json").read_text())
IMAGE = Unflatten(2, 6, 5)
ROWS = torch.tensor(REFERENCES["images"], dtype=torch.float64)
ARCHITECTURES = {
    "flat": Sequential(IMAGE, Conv2d(3), RELU, Conv2d(2, stride=2), ERF, Flatten(), Dense()),
    "pooled": Sequential(
        *(IMAGE, Conv2d(3, padding="same"), RELU, Conv2d(3, stride=2), RELU, GlobalAvgPool(), Dense())
    ),
    "circular": Sequential(
        *(IMAGE, Conv2d(3, padding="same", padding_mode="circular"), RELU, AvgPool(2), Conv2d(2), ERF),
        *(Flatten(), Dense()),
    ),
    "residual": Sequential(
        *(IMAGE, Conv2d(3, padding=1), Residual(Sequential(RELU, Conv2d(3, padding=1))), RELU),
        *(GlobalAvgPool(), Dense()),
    ),
    "norm": Sequential(IMAGE, Conv2d(2), LayerNorm(), RELU, Conv2d(2), GlobalAvgPool(), Dense()),
}


def network(name, kind="nngp", **options):
    settings = {
        "weight_variance": REFERENCES["weight_variance"],
        "bias_variance": REFERENCES["bias_variance"],
    }
    return InfiniteNetwork(ARCHITECTURES[name], kind, **{**settings, **PLAIN, **options})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kernels_are_those_of_neural_tangents(name, kind):
    """Version 0.6.5, on JAX 0.4.30; `benchmarks/neural_tangents_reference.py` wrote them."""
    expected = np.array(REFERENCES["image_kernels"][name][kind])
    k = network(name, kind)
    found = covariance(k, ROWS).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-9)  # its diagonals are rounded before the angle
    np.testing.assert_allclose(covariance(k, ROWS[1:], ROWS).detach(), expected[1:], rtol=1e-7)
    np.testing.assert_allclose(variance(k, ROWS).detach(), found.diagonal(), rtol=1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_of_images_make_up_the_matrix(name, monkeypatch):
    rng = np.random.default_rng(1)
    rows, others = (torch.from_numpy(rng.standard_normal((n, 60))) for n in (7, 4))
    k = network(name, "ntk")
    whole, across, own = covariance(k, rows), covariance(k, rows, others), variance(k, rows)
    slopes = torch.autograd.grad((whole**2).sum(), k.raw_weight_variance)[0]
    for size in (1, 3000):
        monkeypatch.setattr(propagation, "BLOCK", size)
        parts = covariance(k, rows)
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(covariance(k, rows, others), across, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(variance(k, rows), own, rtol=1e-12, atol=0.0)
        again = torch.autograd.grad((parts**2).sum(), k.raw_weight_variance)[0]
        torch.testing.assert_close(again, slopes, rtol=1e-10, atol=0.0)
        with torch.no_grad():
            torch.testing.assert_close(covariance(k, rows), whole.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_wide_networks_have_the_covariance_of_the_kernel(name, parameterization):
    k, draws = network(name, bias_variance=0.2), []
    for seed in range(10):
        finite = FiniteNetwork(k, 60, 128, outputs=300, parameterization=parameterization, seed=seed)
        with torch.no_grad():
            draws.append(finite(ROWS))
    y = torch.cat(draws, 1)
    expected = covariance(k, ROWS).detach()
    assert float((y @ y.T / y.shape[1] - expected).norm() / expected.norm()) < 0.08


def test_gradients_of_wide_networks_have_the_tangent_kernel():
    k, total = network("pooled", "ntk"), torch.zeros(3, 3, dtype=torch.float64)
    for seed in range(8):
        finite = FiniteNetwork(k, 60, 128, seed=seed)
        jacobian = torch.stack(
            [
                torch.cat(
                    [g.ravel() for g in torch.autograd.grad(y, [*finite.parameters()], retain_graph=True)]
                )
                for y in finite(ROWS)[:, 0]
            ]
        )
        total += jacobian @ jacobian.T / 8.0
    expected = covariance(k, ROWS).detach()
    assert float((total - expected).norm() / expected.norm()) < 0.06


def test_sequences_by_hand():
    """A window of three along seven places, then the mean: sums over places written out."""
    x = np.random.default_rng(2).standard_normal((2, 1, 7))
    w, b = (1.3, 0.8), (0.1, 0.2)
    sums = {}
    for i, j in ((0, 0), (0, 1), (1, 1)):
        entries = np.zeros((5, 5))
        for p in range(5):
            for q in range(5):
                products = [x[i, 0, p + s] * x[j, 0, q + s] for s in range(3)]
                entries[p, q] = w[0] * np.mean(products) + b[0]
        sums[i, j] = entries
    relu = ACTIVATIONS["relu"].moments
    c, left, right = (torch.from_numpy(sums[key]) for key in ((0, 1), (0, 0), (1, 1)))
    expected = w[1] * relu(c, left.diagonal()[:, None], right.diagonal()[None])[0].mean() + b[1]
    layers = Sequential(Unflatten(1, 7), Conv1d(3), RELU, GlobalAvgPool(), Dense())
    k = InfiniteNetwork(layers, weight_variance=w, bias_variance=b, **PLAIN)
    found = covariance(k, torch.from_numpy(x.reshape(2, 7))).detach()
    assert float(found[0, 1]) == pytest.approx(float(expected), rel=1e-12)


def test_means_over_all_places_do_not_see_shifts():
    """With circular convolutions; without the mean over places they do."""
    image = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 4)))
    rows = torch.stack([image.ravel(), image.roll((1, 2), (0, 1)).ravel()])
    convolution = Conv2d(3, padding="same", padding_mode="circular")
    for end, alike in ((GlobalAvgPool(), True), (Flatten(), False)):
        k = InfiniteNetwork(Sequential(Unflatten(1, 4, 4), convolution, RELU, end, Dense()), **PLAIN)
        matrix = covariance(k, rows).detach()
        assert (float(matrix[0, 1]) == pytest.approx(float(matrix[0, 0]), rel=1e-9)) is alike


def test_gradients_of_hyperparameters_are_those_of_differences():
    k = network("circular", "ntk")
    start = k.raw_weight_variance.detach().clone()

    def total(raw):
        k._parameters["raw_weight_variance"] = torch.nn.Parameter(raw)
        return covariance(k, ROWS).sum()

    total(start).backward()
    gradient = k.raw_weight_variance.grad
    for layer in range(3):
        step = torch.zeros_like(start)
        step[0, layer] = 1e-5
        slope = (total(start + step) - total(start - step)).item() / 2e-5
        assert gradient[0, layer].item() == pytest.approx(slope, rel=1e-6)


def test_a_regressor_learns_the_variances_of_images():
    rng = np.random.default_rng(4)
    images = 10.0 + 3.0 * rng.standard_normal((60, 25))
    images[:, 0] = 7.0  # a place that never changes
    square = images.reshape(60, 5, 5)
    y = (square[:, 1:, 1:] - square[:, :-1, :-1]).clip(0.0).mean((1, 2))
    layers = Sequential(Unflatten(1, 5, 5), Conv2d(2), RELU, GlobalAvgPool(), Dense())
    model = GPRegressor(InfiniteNetwork(layers)).fit(images[:40], y[:40])
    assert model.score(images[40:], y[40:]) > 0.9
    columns = GPRegressor("matern52").fit(images[:40], y[:40])
    assert columns.score(images[40:], y[40:]) < 0.7


REFUSED = [
    ((IMAGE, RELU, Flatten(), Dense()), "relu is applied to numbers that are not Gaussian"),
    ((IMAGE, Conv2d(3), RELU, ERF, Flatten(), Dense()), "erf is applied to numbers that are not Gaussian"),
    ((Dense(), Conv2d(3), Flatten(), Dense()), r"Conv2d takes images, such as .*, got columns"),
    ((IMAGE, Conv1d(3), Flatten(), Dense()), r"Conv1d takes sequences, .* got 2 dimensions"),
    ((IMAGE, Conv2d(3), RELU, Dense()), r"Dense\(\) takes columns, got an image with \(4, 3\) places"),
    ((IMAGE, Conv2d(3)), "ends with numbers that are no Gaussian process"),
    ((Dense(), RELU), "ends with numbers that are no Gaussian process"),
    ((IMAGE, Conv2d(7), Flatten(), Dense()), r"a window of 7 does not fit images with \(6, 5\) places"),
    ((IMAGE, Conv2d(3), AvgPool(4), Flatten(), Dense()), r"a window of 4 does not fit .* \(4, 3\) places"),
    ((Dense(), AvgPool(2), Dense()), r"AvgPool\(.*\) takes images, got columns"),
    ((Dense(), GlobalAvgPool(), Dense()), r"GlobalAvgPool\(\) takes images, got columns"),
    ((IMAGE, IMAGE, Conv2d(3), Flatten(), Dense()), r"takes columns, got an image with \(6, 5\) places"),
    ((Dense(), Unflatten(1, 1), Conv1d(1), Flatten(), Dense()), r"Unflatten\(1, 1\) must be the first layer"),
    (
        (IMAGE, Conv2d(5, padding=6, padding_mode="circular"), Flatten(), Dense()),
        "goes round images of .* more than once",
    ),
    (
        (IMAGE, Conv2d(3), Residual(Sequential(RELU, Conv2d(3))), RELU, Flatten(), Dense()),
        r"takes images with \(4, 3\) places to \(2, 1\)",
    ),
    (
        (IMAGE, Conv2d(3), Product(Sequential(Conv2d(1)), Sequential(Conv2d(2))), Flatten(), Dense()),
        r"end with images of \(4, 3\) and of \(3, 2\) places",
    ),
    (
        (Dense(), Product(Sequential(Dense()), Sequential(Dense())), RELU, Dense()),
        "relu is applied to numbers that are not Gaussian",
    ),
]


@pytest.mark.parametrize(("layers", "match"), REFUSED)
def test_layers_that_do_not_fit_are_refused(layers, match):
    with pytest.raises(InputError, match=match):
        InfiniteNetwork(Sequential(*layers))


def test_numbers_that_are_no_sizes_are_refused():
    for wrong in ((8,), (1, 8, 8, 8), (0, 8, 8), (1, 8.0, 8)):
        with pytest.raises(InputError, match="Unflatten takes channels, height and width"):
            Unflatten(*wrong)
    for layer in (Conv1d, Conv2d, AvgPool):
        with pytest.raises(InputError, match=r"kernel_size must be a whole number from 1"):
            layer(0)
        with pytest.raises(InputError, match=r"stride must be a whole number from 1"):
            layer(2, stride=-1)
    with pytest.raises(InputError, match="padding must be a whole number from 0, or 'same'"):
        Conv2d(3, padding="valid")
    with pytest.raises(InputError, match="padding='same' needs stride=1"):
        Conv2d(3, stride=2, padding="same")
    with pytest.raises(InputError, match=r"padding_mode must be one of \['zeros', 'circular'\]"):
        Conv2d(3, padding_mode="reflect")


def test_tables_that_are_no_images_are_refused():
    k = InfiniteNetwork(ARCHITECTURES["flat"])
    match = r"Unflatten\(2, 6, 5\) needs 60 columns, got 59"
    with pytest.raises(InputError, match=match):
        GPRegressor(k).fit(np.zeros((5, 59)) + np.arange(5.0)[:, None], np.arange(5.0))
    with pytest.raises(InputError, match=match):
        FiniteNetwork(network("flat"), 59, 4)
    assert math.prod(IMAGE.image) == 60
