"""Classes by `GPClassifier`, beside scikit-learn's and GPyTorch's Gaussian processes.

``two``: breast cancer, digits 3 against 5, Pima (NONPARAM_DATA names the folder with its 532 rows) and iris,
at most 500 rows to train on, columns standardised; both packages with one squared exponential kernel with one
lengthscale, scikit-learn's as its guide has it. Fits take turns; seconds are medians of the processor's, with
one thread those of an idle machine. Asked were an NLL no worse than 0.005, a fifth of the time at 500 rows,
and the same Laplace evidence at fixed hyperparameters.

``digits``: ten classes, 1,200 of the 1,797 digits to train on, three splits. Beside `GPClassifier`, one
scikit-learn classifier for each class against the rest (its `GaussianProcessClassifier`, whose
hyperparameters are learnt for each), ours for each class against the rest, and GPyTorch's exact Dirichlet
classifier with learnt additional noise, 100 steps of Adam, 1,000 draws of the softmax.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/likelihoods.py two digits``; ``--runs 5`` by default.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import gpytorch
import numpy as np
import pandas as pd
import torch
from networks_scores import class_scores, spread
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from tables import header, row, versions

from nonparam import GPClassifier

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
ONE_SCALE = "rbf(ard=False)"
MOST = 500
DRAWS, STEPS = 1000, 100


def pima() -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(Path(os.environ["NONPARAM_DATA"], "evidence", "pima_532_standardised.csv"))
    return table.drop(columns="diabetes").to_numpy(), table["diabetes"].to_numpy().astype(int)


def three_or_five() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    chosen = np.isin(y, (3, 5))
    return x[chosen], (y[chosen] == 5).astype(int)


SETS = {
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits 3 or 5": three_or_five,
    "Pima": pima,
    "iris": lambda: load_iris(return_X_y=True),
}


def split(x: np.ndarray, y: np.ndarray, seed: int, most: int, share: float = 0.7) -> Split:
    order = np.random.default_rng(seed).permutation(len(x))
    n = min(int(share * len(x)), most)
    train, test = order[:n], order[n:]
    scaler = StandardScaler().fit(x[train])
    return scaler.transform(x[train]), y[train], scaler.transform(x[test]), y[test]


def theirs(columns: int) -> GaussianProcessClassifier:
    kernel = ConstantKernel(1.0, (1e-3, 1e5)) * RBF(np.sqrt(columns), (1e-3, 1e4))
    return GaussianProcessClassifier(kernel, random_state=0)


def timed(make: Callable[[], object], data: Split) -> tuple[object, float]:
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make().fit(data[0], data[1])
    return model, time.process_time() - began


def two(runs: int) -> None:
    header("set", "rows", "model", "NLL", "accuracy", "calibration error", "seconds", "times faster")
    for name, load in SETS.items():
        scores: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(runs):
            data = split(*load(), seed, MOST)
            pairs = {
                "nonparam": lambda: GPClassifier(ONE_SCALE, random_state=0),
                "scikit-learn": lambda: theirs(data[0].shape[1]),
            }
            for model, make in pairs.items():
                fitted, seconds = timed(make, data)
                found = class_scores(data[3], fitted.predict_proba(data[2]))
                scores.setdefault(model, []).append((*found, seconds))
        slow = np.median([each[3] for each in scores["scikit-learn"]])
        for model, found in scores.items():
            accuracy, nll, error, seconds = np.transpose(found)
            middle = float(np.median(seconds))
            shown = [spread(each, 4) for each in (nll, accuracy, error)]
            row(name, len(data[0]), model, *shown, f"{middle:.3g}", f"{slow / middle:.2g}")
    print()
    large(runs)
    same_evidence()


def large(runs: int) -> None:
    """Print the times at 500 rows, for which the smaller sets have too few."""
    header("500 rows of", "nonparam, seconds", "scikit-learn", "ratio")
    for name in ("breast cancer", "Pima"):
        x, y = SETS[name]()
        data = split(x, y, 0, MOST, share=1.0)
        ours, peers = [], []
        timed(lambda: GPClassifier(ONE_SCALE, random_state=0), data)
        for _ in range(runs):
            ours.append(timed(lambda: GPClassifier(ONE_SCALE, random_state=0), data)[1])
            peers.append(timed(lambda: theirs(data[0].shape[1]), data)[1])
        shown = [f"{np.median(t):.3g} ({min(t):.3g} to {max(t):.3g})" for t in (ours, peers)]
        row(name, *shown, f"{np.median(peers) / np.median(ours):.2g}")
    print()


def same_evidence() -> None:
    """Print both packages' Laplace evidence at the same hyperparameters."""
    header("set", "largest difference of the Laplace evidence, nats")
    for name in ("breast cancer", "digits 3 or 5", "Pima"):
        x, y, _, _ = split(*SETS[name](), 0, MOST)
        gaps = []
        for variance, length in ((1.0, 2.0), (10.0, 5.0), (100.0, 20.0)):
            fixed = f"{variance} * rbf({length}, ard=False)"
            ours = GPClassifier(fixed, mean="zero", inference="laplace", temperature=1.0).fit(x, y)
            at = np.log([variance, length])
            peer = GaussianProcessClassifier(ConstantKernel(variance) * RBF(length), optimizer=None)
            peer.fit(x, y)
            order = [("variance" in each or "outputscale" in each) for each in ours.theta_names_]
            point = at if order[0] else at[::-1]
            gaps.append(abs(ours.log_marginal_likelihood(point) - peer.log_marginal_likelihood(at)))
        row(name, f"{max(gaps):.1e}")
    print()


