r"""Waves and steps that a covariance does not explain, by generalised least squares.

Let :math:`A` be the covariance of the observations, :math:`H` a constant and the column, and :math:`W` what
whitens the observations and takes a line away. Functions :math:`B` of known shape and unknown size explain

.. math::

    E(B) &= \frac{\mathrm{tr}\, q^\top (B^\top W^\top W B)^{-1} q}{\lVert W Y \rVert^2}, \\
    q &= (W B)^\top W Y, \quad
    W^\top W = A^{-1} - A^{-1} H (H^\top A^{-1} H)^{-1} H^\top A^{-1},

of the squares of what is left, and raise the log likelihood by :math:`-\tfrac{nt}{2} \log(1 - E)` if the
scale of :math:`A` is fitted anew. A scan looks at this for all frequencies, or all places. What repeats
without being a sinusoid has its power at multiples of one frequency, often more at twice the frequency than
at the first; so the shares of multiples are added, and each costs what its two coefficients cost in BIC.

Source: Lomb (1976), Least-squares frequency analysis of unequally spaced data, here beside coloured noise;
sums over multiples: Schwarzenberg-Czerny (1996), Fast and statistically optimal period search in uneven
sampled observations, Astrophysical Journal Letters 460, L107; beyond Nyquist's frequency: VanderPlas (2018),
Understanding the Lomb-Scargle periodogram, Astrophysical Journal Supplement 236, 16; steps: Hinkley (1970),
Inference about the change-point in a sequence of random variables, Biometrika 57(1).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.solvers.cholesky import cholesky
from nonparam.spectrum import nyquist

__all__ = ["Scan", "Wave", "scan"]

Array = NDArray[np.float64]

OVERSAMPLED = 8  # frequencies looked at for each independent one: a fourth multiple needs as many
MULTIPLES = 4  # of a frequency, at most
BLOCK = 2**22  # entries of a table of waves, to bound its memory
HIGHEST = 8.0  # times Nyquist's frequency of rows with the same mean distance
ROUNDING = 1e-9  # of all squares: closer to all of them the gain would be rounding
NOTHING = 1e-10  # of the squares of a function: what is left of a line without its line


@dataclass(frozen=True)
class Wave:
    """What repeats.

    Attributes:
        period: in the units of the column.
        multiples: of its frequency that it is made of.
        gain: of the log likelihood, in nats, less what the coefficients cost in BIC.
    """

    period: float
    multiples: int
    gain: float


@dataclass(frozen=True)
class Scan:
    """What a covariance leaves of the outputs, along one column.

    Attributes:
        x: ``(n,)``, the column, in ascending order.
        whitening: ``(n, n)``, ``W``.
        left: ``(n, t)``, ``W Y``.
    """

    x: Array
    whitening: Array
    left: Array

    def waves(self, count: int, longest: float) -> list[Wave]:
        """Return the most likely waves, the best one first.

        Args:
            count: how many at most.
            longest: period, in the units of the column.
        """
        span = float(np.ptp(self.x))
        step, last = 1.0 / (OVERSAMPLED * span), round(OVERSAMPLED * span * self._highest())
        first = math.ceil(1.0 / (longest * step) - 1e-9)
        if first > last:
            return []
        shares = self._shares_of_waves(step * np.arange(1.0, last + 1.0))
        numbers = np.arange(first, last + 1)
        scores = np.stack([self._score(shares, numbers, most) for most in range(1, MULTIPLES + 1)])
        best, most = scores.max(0), scores.argmax(0) + 1
        tops = [j for j in np.argsort(-best, kind="stable") if best[j] == best[_around(j)].max()]
        return [Wave(float(1.0 / (step * numbers[j])), int(most[j]), float(best[j])) for j in tops[:count]]

    def step(self) -> float:
        """Return the place before and after which the levels differ most significantly."""
        later = self.whitening[:, ::-1].cumsum(1)[:, -2::-1]  # column i: W times 1 after row i, else 0
        squares = (later**2).sum(0)
        possible = (np.diff(self.x) > 0.0) & (squares > NOTHING * (self.whitening**2).sum())
        if not possible.any():
            return float(self.x[0])
        gains = ((later.T @ self.left) ** 2).sum(1) / np.where(possible, squares, 1.0)
        best = int(np.argmax(np.where(possible, gains, -1.0)))
        return float(0.5 * (self.x[best] + self.x[best + 1]))

    def _highest(self) -> float:
        """Return the highest frequency to look at: irregular rows tell more apart than regular ones."""
        gaps = np.diff(self.x)
        return min(0.5 / float(gaps[gaps > 0.0].min()), HIGHEST * nyquist(self.x))

    def _shares_of_waves(self, frequencies: Array) -> Array:
        """Return which share of the squares each sinusoid explains."""
        blocks = np.array_split(frequencies, 1 + 2 * frequencies.size * self.x.size // BLOCK)
        explained = np.concatenate([self._explained(block) for block in blocks])
        shares: Array = explained / max(float((self.left**2).sum()), np.finfo(float).tiny)
        return shares

    def _explained(self, frequencies: Array) -> Array:
        phases = 2.0 * np.pi * np.outer(self.x, frequencies)
        cos, sin = self.whitening @ np.cos(phases), self.whitening @ np.sin(phases)
        cc, ss, cs = (cos**2).sum(0), (sin**2).sum(0), (cos * sin).sum(0)
        c, s = cos.T @ self.left, sin.T @ self.left  # (k, t)
        determinant = cc * ss - cs**2
        one_phase = determinant < NOTHING * cc * ss  # the rows see one function of this wave, not two
        both = ss[:, None] * c**2 - 2.0 * cs[:, None] * c * s + cc[:, None] * s**2
        both = both.sum(1) / np.where(one_phase, 1.0, determinant)
        tiny = np.finfo(float).tiny
        one = np.maximum((c**2).sum(1) / np.maximum(cc, tiny), (s**2).sum(1) / np.maximum(ss, tiny))
        explained: Array = np.where(one_phase, one, both)
        return explained

    def _score(self, shares: Array, numbers: NDArray[np.intp], most: int) -> Array:
        """Return the gain of ``most`` multiples of each frequency, minus infinity where they are too fast."""
        n, t = self.left.shape
        possible = numbers[most * numbers <= len(shares)]
        explained = sum(shares[h * possible - 1] for h in range(1, most + 1))
        gain = -0.5 * n * t * np.log1p(-np.minimum(explained, 1.0 - ROUNDING)) - most * t * math.log(n)
        score: Array = np.append(gain, np.full(len(numbers) - len(possible), -np.inf))
        return score


def _around(j: int) -> slice:
    return slice(max(j - OVERSAMPLED // 2, 0), j + OVERSAMPLED // 2 + 1)


def scan(x: Tensor, y: Tensor, a: Tensor) -> Scan | None:
    """Whiten what a covariance and a line leave of the outputs.

    Args:
        x: ``(n,)``, one column.
        y: ``(n, t)``.
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.

    Returns:
        What can be scanned along the column; ``None`` where it is constant.

    Examples:
        >>> t = torch.arange(40.0, dtype=torch.float64)
        >>> wave = torch.cos(2 * torch.pi * t / 8.0) + torch.cos(2 * torch.pi * t / 4.0)
        >>> (found,) = scan(t, wave[:, None], torch.eye(40, dtype=torch.float64)).waves(1, longest=20.0)
        >>> round(found.period, 1)
        8.0
    """
    order = torch.argsort(x, stable=True)
    column = x[order]
    if not column[-1] > column[0]:
        return None
    time = (column - column.mean()) / (column[-1] - column[0])
    factor = cholesky(a[order][:, order])
    eye = torch.eye(len(x), dtype=a.dtype, device=a.device)
    whitening = factor.half_solve(eye)
    basis, _ = torch.linalg.qr(whitening @ torch.stack([torch.ones_like(time), time], 1))
    whitening = whitening - basis @ (basis.mT @ whitening)
    return Scan(column.cpu().numpy(), whitening.cpu().numpy(), (whitening @ y[order]).cpu().numpy())
