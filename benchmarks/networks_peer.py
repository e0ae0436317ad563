"""neural-tangents, for `networks.py speed`: run by the Python of its own environment.

Reads lines ``CASE`` from standard input, and answers each with the seconds that both kernels took.
"""

import math
import sys
import time

import jax
import numpy as np
from networks_cases import BIAS, IMAGES, ROWS, WEIGHT, images, rows
from neural_tangents import stax

DEVIATIONS = {"W_std": math.sqrt(WEIGHT), "b_std": math.sqrt(BIAS)}


def dense() -> tuple:
    return stax.Dense(1, **DEVIATIONS)


def convolution() -> tuple:
    return stax.Conv(1, (3, 3), padding="SAME", **DEVIATIONS)


def main() -> None:
    relu = stax.Relu()
    columns = stax.serial(dense(), relu, dense(), relu, dense(), relu, dense())[2]
    pictures = stax.serial(convolution(), relu, convolution(), relu, stax.GlobalAvgPool(), dense())[2]
    small, large = jax.numpy.asarray(rows(ROWS)), jax.numpy.asarray(images(IMAGES).transpose(0, 2, 3, 1))
    cases = {
        "columns jitted": (jax.jit(lambda x: columns(x, None, ("nngp", "ntk"))), small),
        "columns": (lambda x: columns(x, None, ("nngp", "ntk")), small),
        "images jitted": (jax.jit(lambda x: pictures(x, None, ("nngp", "ntk"))), large),
    }
    for line in sys.stdin:
        function, x = cases[line.strip()]
        began = time.perf_counter()
        kernel = function(x)
        kernel.ntk.block_until_ready()
        seconds = time.perf_counter() - began
        corner = [float(np.asarray(each)[0, 1]) for each in (kernel.nngp, kernel.ntk)]
        print("answer", seconds, *corner, flush=True)


if __name__ == "__main__":
    main()
