"""Fused products: the terms of a kernel, and the loops on a GPU by Triton's interpreter."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fused_cases import FUSED
from kernel_checks import assert_equal, rows
from torch import Tensor

from nonparam.kernels import RBF, Kernel, Linear, Matern, Periodic, RationalQuadratic, WhiteNoise, covariance
from nonparam.kernels.engine import tiles_for
from nonparam.kernels.fused import MOST_COLUMNS, FusedTiles, is_fusable
from nonparam.kernels.terms import Term, terms_of
from nonparam.kernels.tiles import Tiles

WORKER = Path(__file__).with_name("fused_worker.py")
HAS_TRITON = importlib.util.find_spec("triton") is not None
PROFILES = {
    "rbf": lambda r: torch.exp(-0.5 * r**2),
    "matern12": lambda r: torch.exp(-r),
    "matern32": lambda r: (1.0 + 3.0**0.5 * r) * torch.exp(-(3.0**0.5) * r),
    "matern52": lambda r: (1.0 + 5.0**0.5 * r + 5.0 * r**2 / 3.0) * torch.exp(-(5.0**0.5) * r),
}


def value(term: Term) -> Tensor:
    distance = (term.z[:, None] - term.z[None]).square().sum(-1).sqrt()
    return term.scale * PROFILES[term.profile](distance) * torch.cos(term.phase[:, None] - term.phase)


@pytest.mark.parametrize("make", FUSED.values(), ids=FUSED)
def test_a_kernel_is_the_sum_of_its_terms(make):
    kernel, x = make(), rows(30, 2)
    terms = terms_of(kernel, x)
    assert terms is not None and is_fusable(kernel, x)
    assert_equal(sum(value(term) for term in terms), covariance(kernel, x[:, :], x.clone()))


class Other(RBF):
    """A kernel of a user's, which says nothing of its profile."""


@pytest.mark.parametrize(
    "kernel",
    [
        Linear(1.0),
        RBF(1.0) + Linear(1.0),
        RationalQuadratic(1.0, 1.0),
        Periodic(1.0, 1.0, zero_mean=True),
        Matern(1.0, nu=1.5) * RBF(1.0),
        2.0 * Other(1.0),
        FUSED["spectral_mixture"]() * FUSED["spectral_mixture"](),
    ],
    ids=str,
)
def test_other_kernels_have_no_terms(kernel: Kernel):
    assert terms_of(kernel, rows(5, 2)) is None and not is_fusable(kernel, rows(5, 2))


def test_what_is_not_fused():
    many = MOST_COLUMNS + 1
    assert is_fusable(RBF(1.0), rows(5, many - 1)) and not is_fusable(RBF(1.0), rows(5, many))
    batch = RBF(1.0)
    batch.lengthscale = torch.ones(3, 1, 1)
    assert not is_fusable(batch, rows(5, 1))


class OnGPU(Tensor):
    """Rows that say that they are on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(
    ("installed", "dtype", "kernel", "keep", "expected"),
    [
        (True, torch.float32, RBF(1.0), False, FusedTiles),
        (False, torch.float32, RBF(1.0), False, Tiles),
        (True, torch.float64, RBF(1.0), False, Tiles),
        (True, torch.float32, Linear(1.0), False, Tiles),
        (True, torch.float32, RBF(1.0), True, Tiles),
    ],
)
def test_the_tiles_are_chosen_at_run_time(monkeypatch, installed, dtype, kernel, keep, expected):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    x = rows(5, 1).to(dtype).as_subclass(OnGPU)
    assert type(tiles_for(kernel, x, keep=keep)) is expected
    assert type(tiles_for(kernel, rows(5, 1).to(dtype), keep=keep)) is Tiles  # on a CPU


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory) -> dict[str, dict[str, float]]:
    path = tmp_path_factory.mktemp("triton") / "differences.json"
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-W", "ignore", str(WORKER), str(path)], env=environment, check=True)
    return json.loads(path.read_text())


@pytest.mark.skipif(not HAS_TRITON, reason="needs triton")
@pytest.mark.parametrize("name", FUSED)
def test_fused_products_and_gradients_are_those_of_tiles(interpreted, name: str):
    found = interpreted[name]
    assert found["product"] < 1e-6 and found["batch"] < 1e-6 and found["gradient"] < 1e-4


def test_white_noise_alone_has_no_terms():
    assert terms_of(WhiteNoise(1.0), rows(5, 2)) == []
