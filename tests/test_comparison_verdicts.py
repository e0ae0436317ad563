"""The two verdicts: against known answers, where they differ and where they agree, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from comparison_cases import DRAWS, NormalMean, sine
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge

from nonparam import GPRegressor, compare
from nonparam.errors import InputError

X, Y = sine()
SEEN = DRAWS[:40]


@pytest.fixture(scope="module")
def density():
    """A wide prior of a mean, and a narrow one in the wrong place: Lotfi et al. (2022), figure 2."""
    models = {"wide": NormalMean(1.0, 1e6), "narrow": NormalMean(-0.4, 0.07)}
    return compare(models, None, SEEN)


def evidence(centre: float, variance: float, y: np.ndarray) -> float:
    """The log density of draws around an unknown mean, written out."""
    n, mean = len(y), y.mean()
    spread = norm.logpdf(y, mean, 1.0).sum() + 0.5 * np.log(2.0 * np.pi / n)
    return float(spread + norm.logpdf(mean, centre, np.sqrt(variance + 1.0 / n)))


def predicted(centre: float, variance: float, y: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the next draw."""
    precision = len(y) + 1.0 / variance
    return (y.sum() + centre / variance) / precision, 1.0 + 1.0 / precision


def test_density_model_has_its_published_evidences(density):
    assert density.table.log_evidence.round(2).to_dict() == {"wide": -66.94, "narrow": -66.32}
    for name, prior in {"wide": (1.0, 1e6), "narrow": (-0.4, 0.07)}.items():
        assert density.table.lml[name] == pytest.approx(evidence(*prior, SEEN), rel=1e-9)


def test_verdicts_differ_and_say_so(density):
    assert density.hypothesis.best == "narrow"
    assert density.generalisation.best == {"clml": "wide", "loo": "wide", "k_fold": "wide"}
    said = density.generalisation.disagreement
    assert said is not None and said in str(density.generalisation)
    assert said.startswith(
        "It disagrees with the verdict on hypotheses: the data support 'narrow' most (posterior probability"
        " 65.0 %), but"
    )
    assert "'wide' predicts better by CLML (0.068 ± 0.030 nats per row), leave-one-out" in said


def test_the_verdict_on_predictions_is_right(density):
    """On the 960 draws that no model saw, the model that predicts better is the one that is named."""
    new, scores = DRAWS[40:], {}
    for name, prior in {"wide": (1.0, 1e6), "narrow": (-0.4, 0.07)}.items():
        mean, variance = predicted(*prior, SEEN)
        scores[name] = norm.logpdf(new, mean, np.sqrt(variance)).mean()
    assert scores["wide"] == pytest.approx(-1.435, abs=1e-3) and scores["narrow"] < scores["wide"] - 0.05


def test_verdicts_agree_where_one_model_is_right():
    report = compare(["linear", "rbf"], X, Y)
    assert report.hypothesis.best == "rbf" and set(report.generalisation.best.values()) == {"rbf"}
    assert report.generalisation.disagreement is None
    assert "It agrees with the verdict on hypotheses: both name 'rbf'." in str(report)
    assert "'rbf' predicts best by all three criteria." in str(report.generalisation)


def test_verdicts_disagree_in_part(density):
    """A model that is best by one criterion only."""
    models = {"wide": NormalMean(1.0, 1e6), "narrow": NormalMean(0.1, 0.01)}
    y = np.random.RandomState(6).normal(0.3, 1.0, 12)
    report = compare(models, None, y, orderings=4)
    assert report.generalisation.best == {"clml": "wide", "loo": "narrow", "k_fold": "narrow"}
    assert "The criteria do not agree: '" in str(report) and "disagrees in part" in str(report)


# hypotheses --------------------------------------------------------------------------------------------


def test_posterior_probabilities(density):
    table = density.hypothesis.table
    odds = np.exp(evidence(-0.4, 0.07, SEEN) - evidence(1.0, 1e6, SEEN))
    assert table.posterior_probability["narrow"] == pytest.approx(odds / (1.0 + odds), rel=1e-9)
    assert table.posterior_odds.to_dict() == {"narrow": 1.0, "wide": pytest.approx(1.0 / odds, rel=1e-9)}
    assert table.log_bayes_factor["wide"] == pytest.approx(-np.log(odds), rel=1e-9)
    assert table.prior_probability.tolist() == [0.5, 0.5]
    assert table.words["wide"] == "not worth more than a bare mention"


@pytest.mark.parametrize("odds", [[3.0, 1.0], {"narrow": 2.0, "wide": 6.0}])
def test_prior_odds_turn_probabilities_and_not_bayes_factors(density, odds):
    models = {"wide": NormalMean(1.0, 1e6), "narrow": NormalMean(-0.4, 0.07)}
    report = compare(models, None, SEEN, prior_odds=odds)
    table, equal = report.hypothesis.table, density.hypothesis.table
    pd.testing.assert_series_equal(table.log_bayes_factor, equal.log_bayes_factor)
    ratio = table.posterior_probability["wide"] / table.posterior_probability["narrow"]
    assert ratio == pytest.approx(3.0 * equal.posterior_odds["wide"], rel=1e-9)
    assert table.prior_probability["wide"] == pytest.approx(0.75)
    assert "With the prior odds that were given, 'wide' is more probable: 61.8 %." in str(report.hypothesis)


