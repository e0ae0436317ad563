"""Roots in brackets: against known ones, over jumps and flat stretches, and in few steps."""

import pytest
import torch
from scipy.special import ndtri

from nonparam.likelihoods.chandrupatla import rising_roots


def counted(function):
    calls = []

    def wrapped(x):
        calls.append(1)
        return function(x)

    return wrapped, calls


def test_quantiles_of_the_normal_distribution_in_few_steps():
    q = torch.tensor([1e-12, 0.01, 0.5, 0.999], dtype=torch.float64)
    function, calls = counted(lambda x: 0.5 * torch.erfc(-x / 2.0**0.5) - q)
    end = torch.full_like(q, 10.0)
    found = rising_roots(function, -end, end, torch.full_like(q, 1e-11))
    torch.testing.assert_close(found, torch.from_numpy(ndtri(q.numpy())), rtol=1e-10, atol=1e-10)
    assert len(calls) <= 25  # halves alone take 41


@pytest.mark.parametrize("jump", [-0.7, 0.0, 1.3])
def test_a_jump_is_found_from_above(jump):
    width = torch.full((1,), 1e-9, dtype=torch.float64)
    end = torch.full((1,), 5.0, dtype=torch.float64)
    found = rising_roots(lambda x: torch.where(x >= jump, 0.3, -0.1), -end, end, width)
    assert jump <= float(found) <= jump + 1e-9


def test_a_flat_stretch_and_an_end_do_not_stall_it():
    end = torch.full((3,), 4.0, dtype=torch.float64)
    function, calls = counted(lambda x: torch.clamp(x - torch.tensor([1.0, 3.999, -3.999]), min=-1e-3))
    found = rising_roots(function, -end, end, torch.full((3,), 1e-10, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([1.0, 3.999, -3.999]).double(), rtol=0.0, atol=2e-7)
    assert len(calls) < 60
