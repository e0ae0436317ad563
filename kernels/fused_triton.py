"""The two loops of `nonparam.kernels.fused` in Triton: one program has some rows, and meets all columns.

Distances are sums of squared differences, exact for coincident rows; products are in full float32 (no tf32),
what they add up to in float64. Without Triton the module can be imported, and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # an optional dependency: without it the tiles of torch are used
    triton = None

__all__ = ["product", "slopes"]

ROWS, COLUMNS, LEAST = 64, 64, 16  # of a block; a product of blocks has at least 16 rows and columns
MOST_VECTORS = 64  # of a block: entries are evaluated again for more


def _jit(function: Callable[..., Any]) -> Any:
    return function if triton is None else triton.jit(function)


@_jit
def _profile(r2, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return a profile of the squared distance, and its derivative."""
    if KIND == "rbf":
        value = tl.exp(-0.5 * r2)
        slope = -0.5 * value
    elif KIND == "matern12":
        r = tl.sqrt(r2)
        value = tl.exp(-r)
        slope = tl.where(r2 > 0.0, -0.5 * value / tl.where(r2 > 0.0, r, 1.0), 0.0)
    elif KIND == "matern32":
        s = tl.sqrt(3.0 * r2)
        decay = tl.exp(-s)
        value = (1.0 + s) * decay
        slope = -1.5 * decay
    else:
        s = tl.sqrt(5.0 * r2)
        decay = tl.exp(-s)
        value = (1.0 + s + s * s / 3.0) * decay
        slope = -(5.0 / 6.0) * (1.0 + s) * decay
    return value, slope


