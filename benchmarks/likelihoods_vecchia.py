"""Nearest-neighbour Gaussian processes of many rows, beside GPBoost's and, where it fits, an exact one.

``python benchmarks/likelihoods_vecchia.py --data houseelectric --rows 100000``. Rows are read from the folder
that ``NONPARAM_DATA`` names: ``houseelectric`` (uci/houseelectric_raw.npz, tested on its first fold), and the
sets of `nonparam.datasets.fetch_uci` such as ``kin40k`` and ``protein``. Columns are standardised.

Both packages see the same training rows, a Matern-5/2 kernel with a lengthscale per column, no mean (the
outputs are centred) and as many neighbours, each in a random order of its own. The first table has the log
likelihoods and predictions at the hyperparameters that ours found; they differ by the order only, as much as
the line of a second order of ours does from the first. The second has both fits; ``--peer-only-values``
spares GPBoost's, which takes hours for 500,000 rows. GPBoost is called by the Python of an environment of its
own: ``--peer FOLDER`` (``python -m venv FOLDER``, then ``FOLDER/bin/pip install gpboost``).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from tables import header, row, versions

from nonparam import GPRegressor, NearestNeighbourGPRegressor
from nonparam.datasets import fetch_uci
from nonparam.kernels import Matern, Scale

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
WARM_UP = 300  # rows, on which loops are compiled
SCORED = 20_000  # test rows at most
EXACT = 10_000  # rows up to which an exact Gaussian process is fitted as well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="houseelectric")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--neighbours", type=int, default=30)
    parser.add_argument("--peer", type=Path, help="folder of an environment that has gpboost")
    parser.add_argument("--peer-only-values", action="store_true", help="gpboost fits nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    split = load(options.data, options.rows)
    n, d = split[0].shape
    m = options.neighbours
    print(f"{versions('nonparam', 'torch', 'numba')}, {options.threads} threads")
    print(f"{options.data}: {n:,} rows of {d} columns, {len(split[2]):,} to test on, {m} neighbours\n")
    regressor("matern52", "learn", m).fit(split[0][:WARM_UP], split[1][:WARM_UP]).predict(split[2][:2])
    ours = regressor("matern52", "learn", m).fit(*split[:2])
    values = ours.noise_, float(ours.kernel_.outputscale.detach()), *lengthscales(ours)
    peers = asked(split, np.array(values), options) if options.peer else None
    same_values(split, ours, m, peers)
    fits(split, ours, peers)
    print(f"\n{ours.fit_report_}\n{ours.kernel_}, noise {ours.noise_:.4g}")
    if peers is not None and "fit_lml" in peers:
        print(f"GPBoost: noise, variance and lengthscales {peers['fit_pars'].round(4).tolist()}")


def load(name: str, rows: int) -> Split:
    """Return standardised rows to train and to test on."""
    if name == "houseelectric":
        held = np.load(Path(os.environ.get("NONPARAM_DATA", ".")) / "uci" / "houseelectric_raw.npz")
        tested = held["fold"] == 0
        x, y = held["X"].astype(float), held["y"].astype(float)
        split = x[~tested], y[~tested], x[tested], y[tested]
    else:
        split = fetch_uci(name).split(0)
    x, y, x_test, y_test = split
    rng = np.random.default_rng(0)
    some, tests = rng.permutation(len(x))[:rows], rng.permutation(len(x_test))[:SCORED]
    x, y, x_test, y_test = x[some], y[some], x_test[tests], y_test[tests]
    centre, spread = x.mean(0), x.std(0)
    kept = spread > 1e-12
    x, x_test = ((part - centre)[:, kept] / spread[kept] for part in (x, x_test))
    return x, (y - y.mean()) / y.std(), x_test, (y_test - y.mean()) / y.std()


def regressor(kernel: object, noise: object, m: int, seed: int = 0) -> NearestNeighbourGPRegressor:
    return NearestNeighbourGPRegressor(kernel, noise=noise, mean="zero", num_neighbours=m, random_state=seed)


def lengthscales(model: NearestNeighbourGPRegressor) -> list[float]:
    return model.kernel_.kernel.lengthscale.detach().numpy().ravel().tolist()


def asked(split: Split, values: np.ndarray, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return what GPBoost answers."""
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "question.npz"), Path(folder, "answer.npz")
        x, y, x_test, _ = split
        np.savez(
            question,
            X=x,
            y=y,
            X_test=x_test,
            pars=values,
            num_neighbours=options.neighbours,
            fitted=not options.peer_only_values,
        )
        python = options.peer / "bin" / "python"
        peer = Path(__file__).with_name("likelihoods_vecchia_peer.py")
        threads = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        command = [str(python), str(peer), str(question), str(answer)]
        subprocess.run(command, check=True, env=threads, stdout=sys.stderr)
        with np.load(answer) as found:
            return dict(found)


