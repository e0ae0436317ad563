r"""Which hypothesis the data support: posterior odds and Bayes factors.

With the evidence :math:`p(y \mid M)` and prior probabilities :math:`p(M)`,

.. math:: p(M \mid y) = \frac{p(y \mid M) \, p(M)}{\sum_{M'} p(y \mid M') \, p(M')}, \quad
          B_{12} = p(y \mid M_1) / p(y \mid M_2).

A Bayes factor depends on the widths of the priors, however many data there are: a prior that is a thousand
times wider costs its model about :math:`\log 1000` nats for each parameter that the data determine.

Source: Kass and Raftery (1995), Bayes factors, Journal of the American Statistical Association 90, 773-795.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from nonparam.comparison.measures import Measures
from nonparam.comparison.wording import grouped, joined, percent, quoted
from nonparam.errors import InputError
from nonparam.model_selection.hypotheses import factor_in_digits, kass_raftery

__all__ = ["QUESTION", "HypothesisVerdict", "judge_hypotheses"]

QUESTION = "Which hypothesis do the data support?"


@dataclass(frozen=True)
class HypothesisVerdict:
    """Which of the models the data support, and how much of that the widths of the priors decide.

    Attributes:
        table: a row a model, the best one first: ``log_evidence`` in nats, ``log_bayes_factor`` against the
            best, its ``words``, ``prior_probability``, ``posterior_probability``, and ``posterior_odds``
            against the best.
        sensitivity: log evidence in nats, a row a model and a column for each factor by which the widths
            (standard deviations) of its priors are multiplied; the same in each column for a model whose
            prior has no width.
        left_out: why a model has no part in this verdict, by name.
    """

    table: pd.DataFrame
    sensitivity: pd.DataFrame
    left_out: Mapping[str, str]

    @property
    def best(self) -> str:
        """The name of the model with the largest evidence."""
        return str(self.table.index[0])

    @property
    def leads(self) -> pd.Series:
        """How many nats the best model is ahead of the best of the others, by the factor of the widths."""
        others = self.sensitivity.drop(index=self.best).max()
        return others.rsub(self.sensitivity.T[self.best])

    @property
    def is_sensitive(self) -> bool:
        """Whether another model is best where the widths of all priors are multiplied by some factor."""
        return bool((self.leads < 0.0).any())

    def sentences(self) -> list[str]:
        """Return the verdict in plain sentences."""
        return [self._support(), *self._rivals(), *self._preferred(), self._widths(), *self._absent()]

    def __str__(self) -> str:
        """Return the verdict in plain sentences, a line each."""
        return "\n".join([QUESTION, *(f"  {s}" for s in self.sentences())])

    def _support(self) -> str:
        probability = percent(self.table.posterior_probability.iloc[0])
        return f"The data support {quoted(self.best)} most; its posterior probability is {probability}."

    def _rivals(self) -> list[str]:
        return [
            f"Against {quoted(str(name))} the log Bayes factor is {abs(row.log_bayes_factor):.2f} nats"
            f" (a factor of {factor_in_digits(abs(row.log_bayes_factor))}): {row.words}."
            for name, row in self.table.iloc[1:].iterrows()
        ]

    def _preferred(self) -> list[str]:
        """Say it where the prior odds turn the order."""
        preferred = str(self.table.posterior_probability.idxmax())
        if preferred == self.best:
            return []
        share = percent(self.table.posterior_probability.max())
        return [f"With the prior odds that were given, {quoted(preferred)} is more probable: {share}."]

    def _widths(self) -> str:
        leads = self.leads
        if leads.isna().any():
            return "How this depends on the widths of the priors could not be found at every width."
        span = f"widths of all priors are multiplied by {leads.index[0]:g} to {leads.index[-1]:g}"
        lead = f"its lead is from {leads.min():.2f} to {leads.max():.2f} nats"
        if not self.is_sensitive:
            return f"Where the {span}, it stays first; {lead}."
        turned = self.sensitivity.loc[:, leads < 0.0].idxmax()
        others = [f"{quoted(str(name))} with widths times {width:g}" for width, name in turned.items()]
        return (
            f"The verdict depends on the priors: where the {span}, {lead}, and another model is first:"
            f" {joined(others)}."
        )

    def _absent(self) -> list[str]:
        return [f"Left out of this: {names} ({reason})." for names, reason in grouped(self.left_out)]


def judge_hypotheses(models: list[Measures], prior_odds: Mapping[str, float]) -> HypothesisVerdict:
    """Weigh the models that have an evidence, and whose evidences can be set against each other.

    Args:
        models: what is known of each.
        prior_odds: positive numbers by name, up to a common factor.

    Returns:
        The verdict.

    Raises:
        InputError: fewer than two models have such an evidence; the message has the reason for each.
    """
    left_out = {m.name: m.notes["log_evidence"] for m in models if not np.isfinite(m.log_evidence)}
    proper = [m for m in models if m.name not in left_out]
    comparable = _same_flat_prior(proper, left_out)
    if len(comparable) < 2:
        reasons = "; ".join(f"{names}: {reason}" for names, reason in grouped(left_out))
        raise InputError(f"no Bayes factor: it takes two models with comparable evidence ({reasons})")
    table = _weighed(comparable, prior_odds)
    sensitivity = pd.DataFrame({m.name: m.evidence_by_width for m in comparable}).T
    sensitivity.columns.name, sensitivity.index.name = "width", "model"
    return HypothesisVerdict(table, sensitivity.loc[table.index], left_out)


def _weighed(models: list[Measures], prior_odds: Mapping[str, float]) -> pd.DataFrame:
    names = pd.Index([m.name for m in models], name="model")
    evidence = np.array([m.log_evidence for m in models])
    prior = np.log([prior_odds[name] for name in names])
    prior -= logsumexp(prior)
    posterior = evidence + prior - logsumexp(evidence + prior)
    best = int(np.argmax(evidence))
    behind = evidence - evidence[best]
    columns = {
        "log_evidence": evidence,
        "log_bayes_factor": behind,
        "words": ["best" if i == best else kass_raftery(b) for i, b in enumerate(behind)],
        "prior_probability": np.exp(prior),
        "posterior_probability": np.exp(posterior),
        "posterior_odds": np.exp(posterior - posterior[best]),
    }
    return pd.DataFrame(columns, index=names).sort_values("log_evidence", ascending=False, kind="stable")


def _same_flat_prior(models: list[Measures], left_out: dict[str, str]) -> list[Measures]:
    """Return the largest group of models whose means have the same coefficients under a flat prior.

    The density of a flat prior is known up to a factor, which two models share where they share the
    coefficients, and else do not.
    """
    groups: list[list[Measures]] = []
    for model in models:
        group = next((g for g in groups if _same_columns(g[0].flat_basis, model.flat_basis)), None)
        if group is None:
            groups.append([model])
        else:
            group.append(model)
    if not groups:
        return []
    kept = max(groups, key=len)
    names = joined([quoted(m.name) for m in kept])
    for group in groups:
        if group is not kept:
            left_out.update({m.name: _improper(m, kept[0], names) for m in group})
    return kept


def _same_columns(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-9, atol=1e-12))


def _improper(model: Measures, kept: Measures, names: str) -> str:
    own, theirs = model.flat_basis.shape[1], kept.flat_basis.shape[1]
    return (
        f"an improper prior: its mean has {_coefficients(own)} and that of {names} has"
        f" {_coefficients(theirs)}, so that their Bayes factor is not defined; give all models the same mean,"
        " or mean='zero' and a kernel with constant or linear terms, whose priors are proper"
    )


def _coefficients(q: int) -> str:
    return {0: "no coefficient", 1: "one coefficient"}.get(q, f"{q} coefficients") + " under a flat prior"
