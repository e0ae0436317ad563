"""What one model says of the data, on the orderings and folds that all models share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nonparam.comparison.contestant import Conditioning, Contestant
from nonparam.errors import InputError, InsufficientMemoryError, NonparamError
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.model_selection.joint import HeldOut, JointDensity
from nonparam.model_selection.scores import folds

__all__ = ["WIDTHS", "Measures", "Splits", "draw_splits", "measure"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

WIDTHS = (0.5, 1.0, 2.0, 4.0)  # factors of the widths of the priors
FRACTION = 0.9  # of the rows, on which the conditional marginal likelihood conditions; Lotfi et al. (2022)
FEWEST = 2  # rows that are held out together, and that are left
CURVES = 2000  # rows; beyond, the curves of the evidence are those of one ordering


@dataclass(frozen=True)
class Splits:
    """How the rows are held out, the same for every model.

    Attributes:
        orders: ``(k, n)``, permutations of the rows.
        last: the rows that are held out of each order together, the last ones.
        folds: disjoint rows, together all of them.
    """

    orders: NDArray[np.intp]
    last: Sequence[Rows]
    folds: Sequence[Rows]

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.orders[0])

    @property
    def held(self) -> int:
        """How many rows of an order are held out together."""
        return len(self.last[0])


def draw_splits(n: int, orderings: int, cv: int, seed: int) -> Splits:
    """Draw orderings and folds: those of `clml` and `k_fold` with the same seed.

    Args:
        n: the number of rows.
        orderings: how many permutations.
        cv: how many folds.
        seed: of both.

    Raises:
        InputError: too few rows for them.

    Examples:
        >>> splits = draw_splits(50, orderings=3, cv=5, seed=0)
        >>> splits.orders.shape, splits.held, len(splits.folds)
        ((3, 50), 5, 5)
    """
    if n < 2 * FEWEST:
        raise InputError(
            f"{n} rows are too few to hold some out: expected at least {FEWEST} to predict and {FEWEST} to"
            " predict them from"
        )
    fraction = min(FRACTION, 1.0 - FEWEST / n)  # so that two rows are held out together, or more
    rows = HeldOutRows("clml", fraction, orderings, seed)
    return Splits(rows.orders(n), list(rows.sets(n).numpy()), folds(n, cv, seed))


@dataclass(frozen=True)
class Measures:
    """What is known of one model; NaN, or an empty array, where it has no such number.

    Attributes:
        name: of the model.
        conditioning: what becomes of hyperparameters in ``clml``, ``gap`` and ``loo``: they are ``"fixed"``
            at those of all rows, ``"refitted"``, or there are ``"none"``.
        lml: log marginal likelihood at the fitted hyperparameters, in nats.
        log_evidence: with the hyperparameters integrated out, in nats.
        evidence_by_width: the same, for each factor of the widths of the priors.
        flat_basis: ``(n, q)``, basis functions of the mean whose coefficients have a flat prior.
        clml: ``(k,)``, log density per row of the last rows of each ordering given the others, in nats.
        gap: ``(k,)``, what that exceeds the mean of their marginal log densities by, in nats per row.
        loo: ``(n,)``, log density of each row given all others, in nats.
        pit: ``(n,)``, the probability of less than what was observed, given all others.
        fold_density: ``(n,)``, log density of each row given the other folds, to which the model was fitted
            afresh, in nats.
        fold_residual: ``(n,)``, observed minus predicted, in the same folds, in units of ``y``.
        increments: ``(j, n)``, log density of each row of an ordering given the earlier ones, in nats; NaN
            for the first, which only determine the mean.
        effective: number of parameters that the data determine.
        parameters: nominal number of parameters.
        bic: as `nonparam.model_selection.bic`.
        aic: as `nonparam.model_selection.aic`.
        seconds: of the fit to all rows; NaN for a model that came fitted.
        notes: why something is missing or is not what its name says, by the name of the column.
    """

    name: str
    conditioning: Conditioning
    lml: float
    log_evidence: float
    evidence_by_width: dict[float, float]
    flat_basis: Array
    clml: Array
    gap: Array
    loo: Array
    pit: Array
    fold_density: Array
    fold_residual: Array
    increments: Array
    effective: float
    parameters: float
    bic: float
    aic: float
    seconds: float
    notes: dict[str, str] = field(default_factory=dict)


def measure(contestant: Contestant, splits: Splits) -> Measures:
    """Fit a model and ask it for everything that it can tell.

    Args:
        contestant: the model and the data.
        splits: orderings and folds.

    Returns:
        The measures.

    Raises:
        InputError: the model cannot be fitted, or gives some row no density; the message names it.
        InsufficientMemoryError: the fit itself does not fit.
    """
    try:
        return _measure(contestant, splits)
    except InsufficientMemoryError:
        raise
    except (NonparamError, ValueError) as error:
        text = str(error)
        named = text if repr(contestant.name) in text else f"{contestant.name!r}: {text}"
        raise InputError(named) from error


def _measure(contestant: Contestant, splits: Splits) -> Measures:
    contestant.fit()
    notes = contestant.notes

    told = partial(_told, notes)
    evidence = told("log_evidence", contestant.log_evidence)
    widths = {width: evidence if width == 1.0 else np.nan for width in WIDTHS}
    for width in WIDTHS:
        if width != 1.0 and np.isfinite(evidence):
            widths[width] = told("sensitivity", partial(contestant.log_evidence, width))
    clml, gap, loo, pit = _held_out(contestant, splits, notes)
    density, residual = _folds(contestant, splits)
    return Measures(
        name=contestant.name,
        conditioning=contestant.conditioning,
        lml=told("lml", contestant.lml),
        log_evidence=evidence,
        evidence_by_width=widths,
        flat_basis=contestant.flat_basis(),
        clml=clml,
        gap=gap,
        loo=loo,
        pit=pit,
        fold_density=density,
        fold_residual=residual,
        increments=_increments(contestant.joint, splits, notes),
        effective=told("effective_parameters", contestant.effective_parameters),
        parameters=told("parameters", contestant.parameters),
        bic=told("bic", contestant.bic),
        aic=told("aic", contestant.aic),
        seconds=contestant.seconds,
        notes=notes,
    )


def _told(notes: dict[str, str], column: str, ask: Callable[[], float]) -> float:
    """Return a number, or NaN with the reason in the notes."""
    try:
        return float(ask())
    except InputError as error:
        notes.setdefault(column, str(error))
        return np.nan


def _held_out(
    contestant: Contestant, splits: Splits, notes: dict[str, str]
) -> tuple[Array, Array, Array, Array]:
    """Return CLML and gap of each ordering, and LOO density and PIT of each row."""
    density = contestant.held_out
    if density is None:
        notes["clml"] = notes["loo"] = contestant.why_no_joint
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0)
    last = _checked(contestant.name, density(splits.last))
    single = _checked(contestant.name, density([np.array([i]) for i in range(splits.n)]))
    clml = np.array([held.log_joint for held in last]) / splits.held
    gap = np.array([held.gap for held in last]) / splits.held
    loo = np.array([held.log_joint for held in single])
    return clml, gap, loo, np.array([held.cdf.item() for held in single])


def _checked(name: str, found: list[HeldOut]) -> list[HeldOut]:
    """Raise `InputError` for rows that are given no density."""
    for held in found:
        if np.any(held.sd <= 0.0) or not np.isfinite(held.log_joint):
            raise InputError(
                f"{name!r} has a degenerate predictive variance: its standard deviation is"
                f" {held.sd.min():g} at row {held.rows[held.sd.argmin()]}, so that no density is finite; add"
                " noise"
            )
    return found


def _folds(contestant: Contestant, splits: Splits) -> tuple[Array, Array]:
    """Return the log density and the residual of each row, from fits to the other folds."""
    if not contestant.predicts:
        contestant.notes["k_fold"] = contestant.why_no_joint
        return np.empty(0), np.empty(0)
    density, residual = np.empty(splits.n), np.empty(splits.n)
    for test in splits.folds:
        train = np.setdiff1d(np.arange(splits.n), test)
        density[test], residual[test] = contestant.refitted(train, test)
    return density, residual


def _increments(joint: JointDensity | None, splits: Splits, notes: dict[str, str]) -> Array:
    if joint is None:
        notes["increments"] = "no curves of the evidence: they need a joint density in closed form"
        return np.empty((0, splits.n))
    orders = splits.orders if splits.n <= CURVES else splits.orders[:1]
    rows = [np.asarray(joint.increments(order), dtype=np.float64) for order in orders]
    return np.array([np.concatenate([np.full(splits.n - len(row), np.nan), row]) for row in rows])