def same_values(split: Split, ours: NearestNeighbourGPRegressor, m: int, peers: dict | None) -> None:
    """Print the likelihoods and predictions of both at the same hyperparameters."""
    x, y, x_test, y_test = split
    header("at the same hyperparameters", "LML", "LML per row", "seconds for it", "NLL", "RMSE")
    fixed = Matern(lengthscales(ours), nu=2.5, fixed=("lengthscale",))
    kernel = Scale(fixed, float(ours.kernel_.outputscale), fixed=("outputscale",))
    found = []
    for seed in (0, 1):
        model = regressor(kernel, ours.noise_, m, seed).fit(x, y)
        mean, sd = model.predict(x_test, return_std=True)
        found.append((mean, sd**2))
        seconds = f"{model.fit_report_.seconds:.3g}"
        line(f"nonparam, order {seed}", model.log_marginal_likelihood_, len(x), seconds, mean, sd, y_test)
    if peers is None:
        return
    mean, variance = peers["mean"], peers["variance"]
    seconds = f"{float(peers['build_seconds']) + float(peers['lml_first_seconds']):.3g}"
    line("GPBoost", float(peers["lml"]), len(x), seconds, mean, np.sqrt(variance), y_test)
    gap = np.abs(found[0][0] - mean).max(), np.abs(found[0][1] / variance - 1.0).max()
    print(f"\nlargest differences from GPBoost: {gap[0]:.1e} of a mean, {gap[1]:.1e} of a variance, relative")
    print(f"a second evaluation takes GPBoost {float(peers['lml_again_seconds']):.3g} s\n")


def line(
    name: str, lml: float, n: int, seconds: str, mean: np.ndarray, sd: np.ndarray, y: np.ndarray
) -> None:
    nll = np.mean(0.5 * ((y - mean) / sd) ** 2 + np.log(sd) + 0.5 * np.log(2.0 * np.pi))
    rmse = np.sqrt(np.mean((y - mean) ** 2))
    row(name, f"{lml:.2f}", f"{lml / n:.5f}", seconds, f"{nll:.4f}", f"{rmse:.4f}")


def fits(split: Split, ours: NearestNeighbourGPRegressor, peers: dict | None) -> None:
    """Print what the fits reached, and how long they took."""
    x, y, x_test, y_test = split
    header("fit", "LML", "LML per row", "seconds", "NLL", "RMSE")
    began = time.perf_counter()
    mean, sd = ours.predict(x_test, return_std=True)
    predicted = time.perf_counter() - began
    seconds = f"{ours.fit_report_.seconds:.3g}"
    line("nonparam", ours.log_marginal_likelihood_, len(x), seconds, mean, sd, y_test)
    if peers is not None and "fit_lml" in peers:
        mean, sd = peers["fit_mean"], np.sqrt(peers["fit_variance"])
        seconds = f"{float(peers['fit_seconds']):.3g}"
        line("GPBoost", float(peers["fit_lml"]), len(x), seconds, mean, sd, y_test)
    if len(x) <= EXACT:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exact = GPRegressor("matern52", mean="zero", random_state=0).fit(x, y)
        seconds = f"{time.perf_counter() - began:.3g}"
        mean, sd = exact.predict(x_test, return_std=True)
        line("exact", exact.log_marginal_likelihood_, len(x), seconds, mean, sd, y_test)
    print(f"\npredicting {len(x_test):,} rows took {predicted:.3g} s", end="")
    print("" if peers is None else f", GPBoost {float(peers['predict_seconds']):.3g} s")


if __name__ == "__main__":
    main()
