"""Kernels of neural-tangents, as references for the tests: ``tests/neural_tangents.json``.

Run in an environment of its own, for neural-tangents needs an old JAX::

    python -m venv references
    references/bin/pip install jax==0.4.30 jaxlib==0.4.30 neural-tangents==0.6.5 "numpy<2" "scipy<1.13"
    references/bin/python benchmarks/neural_tangents_reference.py tests/neural_tangents.json
"""

import argparse
import json
import math
from pathlib import Path

import jax
import numpy as np
from neural_tangents import stax

X = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [-0.3, 0.8, 0.1]]
IMAGE = (2, 6, 5)  # channels, height, width
WEIGHTS, BIASES = [1.3, 2.0, 0.7], [0.2, 0.05, 0.4]
ACTIVATIONS = {
    "relu": stax.Relu(),
    "leaky_relu": stax.LeakyRelu(0.01),
    "abs": stax.Abs(),
    "sign": stax.Sign(),
    "erf": stax.Erf(),
    "gelu": stax.Gelu(),
    "sin": stax.Sin(),
    "cos": stax.Cos(),
    "gaussian": stax.Gaussian(1.0, -1.0),
}


def dense(i: int) -> tuple:
    return stax.Dense(1, W_std=math.sqrt(WEIGHTS[i]), b_std=math.sqrt(BIASES[i]))


def networks() -> dict[str, tuple]:
    found = {f"{name}-2": (dense(0), a, dense(1), a, dense(2)) for name, a in ACTIVATIONS.items()}
    relu = ACTIVATIONS["relu"]
    branches = stax.parallel(stax.Identity(), stax.serial(relu, dense(1)))
    found["residual"] = (dense(0), stax.FanOut(2), branches, stax.FanInSum(), relu, dense(2))
    found["norm"] = (dense(0), stax.LayerNorm(eps=0.0), relu, dense(1))
    product = stax.parallel(stax.serial(relu, dense(1)), dense(2))
    found["product"] = (dense(0), stax.FanOut(2), product, stax.FanInProd(), dense(0))
    return found


def convolution(i: int, size: int, stride: int = 1, padding: str = "VALID") -> tuple:
    steps = () if stride == 1 else (stride,)
    deviations = {"W_std": math.sqrt(WEIGHTS[i]), "b_std": math.sqrt(BIASES[i])}
    return stax.Conv(1, (size,) * 2, steps * 2 or None, padding, **deviations)


def image_networks() -> dict[str, tuple]:
    """Networks of images, which are named as in the tests."""
    relu, erf = ACTIVATIONS["relu"], ACTIVATIONS["erf"]
    branch = stax.parallel(stax.Identity(), stax.serial(relu, convolution(1, 3, 1, "SAME")))
    pool = stax.AvgPool((2, 2), (2, 2))
    return {
        "flat": (convolution(0, 3), relu, convolution(1, 2, 2), erf, stax.Flatten(), dense(2)),
        "pooled": (
            convolution(0, 3, 1, "SAME"),
            relu,
            convolution(1, 3, 2),
            relu,
            stax.GlobalAvgPool(),
            dense(2),
        ),
        "circular": (
            convolution(0, 3, 1, "CIRCULAR"),
            relu,
            pool,
            convolution(1, 2),
            erf,
            stax.Flatten(),
            dense(2),
        ),
        "residual": (
            *(convolution(0, 3, 1, "SAME"), stax.FanOut(2), branch, stax.FanInSum(), relu),
            *(stax.GlobalAvgPool(), dense(2)),
        ),
        "norm": (
            convolution(0, 2),
            stax.LayerNorm(eps=0.0),
            relu,
            convolution(1, 2),
            stax.GlobalAvgPool(),
            dense(2),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="of the file to be written")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    found = {}
    for name, layers in networks().items():
        kernel = stax.serial(*layers)[2](np.array(X), None, ("nngp", "ntk"))
        found[name] = {kind: np.asarray(getattr(kernel, kind)).tolist() for kind in ("nngp", "ntk")}
    images = np.random.default_rng(0).standard_normal((3, *IMAGE)).round(2)
    pictures = {}
    for name, layers in image_networks().items():
        kernel = stax.serial(*layers)[2](images.transpose(0, 2, 3, 1), None, ("nngp", "ntk"))
        pictures[name] = {kind: np.asarray(getattr(kernel, kind)).tolist() for kind in ("nngp", "ntk")}
    document = {
        "x": X,
        "images": images.reshape(3, -1).tolist(),
        "weight_variance": WEIGHTS,
        "bias_variance": BIASES,
        "kernels": found,
        "image_kernels": pictures,
    }
    options.path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