# ten digits --------------------------------------------------------------------------------------


class DirichletModel(gpytorch.models.ExactGP):
    """GPyTorch's exact regression on log-normal targets, a batch of one function for each class."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, likelihood: gpytorch.likelihoods.Likelihood) -> None:
        super().__init__(x, y, likelihood)
        classes = torch.Size((likelihood.num_classes,))
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=classes)
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.RBFKernel(batch_shape=classes), batch_shape=classes
        )

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class Dirichlet:
    """The same with scikit-learn's names."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Dirichlet":
        torch.manual_seed(0)
        rows, labels = torch.from_numpy(x), torch.from_numpy(y)
        likelihood = gpytorch.likelihoods.DirichletClassificationLikelihood(
            labels, learn_additional_noise=True, dtype=torch.float64
        )
        self.model = DirichletModel(rows, likelihood.transformed_targets, likelihood).double()
        self.model.covar_module.base_kernel.lengthscale = np.sqrt(x.shape[1])
        self.likelihood = likelihood.double()
        self.model.train()
        mll = gpytorch.mlls.ExactMarginalLogLikelihood(self.likelihood, self.model)
        optimiser = torch.optim.Adam(self.model.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimiser.zero_grad()
            loss = -mll(self.model(rows), likelihood.transformed_targets).sum()
            loss.backward()
            optimiser.step()
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.no_grad(), gpytorch.settings.fast_pred_var(False):
            posterior = self.model(torch.from_numpy(x))
            draws = posterior.variance.sqrt() * torch.randn(DRAWS, *posterior.mean.shape) + posterior.mean
            return draws.softmax(1).mean(0).T.numpy()


def digits(runs: int) -> None:
    header("1,200 digits", "NLL", "accuracy", "calibration error", "seconds")
    models = {
        "nonparam": lambda: GPClassifier(ONE_SCALE, random_state=0),
        "nonparam, softmax by Laplace": lambda: GPClassifier(ONE_SCALE, inference="laplace", random_state=0),
        "nonparam, each against the rest": lambda: OneVsRestClassifier(
            GPClassifier(ONE_SCALE, random_state=0)
        ),
        "scikit-learn, each against the rest": lambda: theirs(64),
        "GPyTorch, Dirichlet": Dirichlet,
    }
    for name, make in models.items():
        scores = []
        for seed in range(min(runs, 3)):
            x, y = load_digits(return_X_y=True)
            order = np.random.default_rng(seed).permutation(len(x))
            train, test = order[:1200], order[1200:]
            data = x[train] / 16.0, y[train], x[test] / 16.0, y[test]
            fitted, seconds = timed(make, data)
            accuracy, nll, error = class_scores(data[3], fitted.predict_proba(data[2]))
            scores.append((nll, accuracy, error, seconds))
        nll, accuracy, error, seconds = np.transpose(scores)
        shown = [spread(each, 4) for each in (nll, accuracy, error)]
        row(name, *shown, f"{np.median(seconds):.3g}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=("two", "digits"))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{versions('nonparam', 'scikit-learn', 'gpytorch', 'torch', 'numpy')}; 1 thread(s)\n")
    for part in options.parts:
        {"two": two, "digits": digits}[part](options.runs)


if __name__ == "__main__":
    main()
