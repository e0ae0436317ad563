"""Where the evidence tells which structure forecasts well, and where it does not."""

import argparse
import pickle
import shlex
import sys
import warnings
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from forecast_trends import DEFAULT, TRENDS, Comparison, compare_alike, forecasts_of
from m3 import gp
from m3_data import Record, records, shifted
from m3_scores import frame, interval, paired_table, score_all, scores_table
from tables import header, row, versions

from nonparam import GPForecaster
from nonparam.datasets import load_airline
from nonparam.forecasting.covariances import Covariances
from nonparam.forecasting.structure import Structure, build_structure
from nonparam.forecasting.transforms import LINKS, LOG

ORIGINS = ("official", "earlier")  # the second by a year
MEASURES = ("mase", "scrps", "msis")
LENGTHS = (72, 96, 120, 144)  # of simulated series
SPREAD = 0.5  # of their hyperparameters, in standard deviations of the priors
KINDS = tuple((seasonal, link) for seasonal in (True, False) for link in LINKS)
QUESTIONS = {
    "log, not identity": lambda member: member.transform == "log",
    "season, not none": lambda member: bool(member.seasons),
}
ASKED = {"log, not identity": 10, "season, not none": 20}
warnings.simplefilter("ignore")


def chosen(frequency: str, origin: str, every: int) -> list[Record]:
    """Return the series on which priors may be tuned, in the order of their lengths."""
    found = [record for record in records(frequency) if record.tuned][::every]
    found = [shifted(record) for record in found] if origin == "earlier" else found
    return sorted(found, key=lambda record: len(record.train))


def comparisons(frequency: str, origin: str, every: int, refit: bool, folder: Path) -> list[Comparison]:
    path = folder / f"{frequency}_{origin}_{every}{'_refit' * refit}.pickle"
    if not path.exists():
        series = chosen(frequency, origin, every)
        alike = [list(group) for _, group in groupby(series, key=lambda record: len(record.train))]
        found = [comparison for group in alike for comparison in compare_alike(group, refit=refit)]
        path.write_bytes(pickle.dumps(found))
    return pickle.loads(path.read_bytes())


def trend(frequencies: list[str], origins: list[str], every: int, refit: bool, folder: Path) -> None:
    for frequency in frequencies:
        for origin in origins:
            found = comparisons(frequency, origin, every, refit, folder)
            report_trends(f"{frequency}, {origin} origin", found)


def report_trends(title: str, found: list[Comparison]) -> None:
    seconds = pd.DataFrame([comparison.seconds for comparison in found]).mean()
    spent = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    print(f"\n{title}: {len(found)} series; seconds for each: {spent}\n")
    series, forecasts = [c.record for c in found], [forecasts_of(c) for c in found]
    scores = {
        name: frame(series, {r.name: f[name] for r, f in zip(series, forecasts, strict=True)}, None)
        for name in forecasts[0]
    }
    header("trend", "MASE", "scaled CRPS", "MSIS", "80 %", "95 %", *(f"{m}, minus default" for m in MEASURES))
    default = scores[DEFAULT]
    for name, table in scores.items():
        means = table.mean(numeric_only=True)
        cells = [f"{means[m]:.4f}" for m in MEASURES] + [f"{means[f'cov{level}']:.3f}" for level in (80, 95)]
        against = [interval(table[m] - default[m]) if name != DEFAULT else "" for m in MEASURES]
        row(name, *cells, *against)
    best = np.min([scores[name]["mase"] for name in TRENDS], axis=0).mean()
    row("best in hindsight", f"{best:.4f}", *[""] * 7)


# recovery -------------------------------------------------------------------------------------


def simulate(seasonal: bool, link: str, rng: np.random.Generator) -> np.ndarray:
    """Return a positive monthly series: hyperparameters about the medians of their priors, then a draw.

    It spreads by 30 to 50 % of its mean, or of a factor of e; a season has at least half of the variance
    that memory and noise have, for it is not to be found otherwise.
    """
    n = int(rng.choice(LENGTHS))
    x = np.arange(1.0 - n, 1.0)[:, None] / 12.0
    structure = build_structure(float(x[0, 0]))
    omitted = () if seasonal else ("season",)
    middle, sd = structure.switched_off(omitted), structure.theta().prior_precision ** -0.5
    while True:
        point = np.where(
            structure.entries(omitted), middle, middle + SPREAD * sd * rng.standard_normal(len(sd))
        )
        if seasonal and not is_visible(structure, point):
            continue
        covariances = Covariances(structure, x)
        (k,) = covariances.matrices(point[None], covariances.functions(point[None]))
        k = k + np.exp(point[-1]) * np.eye(n)
        z = standardised(np.linalg.cholesky(k) @ rng.standard_normal(n))
        y = 100.0 * LINKS[link].inverse(float(link == "identity") + rng.uniform(0.3, 0.5) * z)
        if LOG.suits(y):
            return y