@_jit
def _distance(z1, z2, row, column, m, n, width, B1: tl.constexpr, B2: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return squared distances of a block; mapped rows are stored column by column."""
    r2 = tl.zeros((B1, B2), tl.float32)
    for c in range(width):
        left = tl.load(z1 + c * m + row, mask=row < m, other=0.0)
        right = tl.load(z2 + c * n + column, mask=column < n, other=0.0)
        difference = left[:, None] - right[None, :]
        r2 += difference * difference
    return r2


@_jit
def _turn(p1, p2, row, column, m, n):  # type: ignore[no-untyped-def]
    """Return differences of phases."""
    left = tl.load(p1 + row, mask=row < m, other=0.0)
    return left[:, None] - tl.load(p2 + column, mask=column < n, other=0.0)[None, :]


@_jit
def _product(  # type: ignore[no-untyped-def]
    z1,
    z2,
    p1,
    p2,
    v,
    out,
    m,
    n,
    k,
    width,
    KIND: tl.constexpr,
    TURNS: tl.constexpr,
    B1: tl.constexpr,
    B2: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * B1 + tl.arange(0, B1)
    vector = tl.program_id(1) * BK + tl.arange(0, BK)
    total = tl.zeros((B1, BK), tl.float64)
    for start in range(0, n, B2):
        column = start + tl.arange(0, B2)
        value, _ = _profile(_distance(z1, z2, row, column, m, n, width, B1, B2), KIND)
        if TURNS:
            value = value * tl.cos(_turn(p1, p2, row, column, m, n))
        at = column.to(tl.int64)[:, None] * k + vector[None, :]
        piece = tl.load(v + at, mask=(column < n)[:, None] & (vector < k)[None, :], other=0.0)
        total += tl.dot(value, piece, input_precision="ieee").to(tl.float64)
    at = row.to(tl.int64)[:, None] * k + vector[None, :]
    tl.store(out + at, total, mask=(row < m)[:, None] & (vector < k)[None, :])


@_jit
def _slopes(  # type: ignore[no-untyped-def]
    z1,
    z2,
    p1,
    p2,
    mine,
    tall,
    wide,
    values,
    pulled,
    turned,
    m,
    n,
    s,
    width,
    KIND: tl.constexpr,
    TURNS: tl.constexpr,
    B1: tl.constexpr,
    B2: tl.constexpr,
    BS: tl.constexpr,
    BC: tl.constexpr,
):
    row = tl.program_id(0) * B1 + tl.arange(0, B1)
    number = tl.load(mine + row, mask=row < m, other=-1)
    part, feature = tl.arange(0, BS), tl.arange(0, BC)
    weighted = tl.zeros((B1, BC), tl.float64)
    sums, value_sums, turn_sums = (
        tl.zeros((B1,), tl.float64),
        tl.zeros((B1,), tl.float64),
        tl.zeros((B1,), tl.float64),
    )
    for start in range(0, n, B2):
        column = start + tl.arange(0, B2)
        weight = tl.zeros((B1, B2), tl.float32)
        for first in range(0, s, BS):
            some = first + part
            at = row.to(tl.int64)[:, None] * s + some[None, :]
            left = tl.load(tall + at, mask=(row < m)[:, None] & (some < s)[None, :], other=0.0)
            at = column.to(tl.int64)[None, :] * s + some[:, None]
            right = tl.load(wide + at, mask=(column < n)[None, :] & (some < s)[:, None], other=0.0)
            weight += tl.dot(left, right, input_precision="ieee")
        weight = tl.where(number[:, None] == column[None, :], 0.0, weight)
        value, slope = _profile(_distance(z1, z2, row, column, m, n, width, B1, B2), KIND)
        if TURNS:
            turn = _turn(p1, p2, row, column, m, n)
            turn_sums -= tl.sum(weight * value * tl.sin(turn), 1).to(tl.float64)
            value, slope = value * tl.cos(turn), slope * tl.cos(turn)
        value_sums += tl.sum(weight * value, 1).to(tl.float64)
        slope = weight * slope
        sums += tl.sum(slope, 1).to(tl.float64)
        at = feature[None, :] * n + column[:, None]
        points = tl.load(z2 + at, mask=(column < n)[:, None] & (feature < width)[None, :], other=0.0)
        weighted += tl.dot(slope, points, input_precision="ieee").to(tl.float64)
    tl.store(values + row, value_sums, mask=row < m)
    tl.store(turned + row, turn_sums, mask=row < m)
    inside = (row < m)[:, None] & (feature < width)[None, :]
    own = tl.load(z1 + feature[None, :] * m + row[:, None], mask=inside, other=0.0)
    tl.store(
        pulled + row.to(tl.int64)[:, None] * width + feature[None, :],
        2.0 * (sums[:, None] * own.to(tl.float64) - weighted),
        mask=inside,
    )


Mapped = tuple[Tensor, Tensor]


def product(kind: str, turns: bool, some: Mapped, others: Mapped, v: Tensor) -> Tensor:
    """Return a term between some rows and others, times vectors.

    Args:
        kind: the profile.
        turns: whether there is a cosine.
        some: mapped rows and phases, ``(m, c)`` and ``(m,)``.
        others: ``(n, c)`` and ``(n,)``.
        v: ``(n, k)``.

    Returns:
        ``(m, k)`` in float64, without the term's scale.
    """
    (z1, p1), (z2, p2) = some, others
    (m, width), (n, k) = z1.shape, v.shape
    out = torch.zeros(m, k, dtype=torch.float64, device=v.device)
    block = min(MOST_VECTORS, _power_of_two(k))
    if m == 0:  # a grid without programs cannot be launched
        return out
    with _on(v.device):
        _product[(triton.cdiv(m, ROWS), triton.cdiv(k, block))](
            *(z1.mT.contiguous(), z2.mT.contiguous(), p1.contiguous(), p2.contiguous(), v.contiguous(), out),
            *(m, n, k, width, kind, turns, ROWS, COLUMNS, block),
        )
    return out


def slopes(
    kind: str,
    turns: bool,
    some: Mapped,
    others: Mapped,
    mine: Tensor,
    tall: Tensor,
    wide: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return derivatives of :math:`\tfrac12 \sum_{ij} W_{ij} k_{ij}`, :math:`i \ne j`, :math:`W = T R^\top`.

    Args:
        kind: the profile.
        turns: whether there is a cosine.
        some: mapped rows and phases of the rows ``mine``, ``(m, c)`` and ``(m,)``.
        others: those of all rows.
        mine: ``(m,)``, numbers of rows.
        tall: ``T``, ``(m, s)``.
        wide: ``R``, ``(n, s)``.

    Returns:
        Its terms of each row ``(m,)``, and its derivatives in mapped rows ``(m, c)`` and phases ``(m,)``, of
        both places where each counts: all in float64, without the term's scale.
    """
    (z1, p1), (z2, p2) = some, others
    (m, width), (n, s) = z1.shape, wide.shape
    values, turned = wide.new_zeros(2, m, dtype=torch.float64)
    pulled = wide.new_zeros(m, width, dtype=torch.float64)
    if m == 0:
        return values, pulled, turned
    with _on(wide.device):
        _slopes[(triton.cdiv(m, ROWS),)](
            *(z1.mT.contiguous(), z2.mT.contiguous(), p1.contiguous(), p2.contiguous()),
            *(mine, tall.contiguous(), wide.contiguous(), values, pulled, turned),
            *(m, n, s, width, kind, turns, ROWS, COLUMNS, LEAST, _power_of_two(width)),
        )
    return 0.5 * values, pulled, turned


def _power_of_two(count: int) -> int:
    return int(max(LEAST, triton.next_power_of_2(count)))


def _on(device: torch.device) -> torch.cuda.device:
    """Launch on this device: Triton takes the current one of the thread."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
