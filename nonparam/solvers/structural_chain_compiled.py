"""The passes of `structural_chain`, compiled by Numba for the processor that they run on."""

from typing import Any

from numba import njit
from numba.extending import overload, register_jitable

from nonparam.solvers import structural_chain

__all__ = ["adjoint_pass", "filter_pass"]

FAST = {"reassoc", "contract", "nsz"}  # infinities and NaN keep their meaning
OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}


def _replace(step, loop):  # type: ignore[no-untyped-def]
    """Have Numba compile ``loop`` where compiled code calls ``step``."""
    overload(step, jit_options=OPTIONS, strict=False)(lambda *arguments: loop)  # type: ignore[arg-type]


for helper in structural_chain.HELPERS:
    register_jitable(**OPTIONS)(helper)
for step, loop in structural_chain.LOOPS.items():
    _replace(step, loop)

filter_pass = njit(cache=True, **OPTIONS)(structural_chain.filter_pass)
adjoint_pass = njit(cache=True, **OPTIONS)(structural_chain.adjoint_pass)
