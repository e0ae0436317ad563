"""Which model will predict best: three criteria side by side, with paired differences."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.comparison.hypothesis import HypothesisVerdict
from nonparam.comparison.measures import Measures
from nonparam.comparison.wording import grouped, joined, percent, quoted, rounded

__all__ = ["CRITERIA", "QUESTION", "Criterion", "GeneralisationVerdict", "judge_generalisation"]

Array = NDArray[np.float64]

QUESTION = "Which model will predict best?"
CLEAR = 2.0  # standard errors of a difference: less is no clear lead


class Criterion(NamedTuple):
    """A measure of predictions: the attribute of `Measures`, its name, and what its samples are."""

    attribute: str
    name: str
    samples: str


CRITERIA = {
    "clml": Criterion("clml", "CLML", "orderings"),
    "loo": Criterion("loo", "leave-one-out", "rows"),
    "k_fold": Criterion("fold_density", "cross-validation", "rows"),
}


@dataclass(frozen=True)
class GeneralisationVerdict:
    """Which of the models predicts rows that it has not seen best, by each criterion.

    Attributes:
        table: a row a model, in the order given; for each of ``clml``, ``loo`` and ``k_fold`` the log density
            in nats per row, ``..._behind``, by how much the best model's exceeds it, and
            ``..._behind_se``, the standard error of that paired difference: over orderings for ``clml``
            (which says how many are enough, not how other data would come out), over rows for the others.
        left_out: why a criterion is missing, by model and criterion.
        disagreement: a sentence where it disagrees with the verdict on hypotheses, else ``None``.
        comparison: how it stands to that verdict, in a sentence; empty without one.
    """

    table: pd.DataFrame
    left_out: Mapping[tuple[str, str], str]
    disagreement: str | None
    comparison: str

    @property
    def best(self) -> dict[str, str]:
        """The name of the best model, by criterion."""
        known = {key: self.table[key].dropna() for key in CRITERIA}
        return {key: str(column.idxmax()) for key, column in known.items() if len(column)}

    def sentences(self) -> list[str]:
        """Return the verdict in plain sentences."""
        criteria = [self._criterion(key) for key in self.best]
        absent = [
            f"Left out of {CRITERIA[key].name}: {names} ({reason})."
            for key in CRITERIA
            for names, reason in grouped({m: r for (m, k), r in self.left_out.items() if k == key})
        ]
        return [self._overall(), *criteria, *absent, *([self.comparison] if self.comparison else [])]

    def __str__(self) -> str:
        """Return the verdict in plain sentences, a line each."""
        return "\n".join([QUESTION, *(f"  {s}" for s in self.sentences())])

    def is_clear(self, key: str) -> bool:
        """Whether every other model is behind by more than two standard errors, by one criterion."""
        others = self.table.drop(index=self.best[key]).dropna(subset=[key])
        return bool((others[f"{key}_behind"] > CLEAR * others[f"{key}_behind_se"]).all())

    def _overall(self) -> str:
        named = list(dict.fromkeys(self.best.values()))
        if not named:
            return "No model says what it predicts of some rows from others."
        if len(named) > 1:
            return f"The criteria do not agree: {'; '.join(map(self._won, named))}."
        count = {1: "the one criterion", 2: "both criteria"}.get(len(self.best), "all three criteria")
        if all(self.is_clear(key) for key in self.best):
            return f"{quoted(named[0])} predicts best by {count}."
        return f"{quoted(named[0])} predicts best by {count}, but not always by a clear margin."

    def _won(self, name: str) -> str:
        """Say by which criteria a model is first."""
        criteria = [CRITERIA[key].name for key, best in self.best.items() if best == name]
        return f"{quoted(name)} is first by {joined(criteria)}"

    def _criterion(self, key: str) -> str:
        best, name = self.best[key], CRITERIA[key].name
        head = f"By {name} {quoted(best)} is first, with {self.table[key][best]:.3f} nats per row"
        rivals = list(self._behind(key, best))
        if not rivals:
            return f"{head}."
        clear = "" if self.is_clear(key) else "; a lead below two standard errors is not clear"
        over = f"(standard errors over {CRITERIA[key].samples})"
        verb = "is" if len(rivals) == 1 else "are"
        return f"{head}; behind it {verb} {', '.join(rivals)} {over}{clear}."

    def _behind(self, key: str, best: str) -> Iterator[str]:
        others = self.table.drop(index=best).dropna(subset=[key]).sort_values(f"{key}_behind")
        for name, row in others.iterrows():
            behind, error = float(row[f"{key}_behind"]), float(row[f"{key}_behind_se"])
            yield f"{quoted(str(name))} by {rounded(behind, error)}"


def judge_generalisation(
    models: list[Measures], hypothesis: HypothesisVerdict | None
) -> GeneralisationVerdict:
    """Compare predictions, row by row and ordering by ordering.

    Args:
        models: what is known of each.
        hypothesis: the other verdict, where there is one.

    Returns:
        The verdict.
    """
    index = pd.Index([m.name for m in models], name="model")
    columns: dict[str, Array] = {}
    for key, criterion in CRITERIA.items():
        columns.update(_paired(key, [getattr(m, criterion.attribute) for m in models]))
    left_out = {
        (m.name, key): m.notes[key]
        for m in models
        for key, criterion in CRITERIA.items()
        if not getattr(m, criterion.attribute).size
    }
    verdict = GeneralisationVerdict(pd.DataFrame(columns, index=index), left_out, None, "")
    if hypothesis is None:
        return verdict
    comparison, disagrees = _against(verdict, hypothesis)
    return GeneralisationVerdict(verdict.table, left_out, comparison if disagrees else None, comparison)


def _paired(key: str, samples: list[Array]) -> dict[str, Array]:
    """Return means, and differences to the best with standard errors; NaN for a model without samples."""
    means = np.array([each.mean() if each.size else np.nan for each in samples])
    if np.isnan(means).all():
        nothing = np.full(len(samples), np.nan)
        return {key: nothing, f"{key}_behind": nothing, f"{key}_behind_se": nothing}
    best = samples[int(np.nanargmax(means))]
    errors = np.array([standard_error(best - each) if each.size else np.nan for each in samples])
    return {key: means, f"{key}_behind": best.mean() - means, f"{key}_behind_se": errors}


def standard_error(samples: Array) -> float:
    """Return the standard error of a mean of ``(m,)`` independent samples.

    Examples:
        >>> float(standard_error(np.array([1.0, 3.0])))
        1.0
    """
    return float(samples.std(ddof=1) / np.sqrt(len(samples)))


def _against(verdict: GeneralisationVerdict, hypothesis: HypothesisVerdict) -> tuple[str, bool]:
    """Return how the two verdicts stand to each other, and whether they disagree."""
    supported, best = hypothesis.best, verdict.best
    others = {key: name for key, name in best.items() if name != supported}
    if not best:
        return "", False
    if not others:
        return f"It agrees with the verdict on hypotheses: both name {quoted(supported)}.", False
    share = percent(float(hypothesis.table.posterior_probability[supported]))
    leads = [_lead(verdict, name, supported) for name in dict.fromkeys(others.values())]
    degree = "disagrees" if len(others) == len(best) else "disagrees in part"
    reason = (
        "The evidence counts what a prior said before any row was seen, predictions from many rows do not"
        if set(others.values()) <= set(hypothesis.table.index)
        else "Not every model has a part in the verdict on hypotheses"
    )
    return (
        f"It {degree} with the verdict on hypotheses: the data support {quoted(supported)} most (posterior"
        f" probability {share}), but {joined(leads)}. {reason}."
    ), True


def _lead(verdict: GeneralisationVerdict, name: str, supported: str) -> str:
    """Say by which criteria a model predicts better than the one that the data support."""
    leads = [_by(verdict, key, supported) for key, best in verdict.best.items() if best == name]
    return f"{quoted(name)} predicts better by {joined(leads)}"


def _by(verdict: GeneralisationVerdict, key: str, supported: str) -> str:
    behind, error = (float(verdict.table[f"{key}_{what}"][supported]) for what in ("behind", "behind_se"))
    if np.isnan(behind):
        return CRITERIA[key].name
    doubt = "" if behind > CLEAR * error else ", not clear"
    return f"{CRITERIA[key].name} ({rounded(behind, error)} nats per row{doubt})"
