r"""PAC-Bayes bounds: how large a risk may be, from the risk on the training rows and how much was learnt.

For a loss between 0 and 1, rows that are independent, and a prior that has seen none of them: with
probability :math:`1 - \delta` the risk :math:`R` of predictions drawn from a posterior, whose risk on the
:math:`n` training rows is :math:`r`, obeys

.. math::

    R &\le r + \sqrt{\frac{KL + \ln(2 \sqrt n / \delta)}{2 n}} && \text{McAllester, in Maurer's form} \\
    kl(r \| R) &\le \frac{KL + \ln(2 \sqrt n / \delta)}{n} && \text{Seeger, in Maurer's form} \\
    R &\le \frac{1 - \exp(-\gamma r / n - (KL + \ln(1 / \delta) + \ln((j + 1)(j + 2))) / n)}
        {1 - e^{-\gamma / n}} && \text{Catoni}, \gamma = 1.1^j

for all posteriors at once, where :math:`KL` is the divergence of the posterior from the prior in nats and
:math:`kl` that of two coins; Catoni's holds for all :math:`j = 0, 1, \dots` at once, and the best is taken. A
single hypothesis of prior probability :math:`P` obeys Occam's bound,
:math:`R \le r + \sqrt{(\ln(1 / P) + \ln(1 / \delta)) / 2n}`.

Source: Maurer (2004), A note on the PAC Bayesian theorem, arXiv:cs/0411099, theorem 5; Seeger (2002),
PAC-Bayesian generalisation error bounds for Gaussian process classification, JMLR 3; Catoni (2007),
PAC-Bayesian supervised classification, theorem 1.2.6; McAllester (1999), PAC-Bayesian model averaging, COLT.
"""

import math
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr

from nonparam.errors import InputError

__all__ = ["code_nats", "pac_bayes_bound"]

KINDS = ("catoni", "mcallester", "seeger", "countable")
GRID = 1.1  # of Catoni's constant
MOST = 400  # of its powers: 1.1^400 is beyond any number of rows


def pac_bayes_bound(
    risk: float,
    n: int,
    nats: float,
    kind: Literal["catoni", "mcallester", "seeger", "countable"] = "seeger",
    *,
    delta: float = 0.05,
) -> float:
    r"""Return an upper bound of a risk, at most 1.

    Args:
        risk: on the training rows, between 0 and 1: a mean over the posterior; with ``"countable"`` that of
            the hypothesis.
        n: training rows.
        nats: the divergence of the posterior from the prior; with ``"countable"``
            :math:`\ln(1 / P)`, see `code_nats`.
        kind: of the bound. Seeger's is never above McAllester's.
        delta: the probability with which the bound may fail.

    Raises:
        InputError: numbers that cannot be.

    Examples:
        >>> [round(pac_bayes_bound(0.05, 1000, 20.0, kind), 3) for kind in ("mcallester", "seeger", "catoni")]
        [0.166, 0.117, 0.124]
        >>> round(pac_bayes_bound(0.05, 1000, code_nats(30), "countable"), 3)
        0.174
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {KINDS}, got {kind!r}")
    risk, nats, delta = _number(risk, "risk", 0.0, 1.0), _number(nats, "nats", 0.0, math.inf), _share(delta)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n must be an integer, at least 1; got {n!r}")
    if kind == "countable":
        return min(1.0, risk + math.sqrt((nats - math.log(delta)) / (2.0 * n)))
    if kind == "catoni":
        return _catoni(risk, n, nats, delta)
    allowed = (nats + math.log(2.0 * math.sqrt(n) / delta)) / n
    return min(1.0, risk + math.sqrt(0.5 * allowed)) if kind == "mcallester" else _inverted(risk, allowed)


def code_nats(bits: float) -> float:
    r"""Return :math:`\ln(1 / P)` of what a program of so many bits describes.

    .. math:: (\ell + 2 \log_2 \ell) \ln 2

    with the length of the program told before it.

    Source: Lotfi et al. (2022), PAC-Bayes compression bounds so tight that they can explain generalization,
    NeurIPS, section 3.

    Examples:
        >>> round(code_nats(8) / math.log(2.0), 6)
        14.0
    """
    found = _number(bits, "bits", 1.0, math.inf)
    return (found + 2.0 * math.log2(found)) * math.log(2.0)


def _catoni(risk: float, n: int, nats: float, delta: float) -> float:
    j = np.arange(MOST)
    gamma = GRID**j
    paid = nats - math.log(delta) + np.log((j + 1.0) * (j + 2.0))  # their inverses sum to 1 over j
    bounds = np.expm1(-(gamma * risk + paid) / n) / np.expm1(-gamma / n)
    return float(min(1.0, bounds.min()))


def _inverted(risk: float, allowed: float) -> float:
    """Return the largest ``R`` with ``kl(r || R)`` of at most what is allowed."""

    def excess(candidate: float) -> float:
        return float(rel_entr(risk, candidate) + rel_entr(1.0 - risk, 1.0 - candidate)) - allowed

    highest = 1.0 - 1e-12
    if risk >= highest or excess(highest) <= 0.0:
        return 1.0
    return float(brentq(excess, risk, highest, xtol=1e-12))


def _number(value: Any, name: str, least: float, most: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise InputError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
    return number


def _share(delta: Any) -> float:
    found = _number(delta, "delta", 0.0, 1.0)
    if found in (0.0, 1.0):
        raise InputError(f"delta must be strictly between 0 and 1, got {delta!r}")
    return found
