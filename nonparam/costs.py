r"""What a fit and its predictions cost, from counts of operations and the rates of the machine.

With :math:`n` rows and :math:`d` columns, an evaluation of the exact evidence and its gradient takes

.. math:: C(n) = n^3 / \text{cholesky} + \tfrac12 n^2 / \text{tiles},

and a search needs some :math:`10 + 3 d` of them. On many rows they are on the smallest subset only; larger
ones need a few, and so do all rows: exact ones, or conjugate gradients with their tiles, products and
derivatives.
"""

from dataclasses import dataclass

from nonparam.calibration import COLUMNS, Rates
from nonparam.newton import SEARCHED, SUBSETS

__all__ = ["PREDICTED", "Seconds", "cg_seconds", "cholesky_seconds"]

PREDICTED = 1000  # rows of the predictions whose time is told
FIRST, PER_COLUMN = 10, 3  # evaluations until a search converges: 33 with 8 columns, 68 with 18
REFINED = 8  # evaluations on each larger subset
NEWTON = 7  # steps on all rows: 6 on elevators, kin40k and bike, 11 on pol
EXACT_NEWTON = 5  # evaluations of exact ones, which nothing blurs
FACTOR_STEPS = 8  # products for a solve with a factor nearby as the preconditioner
LOW_RANK_STEPS = 30  # those with one of low rank: 7 on elevators, 50 in float64 on kin40k
TRAINING_VECTORS = 10  # right-hand sides of it
NARROW = 0.3  # of the rate of a product in float64, with so few
DOUBLE = 0.5  # of the rate of tiles in float32, that those in float64 reach
EXACT_STEPS = 40  # those of a solve in float64, as exact as a variance asks for
FIXED = 0.05  # seconds, of checks, scaling and small operations whatever the rows
RANK = 500  # of the preconditioner
DETERMINANT = 16 * 25  # products with a vector, for the log-determinant


@dataclass(frozen=True)
class Seconds:
    """Predicted times.

    Attributes:
        fit: of the whole fit.
        predict: of means and standard deviations at 1000 rows, after it.
    """

    fit: float
    predict: float


def cholesky_seconds(n: int, d: int, rates: Rates, *, searches: int = 1, train: bool = True) -> Seconds:
    """Return the time of exact training and predictions.

    Args:
        n: rows.
        d: columns.
        rates: of the machine.
        searches: from how many starts.
        train: whether hyperparameters are learnt, or known.

    Examples:
        >>> rates = Rates(4e10, 4e10, 2e10, 1e7, 5e7, 1e10)
        >>> cholesky_seconds(20_000, 18, rates).fit > 2.0 * cg_seconds(20_000, 18, rates, exact=True).fit
        True
    """
    training = 0.0
    if train and n > SEARCHED:
        training = _subsets(n, d, rates, searches) + EXACT_NEWTON * _evaluation(n, d, rates)
    elif train:
        training = searches * _evaluations(d) * _evaluation(n, d, rates)
    return Seconds(FIXED + training + _factor(n, d, rates), _exact_predictions(n, d, rates))


def cg_seconds(
    n: int,
    d: int,
    rates: Rates,
    *,
    exact: bool,
    kept: bool = True,
    searches: int = 1,
    train: bool = True,
    workers: int = 1,
) -> Seconds:
    """Return the time of training and predictions by conjugate gradients.

    Args:
        n: rows.
        d: columns.
        rates: of one worker.
        exact: whether the matrix is factorised at the end, for the predictions.
        kept: whether the tiles are, else each product evaluates them.
        searches: from how many starts.
        train: whether hyperparameters are learnt, or known.
        workers: devices that share the tiles.
    """
    training = 0.0
    if train:
        newton = _with_factor if exact and kept and workers == 1 else _with_low_rank
        training = _subsets(n, d, rates, searches) + newton(n, d, rates, kept, workers)
    if exact:
        return Seconds(FIXED + training + _factor(n, d, rates), _exact_predictions(n, d, rates))

    def solves(vectors: int, products: int) -> float:
        times = 1 if kept else products
        tiles = times * _tiles(n, d, DOUBLE * rates.tiles32) / workers
        return tiles + products * _product(n, vectors, kept, rates.gemm64, rates.bandwidth) / workers

    final = solves(2, EXACT_STEPS) + solves(16, DETERMINANT // 16)
    return Seconds(FIXED + training + final, FIXED + solves(PREDICTED, EXACT_STEPS))


def _evaluations(d: int) -> int:
    return FIRST + PER_COLUMN * d


def _evaluation(n: int, d: int, rates: Rates) -> float:
    """Return the time of the exact evidence with its gradient."""
    return n**3 / rates.cholesky + _tiles(n, d, rates.tiles64)


def _factor(n: int, d: int, rates: Rates) -> float:
    return n**3 / 3.0 / rates.cholesky + _tiles(n, d, rates.tiles64)


def _exact_predictions(n: int, d: int, rates: Rates) -> float:
    """Return the time of a triangular solve with a column for each new row, and of its kernel."""
    return FIXED + PREDICTED * (n**2 / rates.gemm64 + n * _columns(d) / rates.tiles64)


def _subsets(n: int, d: int, rates: Rates, searches: int) -> float:
    """Return the time of the exact searches on the smallest subset, of its curvature, and of larger ones."""
    first, *larger = [m for m in SUBSETS if m < n] or [n]
    evaluations = searches * _evaluations(d) + 2 * (d + 2)  # central differences of a gradient
    refined = sum(REFINED * _evaluation(m, d, rates) for m in larger)
    return evaluations * _evaluation(first, d, rates) + refined


def _with_factor(n: int, d: int, rates: Rates, kept: bool, workers: int) -> float:
    """Return the time of the gradients on all rows, with a factor as the preconditioner."""
    product = _product(n, TRAINING_VECTORS, kept, NARROW * rates.gemm64, rates.bandwidth)
    tiles = _tiles(n, d, DOUBLE * rates.tiles32)
    factor = n**3 / 3.0 / rates.cholesky
    return factor + NEWTON * (tiles + 2.0 * FACTOR_STEPS * product) / workers  # a solve reads as much


def _with_low_rank(n: int, d: int, rates: Rates, kept: bool, workers: int) -> float:
    """Return the same with a preconditioner of low rank, where no factor fits."""
    product = _product(n, TRAINING_VECTORS, kept, NARROW * rates.gemm32, rates.bandwidth)
    tiles = (1 if kept else 1 + LOW_RANK_STEPS) * _tiles(n, d, rates.tiles32)
    preconditioner = 4.0 * n * RANK**2 / rates.gemm32
    return NEWTON * (preconditioner + (tiles + LOW_RANK_STEPS * product) / workers)


def _product(n: int, vectors: int, kept: bool, rate: float, bandwidth: float) -> float:
    """Return the time of a product with the matrix: arithmetic, or reading half of it from memory."""
    return max(2.0 * n**2 * vectors / rate, 4.0 * n**2 / bandwidth if kept else 0.0)


def _tiles(n: int, d: int, rate: float) -> float:
    return 0.5 * n**2 * _columns(d) / rate


def _columns(d: int) -> float:
    """Return the time of an entry of the kernel relative to one of 8 columns: most are exponentials."""
    return 0.8 + 0.2 * d / COLUMNS
