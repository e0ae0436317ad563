"""Published experiments on the marginal likelihood (LML) and its conditional form (CLML), done again.

Sections of ``python benchmarks/clml.py SECTION``; published figures are printed beside ours:

* ``density``: two priors for the location of 40 numbers. LML prefers the one that predicts worse.
* ``fourier``: waves of 3 and of 9 frequencies, where the truth has 9. At 100 rows LML prefers 3 and CLML 9;
  from how many rows on LML prefers 9, and from how many the predictions of single rows do.
* ``rq``: the exponent of a rational-quadratic kernel by LML, CLML and leave-one-out, with large and with
  small noise: what each choice loses on new rows, beside the best one. No criterion finds it in either panel.
* ``lengthscale``: that of an RBF kernel, learnt from few rows by each criterion, beside the true one.
* ``neural_mean``: a perceptron as the mean, trained by LML together with the kernel, and a constant one.
* ``airline``: a straight line, ten weights, and three times 10,000 features, on the logarithm of the airline
  series: is a bigger model really simpler? Infinite and finite networks, which see time and three harmonics
  of the year, seasonal naive and SARIMA beside them.
* ``labels``: digits 3 against 5 with a share of the labels at random: the fit stays perfect, the evidence
  does not. An RBF kernel, and then networks.

Deep kernels by LML and by CLML are in ``python benchmarks/deep.py small``. `clml_models` has the data and the
models; every score is one of `nonparam.model_selection`. Seeds draw the data, but of ``density``, where there
is one set of data as published and the seeds are of others like it, and of ``airline``, where they draw the
features.
"""

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import clml_models as models
import clml_networks as networks
import numpy as np
from statsmodels.tsa.statespace.sarimax import SARIMAX
from tables import header, row

from nonparam import GPRegressor
from nonparam.kernels import RBF, Constant, Kernel
from nonparam.model_selection import clml, effective_parameters, lml, loo, prequential

Array = np.ndarray


def spread(values: list[float] | Array) -> str:
    """Return the median and the range."""
    low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


# Density

DENSITY = {"wide": ("-66.94", "0.7911", "-1.435"), "narrow": ("-66.32", "0.4776", "-1.535")}
CONDITIONED = (5, 20, 36)


def density_scores(z: Array) -> dict[str, tuple[float, ...]]:
    """Return LML, CLML in nats per row for each number that is conditioned on, mean and test density."""
    found = {}
    for name, model in models.LOCATIONS.items():
        fitted = model.fit(z[:40])
        scores = [clml(fitted, fraction=m / 40, n_orderings=200).value for m in CONDITIONED]
        mean = float(fitted.predict(np.zeros((1, 1)))[0]) + model.mean
        found[name] = (lml(fitted), *scores, mean, float(model.log_densities(fitted, z[40:]).mean()))
    return found


def density(seeds: list[int]) -> None:
    published = density_scores(np.random.RandomState(2).randn(1000) + 1.0)
    header(
        *("prior", "LML, published", "ours", *(f"CLML after {m}" for m in CONDITIONED)),
        *("mean, published", "ours", "new rows, published", "ours"),
    )
    for name, (total, *scores, mean, new) in published.items():
        theirs = DENSITY[name]
        row(name, theirs[0], f"{total:.2f}", *scores, theirs[1], f"{mean:.4f}", theirs[2], f"{new:.3f}")
    others = [density_scores(np.random.default_rng(seed).standard_normal(1000) + 1.0) for seed in seeds]
    gaps = np.array([np.subtract(found["wide"], found["narrow"]) for found in others])
    right = ((gaps > 0.0) == (gaps[:, -1:] > 0.0)).mean(0)
    print(
        f"\nOf {len(seeds)} other sets like it the prior with the larger density of new rows has the larger "
        f"LML in {right[0]:.0%}, and the larger CLML in {', '.join(f'{share:.0%}' for share in right[1:4])}."
    )


# Fourier features

WAVES = {"d = 3": (56.3, 10.5), "d = 9": (27.8, 12.7), "d = 9, corrected": (53.8, 12.9)}


