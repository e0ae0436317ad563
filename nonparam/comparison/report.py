"""The report of a comparison: one table, two verdicts, pictures, and the forms in which it can be kept."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.comparison.columns import ABOUT, COLUMNS, SHOWN, UNITS
from nonparam.comparison.generalisation import QUESTION as GENERALISATION
from nonparam.comparison.generalisation import GeneralisationVerdict, standard_error
from nonparam.comparison.html import page, summary
from nonparam.comparison.hypothesis import QUESTION as HYPOTHESIS
from nonparam.comparison.hypothesis import HypothesisVerdict
from nonparam.comparison.latex import tabular
from nonparam.comparison.measures import Measures
from nonparam.comparison.plots import PANELS, draw_sensitivity, new_panels
from nonparam.comparison.wording import joined
from nonparam.errors import InputError

__all__ = ["ComparisonReport", "tabulate"]


@dataclass(frozen=True)
class ComparisonReport:
    """What `compare` found: a table, and two verdicts that answer different questions.

    Attributes:
        table: a row a model. In nats, summed over rows: ``lml`` and ``log_evidence``. In nats per row:
            ``clml`` with ``clml_se``, ``loo``, ``tc_gap`` and ``k_fold_log_loss``. In units of ``y``:
            ``k_fold_rmse``. Also ``effective_parameters``, ``parameters``, ``bic``, ``aic``, ``fit_seconds``,
            and ``hyperparameters``: whether they are ``fixed`` at those of all rows in ``clml``, ``loo`` and
            ``tc_gap``, ``refitted`` or ``none``; in the columns of ``k_fold`` they are always refitted.
        generalisation: which model will predict best.
        notes: why a number is missing or is not what its column says, by model and column.
        description: of the data, in words.
        models: everything that was measured, by model.
    """

    table: pd.DataFrame
    generalisation: GeneralisationVerdict
    notes: Mapping[str, Mapping[str, str]]
    description: str
    models: Sequence[Measures]
    _hypothesis: HypothesisVerdict | None
    _refusal: str

    @property
    def hypothesis(self) -> HypothesisVerdict:
        """Which hypothesis the data support.

        Raises:
            InputError: no two models have evidences that can be compared; the message has the reasons.
        """
        if self._hypothesis is None:
            raise InputError(self._refusal)
        return self._hypothesis

    @property
    def has_hypothesis(self) -> bool:
        """Whether there is a verdict on hypotheses."""
        return self._hypothesis is not None

    @property
    def verdicts(self) -> dict[str, list[str]]:
        """Both verdicts in sentences, under the questions that they answer."""
        refused = [f"No answer: {self._refusal}."]
        support = refused if self._hypothesis is None else self._hypothesis.sentences()
        return {HYPOTHESIS: support, GENERALISATION: self.generalisation.sentences()}

    def plot(self, axes: Any = None) -> Any:
        """Draw the evidence as rows come in, what each row adds to it, and calibration.

        Args:
            axes: three matplotlib axes; those of a new figure by default.

        Returns:
            The axes.
        """
        axes = new_panels(len(PANELS)) if axes is None else axes
        for draw, ax in zip(PANELS, axes, strict=True):
            draw(self.models, ax)
        return axes

    def plot_sensitivity(self, ax: Any = None) -> Any:
        """Draw the log Bayes factors against the best model for other widths of the priors.

        Args:
            ax: matplotlib axes; those of a new figure by default.

        Returns:
            The axes.

        Raises:
            InputError: there is no verdict on hypotheses.
        """
        verdict = self.hypothesis
        ax = new_panels(1)[0] if ax is None else ax
        draw_sensitivity(verdict, self.models, ax)
        return ax

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as one page that needs no other file, and write it where a path is given."""
        text = page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def to_latex(self) -> str:
        """Return the table for LaTeX, with the rules of the package booktabs."""
        return tabular(self.cells())

    def to_json(self) -> str:
        """Return everything but the pictures as one JSON document; a missing number is null."""
        verdict = self._hypothesis
        document = {
            "data": self.description,
            "models": _records(self.table),
            "hypothesis": None
            if verdict is None
            else {
                "models": _records(verdict.table),
                "log_evidence_by_width": _records(verdict.sensitivity),
                "left_out": dict(verdict.left_out),
            },
            "generalisation": {
                "models": _records(self.generalisation.table),
                "best": self.generalisation.best,
                "disagreement": self.generalisation.disagreement,
            },
            "verdicts": self.verdicts,
            "notes": {name: dict(notes) for name, notes in self.notes.items()},
        }
        return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)

    def cells(self, columns: Sequence[str] = tuple(COLUMNS)) -> pd.DataFrame:
        """Return the table as text, with headings; what is missing is a dash."""
        shown = {COLUMNS[c].heading: [_text(v, COLUMNS[c].digits) for v in self.table[c]] for c in columns}
        return pd.DataFrame(shown, index=self.table.index)

    @property
    def remarks(self) -> list[tuple[str, str, str]]:
        """The notes, each once: the models and the columns that it is about, and what it says."""
        by_model: dict[tuple[str, str], list[str]] = {}
        for name, about in self.notes.items():
            for columns, text in _gathered(about).items():
                by_model.setdefault((columns, text), []).append(name)
        return [(joined(names), columns, text) for (columns, text), names in by_model.items()]

    def __str__(self) -> str:
        """Return data, table, both verdicts and notes as text."""
        table = self.cells(SHOWN).rename_axis(index=None).to_string()
        verdicts = ["\n".join([q, *(f"  {s}" for s in lines)]) for q, lines in self.verdicts.items()]
        notes = [f"  {models}; {columns}: {text}" for models, columns, text in self.remarks]
        parts = [
            self.description,
            table,
            UNITS,
            *verdicts,
            *(["\n".join(["Notes", *notes])] if notes else []),
        ]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        """Return table and verdicts for a notebook."""
        return summary(self)


def tabulate(models: Sequence[Measures]) -> pd.DataFrame:
    """Return the table of a report, a row a model."""
    index = pd.Index([m.name for m in models], name="model")
    rows = [
        {
            "lml": m.lml,
            "log_evidence": m.log_evidence,
            "clml": _mean(m.clml),
            "clml_se": standard_error(m.clml) if m.clml.size else np.nan,
            "loo": _mean(m.loo),
            "k_fold_log_loss": -_mean(m.fold_density),
            "k_fold_rmse": np.sqrt(_mean(m.fold_residual**2)),
            "tc_gap": _mean(m.gap),
            "effective_parameters": m.effective,
            "parameters": m.parameters,
            "bic": m.bic,
            "aic": m.aic,
            "fit_seconds": m.seconds,
            "hyperparameters": m.conditioning,
        }
        for m in models
    ]
    return pd.DataFrame(rows, index=index)


def _gathered(about: Mapping[str, str]) -> dict[str, str]:
    """Return what notes say, by the columns that they say it of."""
    columns: dict[str, list[str]] = {}
    for column, text in about.items():
        heading = COLUMNS[column].heading if column in COLUMNS else ABOUT[column]
        columns.setdefault(text, []).append(heading)
    return {", ".join(names): text for text, names in columns.items()}


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else np.nan


def _text(value: Any, digits: str) -> str:
    if isinstance(value, str):
        return value
    return format(value, digits) if np.isfinite(value) else "-"


def _records(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return a table as rows of plain values by model; what is not finite is ``None``."""
    return {
        str(name): {f"{key:g}" if isinstance(key, float) else str(key): _plain(v) for key, v in row.items()}
        for name, row in table.iterrows()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else None