def test_sensitivity_is_the_evidence_with_other_widths(density):
    table = density.hypothesis.sensitivity
    assert table.columns.tolist() == [0.5, 1.0, 2.0, 4.0]
    for width in table.columns:
        assert table[width]["narrow"] == pytest.approx(evidence(-0.4, 0.07 * width**2, SEEN), rel=1e-9)
    assert density.hypothesis.is_sensitive
    assert "The verdict depends on the priors" in str(density.hypothesis)
    assert "'wide' with widths times 0.5" in str(density.hypothesis)


def test_sensitivity_of_gaussian_processes():
    report = compare(["linear", "rbf"], X, Y, orderings=2)
    table = report.hypothesis.sensitivity
    assert table[2.0]["rbf"] == pytest.approx(GPRegressor("rbf").fit(X, Y).log_evidence(2.0), rel=1e-9)
    assert table[1.0].equals(report.hypothesis.table.log_evidence.rename(1.0))
    assert not report.hypothesis.is_sensitive and "it stays first" in str(report.hypothesis)


def test_hypothesis_without_a_width_stays_as_it_is():
    class Fixed:
        def joint_density(self, y):
            return NormalMean(0.5, 1e-9).joint_density(y)

    table = compare({"fixed": Fixed(), "free": NormalMean(0.0, 1.0)}, None, SEEN).hypothesis.sensitivity
    assert table.loc["fixed"].nunique() == 1 and table.loc["free"].nunique() == 4


def test_density_of_all_rows_together_has_a_part_in_bayes_factors_only():
    class Whole:
        def log_evidence(self, y):
            return evidence(0.0, 1.0, y)

    report = compare({"whole": Whole(), "free": NormalMean(0.0, 1.0)}, None, SEEN)
    assert report.hypothesis.table.posterior_probability.tolist() == pytest.approx([0.5, 0.5])
    assert report.table.loc["whole", ["clml", "loo", "k_fold_log_loss"]].isna().all()
    assert "Left out of cross-validation: 'whole' (its density is that of all rows together" in str(report)
    alone = compare({"one": Whole(), "two": Whole()}, None, SEEN)
    assert alone.generalisation.best == {}
    assert "No model says what it predicts of some rows from others." in str(alone)
    assert len(alone.plot()) == 3


# what is refused ---------------------------------------------------------------------------------------


def refusal(models) -> str:
    report = compare(models, X, Y, orderings=2)
    with pytest.raises(InputError) as caught:
        _ = report.hypothesis
    assert f"No answer: {caught.value}." in str(report) and report.generalisation.best
    with pytest.raises(InputError, match="no Bayes factor"):
        report.plot_sensitivity()
    return str(caught.value)


def test_means_with_other_coefficients_are_no_bayes_factor():
    said = refusal({"one": GPRegressor("rbf"), "two": GPRegressor("rbf", mean="linear")})
    assert said.startswith("no Bayes factor: it takes two models with comparable evidence")
    assert "an improper prior: its mean has 2 coefficients under a flat prior and that of 'one' has" in said


def test_no_priors_are_no_bayes_factor():
    said = refusal({"one": GPRegressor("rbf"), "two": GPRegressor("rbf", priors=None)})
    assert "'two': no prior of what was learnt (priors=None), which is an improper prior" in said


def test_no_evidence_is_no_bayes_factor():
    said = refusal({"one": "rbf", "two": BayesianRidge()})
    assert "'two': a scikit-learn model has no density of all rows together" in said


def test_learnt_by_predictions_is_no_bayes_factor():
    said = refusal({"one": "rbf", "two": GPRegressor("rbf", objective="loo")})
    assert "fit with objective='lml'" in said


def test_what_can_be_weighed_is_weighed():
    models = {"a": "rbf", "b": GPRegressor("rbf", mean="zero"), "c": "linear"}
    report = compare(models, X, Y, orderings=2)
    assert set(report.hypothesis.table.index) == {"a", "c"}
    assert "its mean has no coefficient under a flat prior" in report.hypothesis.left_out["b"]
    assert "Left out of this: 'b' (an improper prior" in str(report.hypothesis)


# generalisation ----------------------------------------------------------------------------------------


def test_differences_are_paired(density):
    table = density.generalisation.table
    rows = [
        norm.logpdf(y, mean, np.sqrt(variance))
        for prior in ((1.0, 1e6), (-0.4, 0.07))
        for i, y in enumerate(SEEN)
        for mean, variance in [predicted(*prior, np.delete(SEEN, i))]
    ]
    wide, narrow = np.reshape(rows, (2, -1))
    difference = wide - narrow
    assert table.loo["wide"] == pytest.approx(wide.mean(), rel=1e-9)
    assert table.loo_behind["narrow"] == pytest.approx(difference.mean(), rel=1e-7)
    assert table.loo_behind_se["narrow"] == pytest.approx(difference.std(ddof=1) / np.sqrt(40), rel=1e-7)
    assert table.loo_behind["wide"] == table.loo_behind_se["wide"] == 0.0


def test_a_lead_below_two_standard_errors_is_not_clear(density):
    verdict = density.generalisation
    assert [verdict.is_clear(key) for key in ("clml", "loo", "k_fold")] == [True, False, False]
    assert "but not always by a clear margin" in str(verdict)


def test_models_that_are_equal_have_no_negative_zero():
    found = compare({"a": NormalMean(0.0, 1.0), "b": NormalMean(0.0, 1.0)}, None, SEEN, orderings=2)
    assert "the log Bayes factor is 0.00 nats (a factor of 1): not worth" in str(found.hypothesis)