def is_visible(structure: Structure, point: np.ndarray) -> bool:
    found = structure.natural(point, 1.0, 1.0)
    return found["season variance"] > 0.5 * (found["memory variance"] + found["noise variance"])


def recovery(draws: int, seeds: list[int]) -> None:
    """Print how often the most evident candidate has the season and the transform of the truth."""
    header(
        *("seed", "season", "transform", "series", "both right", "season right", "transform right"),
        *("probability of the truth", "nats before the best other, median", "quartiles"),
    )
    totals = []
    for seed in seeds:
        for kind, (seasonal, link) in enumerate(KINDS):
            rng = np.random.default_rng([seed, kind])
            found = np.array([recovered(simulate(seasonal, link, rng), seasonal, link) for _ in range(draws)])
            totals.append(found)
            recovery_row(seed, "yes" if seasonal else "no", link, found)
    recovery_row("all", "", "", np.concatenate(totals))


def recovered(y: np.ndarray, seasonal: bool, link: str) -> list[float]:
    """Return whether season and transform are right, the truth's probability, and its lead in nats."""
    members = GPForecaster(12).fit(pd.Series(y)).report_.members
    evidence = {(bool(member.seasons), member.transform): member.log_evidence for member in members}
    best, truth = max(evidence, key=evidence.__getitem__), evidence.pop((seasonal, link))
    others = np.array(list(evidence.values()))
    probability = 1.0 / (1.0 + np.exp(others - truth).sum())
    return [best[0] == seasonal, best[1] == link, probability, truth - others.max()]


def recovery_row(seed: object, season: str, link: str, found: np.ndarray) -> None:
    right, low, high = found[:, :2], *np.quantile(found[:, 3], [0.25, 0.75])
    shares = [f"{share:.3f}" for share in (right.all(1).mean(), *right.mean(0), found[:, 2].mean())]
    row(seed, season, link, len(found), *shares, f"{np.median(found[:, 3]):.1f}", f"{low:.1f} to {high:.1f}")


def standardised(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / y.std()


# airline, averaging ---------------------------------------------------------------------------


def airline() -> None:
    members = GPForecaster().fit(load_airline()).report_.members
    header("candidate", "log evidence")
    for member in members:
        row(member.name, f"{member.log_evidence:.2f}")
    best = {
        question: [max(m.log_evidence for m in members if answer(m) == value) for value in (True, False)]
        for question, answer in QUESTIONS.items()
    }
    print()
    header("question", "nats", "asked")
    for question, (yes, no) in best.items():
        row(question, f"{yes - no:.2f}", ASKED[question])


def averaging(frequencies: list[str], origins: list[str], every: int, folder: Path) -> None:
    for frequency in frequencies:
        for origin in origins:
            series = chosen(frequency, origin, every)
            methods = {
                name: score_all(
                    series,
                    lambda record, average=average: gp(record, average),
                    folder / f"{frequency}_{origin}_{every}_{name}.csv",
                    None,
                )
                for name, average in (("average", True), ("best", False))
            }
            scores_table(f"{frequency}, {origin} origin", methods)
            paired_table("average", methods)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["trend", "recovery", "airline", "averaging"])
    parser.add_argument("--folder", type=Path, default=Path("forecast_evidence"), help="where fits are kept")
    parser.add_argument("--frequencies", nargs="*", default=["monthly", "quarterly"])
    parser.add_argument("--origins", nargs="*", default=list(ORIGINS), choices=ORIGINS)
    parser.add_argument("--every", type=int, default=1, help="take each k-th series only")
    parser.add_argument("--refit", action="store_true", help="criteria with refits too: four times as long")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=25, help="of each kind, with each seed")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {versions('nonparam', 'torch', 'numpy', 'scipy')}")
    print(f"`{shlex.join(['python', *sys.argv])}`; seconds are those of one processor")
    if options.section == "trend":
        trend(options.frequencies, options.origins, options.every, options.refit, options.folder)
    elif options.section == "recovery":
        recovery(options.draws, options.seeds)
    elif options.section == "airline":
        airline()
    else:
        averaging(options.frequencies, options.origins, options.every, options.folder)


if __name__ == "__main__":
    main()