def fourier(seeds: list[int]) -> None:
    rows = {seed: models.wave_rows(seed, 500) for seed in seeds}
    header(
        *("model", "LML of 100, published", "ours", "CLML of 15 given 85, published", "ours"),
        *("gap per row", "LOO per row", "LML of 500", "CLML of 50 given 450", "gap per row"),
    )
    for name, published in WAVES.items():
        few = [models.wave_model(name, x[:100], y[:100]) for x, y in rows.values()]
        many = [models.wave_model(name, x, y) for x, y in rows.values()]
        parts = [clml(model, fraction=0.85, n_orderings=200) for model in few]
        last = [clml(model) for model in many]
        row(
            *(name, published[0], spread([lml(model) for model in few])),
            *(published[1], spread([15 * part.value for part in parts])),
            *(spread([part.gap for part in parts]), spread([loo(model).value for model in few])),
            *(spread([lml(model) for model in many]), spread([50 * part.value for part in last])),
            spread([part.gap for part in last]),
        )
    crossings(rows)


def crossings(rows: dict[int, tuple[Array, Array]]) -> None:
    """Print from how many rows on nine frequencies are preferred to three."""
    found, orders = [], 20
    gains = np.zeros((len(rows), orders, 500))
    for i, (seed, (x, y)) in enumerate(rows.items()):
        rng = np.random.default_rng(seed)
        pair = [models.wave_model(name, x, y) for name in ("d = 9", "d = 3")]
        for j in range(orders):
            order = rng.permutation(500)
            gains[i, j] = np.subtract(*(prequential(model, order=order) for model in pair))
        found.append(np.median([models.first_above(np.cumsum(gain)) for gain in gains[i]]))
    mean = np.convolve(gains.mean((0, 1)), np.ones(9) / 9.0, mode="same")
    print()
    header("from how many rows on is d = 9 preferred", "published", "ours")
    row("LML, median of 20 orders", 298, spread(found))
    row("density of the next row, mean over seeds and orders", 53, models.first_above(mean))


# Rational quadratic

ALPHAS = np.logspace(-3.0, 0.5, 100)
TRUE_ALPHA = 0.05
NOISES = {
    "large": (0.2, {"LML": 0.001, "CLML": 0.193, "LOO": "", "new rows": 0.137, "the truth": TRUE_ALPHA}),
    "small": (0.1, {"LML": 0.008, "CLML": 0.006, "LOO": "", "new rows": 0.067, "the truth": TRUE_ALPHA}),
}


def quadratic_scores(x: Array, y: Array, noise: float) -> Array:
    """Return LML, CLML and LOO of 50 rows and the density of 150 new ones, in nats, for each exponent."""
    table = []
    for alpha in ALPHAS:
        model = models.known(models.quadratic(alpha), noise**2, x[:50], y[:50])
        new = model.log_predictive_density(x[50:], y[50:]).sum()
        table.append((lml(model), 50 * clml(model).value, 50 * loo(model).value, new))
    return np.array(table)


def rq(seeds: list[int]) -> None:
    header(
        *("noise", "criterion", "alpha, published", "ours", "nats lost on 150 new rows", "mean"),
        "loses less than LML in",
    )
    for name, (noise, published) in NOISES.items():
        rows = [models.quadratic_rows(seed, noise, TRUE_ALPHA) for seed in seeds]
        scores = np.array([quadratic_scores(x, y, noise) for x, y in rows])
        truth = np.full((len(seeds), 1), np.abs(ALPHAS - TRUE_ALPHA).argmin())
        chosen = np.hstack([scores.argmax(1), truth])
        new = scores[:, :, 3]
        lost = new.max(1, keepdims=True) - np.take_along_axis(new, chosen, 1)
        for i, (criterion, theirs) in enumerate(published.items()):
            better = f"{np.sum(lost[:, i] < lost[:, 0] - 1e-9)} of {len(seeds)}" if i else ""
            mean = float(lost[:, i].mean())
            row(name, criterion, theirs, spread(ALPHAS[chosen[:, i]]), spread(lost[:, i]), mean, better)


# Lengthscale

LENGTHS = {5: (1.728, 1.587), 10: (1.578, 1.503), 20: (1.441, 1.449), 50: ("", ""), 100: (1.404, 1.388)}
TRUE_LENGTH, TRUE_NOISE = 4.0, 0.04


def log_lengths(n: int, objective: str, seeds: list[int]) -> Array:
    """Return the logarithms of the lengthscales that are learnt from n rows, all else known."""
    kernel = Constant(1.0, fixed=("variance",)) * RBF(ard=False)
    model = GPRegressor(
        kernel, mean="zero", noise=TRUE_NOISE, priors=None, objective=objective, random_state=0
    )
    x = np.arange(150.0)
    found = []
    for seed in seeds:
        y = models.smooth_rows(x, TRUE_LENGTH, TRUE_NOISE, np.random.default_rng(seed))
        found.append(float(model.fit(x[:n, None], y[:n]).theta_[0]))
    return np.array(found)


def lengthscale(seeds: list[int]) -> None:
    truth = np.log(TRUE_LENGTH)
    print(f"Logarithm of the lengthscale; true is {truth:.3f}. Infinite: above {4 * truth:.1f}.\n")
    header("rows", "criterion", "mean, published", "ours, finite ones", "median", "quartiles", "infinite")
    for n, published in LENGTHS.items():
        if n < 20:  # a tenth of them is one row, and the mean over all orders is leave-one-out
            criteria = {"lml": published[0], "loo": published[1]}
        else:
            criteria = {"lml": published[0], "clml": published[1], "loo": ""}
        for objective, theirs in criteria.items():
            found = log_lengths(n, objective, seeds)
            finite = found < 4 * truth
            quartiles = "{:.3f} to {:.3f}".format(*np.quantile(found, [0.25, 0.75]))
            mean, median = found[finite].mean(), np.median(found)
            infinite = f"{np.sum(~finite)} of {len(seeds)}"
            row(n, objective.upper(), theirs, f"{mean:.3f}", f"{median:.3f}", quartiles, infinite)


# Neural mean


def neural_mean(seeds: list[int]) -> None:
    print(
        "Published, one draw: the perceptron's lengthscale 3.34, its noise 0.012; true are 0.75 and 0.02.\n"
    )
    header(
        *("mean", "LML", "CLML per row", "CLML per row, refitted", "new rows", "lengthscale", "noise"),
        "preferred by LML, CLML, refitted CLML and new rows in",
    )
    x = np.linspace(0.0, 10.0, 100)[:, None]
    rows = [models.smooth_rows(x[:, 0], 0.75, 0.02, np.random.default_rng(seed)) for seed in seeds]
    contestants = {"perceptron": models.NeuralMean(), "constant": GPRegressor(RBF(ard=False), priors=None)}
    tables = {name: np.array([mean_scores(model, x, y) for y in rows]) for name, model in contestants.items()}
    neural = np.sum(tables["perceptron"][:, :4] > tables["constant"][:, :4], 0)
    wins = {"perceptron": neural, "constant": len(seeds) - neural}
    for name, table in tables.items():
        row(
            name,
            *(spread(column) for column in table.T),
            f"{', '.join(map(str, wins[name]))} of {len(seeds)}",
        )


def mean_scores(model: GPRegressor | models.NeuralMean, x: Array, y: Array) -> tuple[float, ...]:
    old, new = (x[:50], y[:50]), (x[50:], y[50:])
    fitted = model.fit(*old)
    refitted = clml(model, *old, refitted=True, n_orderings=5).value
    length = fitted.lengthscale_ if isinstance(model, models.NeuralMean) else np.exp(fitted.theta_[1])
    beyond = float(fitted.log_predictive_density(*new).mean())
    return lml(fitted), clml(fitted).value, refitted, beyond, float(length), float(fitted.noise_)


# Airline


def airline(seeds: list[int]) -> None:
    t, y = models.airline()
    for held_out in (24, 29):
        n = len(y) - held_out
        print(
            f"\nTrained on {n} months, {held_out} held out; log densities in nats, of thousands of people.\n"
        )
        header(
            *(
                "model",
                "weights",
                "effective",
                "LML",
                "log evidence",
                "CLML per month",
                "s.e.",
                "LOO per month",
            ),
            *("held out, per month", "mean absolute error"),
        )
        for name, features in (models.AIRLINE | networks.AIRLINE).items():
            random = features in (models.structured, models.smooth, networks.tangent)
            drawn = [features(t, y, n, seed) for seed in seeds] if random else [features(t, y, n)]
            table = np.array([airline_scores(each, y, n) for each in drawn])
            count = drawn[0].weights or f"{drawn[0].table.shape[1] + 1:,}"
            row(name, count, *(spread(column) if random else float(column[0]) for column in table.T))
        for name, forecast in (("seasonal naive", seasonal_naive), ("SARIMA", sarima)):
            mean, density = forecast(y[:n], y[n:])
            shown = "" if density is None else density / held_out - y[n:].mean()
            row(name, *[""] * 7, shown, passengers(mean, y[n:]))
        finite = np.array([ensemble_scores(t, y, n, seed) for seed in seeds])
        row("ensemble of 5 networks, months apart", *[""] * 7, *(spread(column) for column in finite.T))


def ensemble_scores(t: Array, y: Array, n: int, seed: int) -> tuple[float, float]:
    mean, density = networks.ensemble(t, y, n, seed)
    return density / len(mean) - y[n:].mean(), passengers(mean, y[n:])


def airline_scores(features: models.Features, y: Array, n: int) -> tuple[float, ...]:
    model = features.fit(y, n)
    units = y[:n].mean()  # a density of logarithms is one of numbers of passengers times these
    part = clml(model)
    evidence = model.log_evidence() if features.log_evidence is None else features.log_evidence
    within = (part.value - units, part.standard_error, loo(model).value - units)
    scores = (effective_parameters(model), lml(model) - n * units, evidence - n * units, *within)
    model.update(features.table[n:], y[n:])
    ahead = model.joint_density().held_out([np.arange(n, len(y))])[0]
    density = ahead.log_joint / (len(y) - n) - y[n:].mean()
    return (*scores, density, passengers(ahead.mean[:, 0], y[n:]))


def passengers(mean: Array, truth: Array) -> float:
    return float(np.abs(np.exp(mean) - np.exp(truth)).mean())


def seasonal_naive(past: Array, future: Array) -> tuple[Array, None]:
    """Repeat the last year; it is no distribution."""
    return past[-12:][np.arange(len(future)) % 12], None


def sarima(past: Array, future: Array) -> tuple[Array, float]:
    """Return the medians of Box and Jenkins's model, and the log density of all that came."""
    fitted = SARIMAX(past, order=(0, 1, 1), seasonal_order=(0, 1, 1, 12)).fit(
        method="nm", disp=False, maxiter=1000
    )
    ahead = fitted.get_forecast(len(future)).predicted_mean
    return ahead, float(fitted.append(future, refit=False).llf_obs[-len(future) :].sum())


# Labels


def labels(seeds: list[int]) -> None:
    header(
        *("noise", "labels at random", "accuracy of the fit", "log evidence per row", "CLML per row"),
        *("new rows, accuracy", "falls in every seed"),
    )
    noises = {"known, 0.01": 0.01, "learnt": "learn"}
    for name, noise in noises.items():
        label_rows(name, lambda share, seed: label_scores(share, seed, noise), seeds)
    for model, kernel in networks.LABELS.items():
        for name, noise in noises.items():
            label_rows(
                f"{model}, {name}", lambda share, seed: label_scores(share, seed, noise, kernel), seeds
            )
    label_rows("ensemble of 5 networks", ensemble_label_scores, seeds)


def label_rows(name: str, scores: Callable[[float, int], tuple[float, ...]], seeds: list[int]) -> None:
    before = np.full(len(seeds), np.inf)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        table = np.array([scores(share, seed) for seed in seeds])
        known = np.isfinite(table[0])
        shown = (spread(column) if there else "" for column, there in zip(table.T, known, strict=True))
        falls = "" if share == 0.0 or not known[1] else f"{np.sum(table[:, 1] < before)} of {len(seeds)}"
        row(name, f"{share:.0%}", *shown, falls)
        before = table[:, 1]


def label_scores(
    share: float, seed: int, noise: float | str, kernel: Callable[[int, int], Kernel] | None = None
) -> tuple[float, ...]:
    x, y, new, truth = models.digit_labels(share, seed)
    model = models.label_model(x, y, noise, kernel and kernel(x.shape[1], seed))
    fit, ahead = models.accuracy(model, x, y), models.accuracy(model, new, truth)
    return fit, model.log_evidence() / len(x), clml(model).value, ahead


def ensemble_label_scores(share: float, seed: int) -> tuple[float, ...]:
    """Return the same four; there is no evidence, and no CLML."""
    x, y, new, truth = models.digit_labels(share, seed)
    model = networks.label_ensemble(x, y, seed)
    return models.accuracy(model, x, y), np.nan, np.nan, models.accuracy(model, new, truth)


SECTIONS = {
    "density": (density, 100),
    "fourier": (fourier, 10),
    "rq": (rq, 20),
    "lengthscale": (lengthscale, 100),
    "neural_mean": (neural_mean, 10),
    "airline": (airline, 5),
    "labels": (labels, 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--seeds", type=int, help="how many; each section has its own number")
    options = parser.parse_args()
    names = ("nonparam", "torch", "numpy", "scikit-learn", "statsmodels")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {packages}\n")
    section, count = SECTIONS[options.section]
    began = time.perf_counter()
    section(list(range(options.seeds or count)))
    print(f"\n{time.perf_counter() - began:.0f} seconds")


if __name__ == "__main__":
    main()
