"""The problems of `benchmarks/scale.py`: data, hyperparameters in both conventions, oracles, a figure."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from scale_peers import Hyperparameters
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from nonparam.checkpoint import State, checkpoint_at
from nonparam.datasets import fetch_uci
from nonparam.kernels import Matern, Scale
from nonparam.kernels.operator import KernelOperator
from nonparam.newton import Watch, maximise_watched
from nonparam.objective import Data, Objective
from nonparam.posterior import Posterior, condition
from nonparam.progress import Progress
from nonparam.scales import default_priors, measure
from nonparam.theta import Theta
from nonparam.threads import threads_for

PROBES = 8  # of a trace


@dataclass(frozen=True)
class Problem:
    """A standardised set, and the objective of a Matern-3/2 kernel on it.

    Attributes:
        x: ``(n, d)``, without constant columns.
        y: ``(n,)``.
        new: rows of the test fold.
        new_y: their outputs.
        columns: the numbers of the columns that are not constant.
        exact: the log marginal likelihood of all rows.
    """

    x: np.ndarray
    y: np.ndarray
    new: np.ndarray
    new_y: np.ndarray
    columns: np.ndarray
    exact: Objective

    @property
    def data(self) -> Data:
        return self.exact.data

    @property
    def theta(self) -> Theta:
        return self.exact.theta

    def point(self, at: Hyperparameters) -> np.ndarray:
        return np.log(np.concatenate([[at["outputscale"]], np.ravel(at["lengthscale"]), [at["noise"]]]))

    def evaluate(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log marginal likelihood and its gradient, exactly."""
        with threads_for(len(self.x)):
            return self.exact.evaluate(point, gradient=True)

    def vector(self, slopes: Hyperparameters) -> np.ndarray:
        return np.concatenate([[slopes["outputscale"]], np.ravel(slopes["lengthscale"]), [slopes["noise"]]])

    def hyperparameters(self, point: np.ndarray) -> Hyperparameters:
        values = np.exp(point)
        return {"outputscale": values[0], "lengthscale": values[1:-1], "noise": values[-1]}


def problem(name: str, n: int | None, *, basis: bool = True) -> Problem:
    """Return ``n`` rows of the training part of fold 0, drawn with seed 0; all of them for ``None``."""
    x, y, new, new_y = fetch_uci(name).split(0)
    rows = np.random.default_rng(0).permutation(len(x))[:n]
    x, y = x[rows], y[rows]
    columns = np.flatnonzero(x.std(0) > 1e-12)
    centre, spread = x.mean(0)[columns], x.std(0)[columns]
    new_y, y = (new_y - y.mean()) / y.std(), (y - y.mean()) / y.std()
    x, new = ((table[:, columns] - centre) / spread for table in (x, new))
    data = Data(
        x=torch.tensor(x),
        y=torch.tensor(y)[:, None],
        basis=torch.ones(len(x), int(basis), dtype=torch.float64),
        weights=torch.ones(len(x), dtype=torch.float64),
        noise=None,
    )
    kernel = Scale(Matern([1.0] * x.shape[1], nu=1.5), 1.0)
    scales = measure(x, y[:, None], np.ones(len(x)), normalize_y=True, find_periods=False)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), 0.05)
    return Problem(x, y, new, new_y, columns, Objective(data, theta, with_prior=basis))


def optimum_of_rows(task: Problem, m: int) -> np.ndarray:
    """Return the maximum on the first ``m`` rows: where `GPRegressor` would begin."""
    subset = replace(task.exact, data=task.data.rows(torch.arange(m)))
    watch = Watch(checkpoint_at(None, 5.0, {}).__enter__(), Progress(False))
    with threads_for(m):
        point, _ = maximise_watched(
            subset,
            State(task.theta.starting_points(0, np.random.RandomState(0))),
            watch,
            plan="",
            tolerance=0.1,
        )
    return point


def published(name: str, task: Problem) -> Hyperparameters:
    """Return the hyperparameters of the first fold that Lin et al. (2023) published with their code."""
    path = Path(os.environ.get("NONPARAM_DATA", ".")) / "uci" / "published_gp_hparams_sgdgp.json"
    given = json.loads(path.read_text())[name]["0"]
    return {
        "outputscale": given["signal_scale"] ** 2,
        "lengthscale": np.array(given["length_scale"])[task.columns],
        "noise": given["noise_scale"] ** 2,
    }


def scores(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Return the root mean squared error and the mean negative log density."""
    error = (y - mean) ** 2
    return float(np.sqrt(error.mean())), float(0.5 * np.mean(np.log(2 * np.pi * variance) + error / variance))


def nearness(found: np.ndarray, exact: np.ndarray) -> tuple[str, float]:
    """Return the cosine and the relative error of a gradient."""
    cosine = float(found @ exact / np.linalg.norm(found) / np.linalg.norm(exact))
    return f"{cosine:.5f}", float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def system(task: Problem, at: Hyperparameters) -> tuple[KernelOperator, torch.Tensor, torch.Tensor]:
    task.theta.assign(task.point(at))
    matrix = KernelOperator(task.theta.kernel, task.data.x.float(), keep=True)
    shift = torch.full((len(task.x),), float(at["noise"]))
    probes = torch.randn(len(task.x), PROBES, generator=torch.Generator().manual_seed(0))
    return matrix, shift, torch.cat([task.data.y.float(), task.data.basis.float(), probes], 1)


def condition_at(task: Problem, noise: float = 0.1) -> Posterior:
    """Return the posterior at the hyperparameters that the kernel has now."""
    return condition(task.theta.kernel, task.data, noise)


def curve(task: Problem, at: Hyperparameters, new: np.ndarray) -> np.ndarray:
    """Return the variances at new rows by SciPy in float64, the constant's uncertainty counted."""
    scale = np.asarray(at["lengthscale"])

    def matern(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        s = np.sqrt(3.0) * cdist(left / scale, right / scale)
        return float(at["outputscale"]) * (1.0 + s) * np.exp(-s)

    factor = cho_factor(matern(task.x, task.x) + float(at["noise"]) * np.eye(len(task.x)), overwrite_a=True)
    cross, ones = matern(task.x, new), np.ones(len(task.x))
    weighted = cho_solve(factor, ones)
    left = float(at["outputscale"]) - np.einsum("ij,ij->j", cross, cho_solve(factor, cross))
    return left + (1.0 - weighted @ cross) ** 2 / weighted.sum()


def draw_sizes(found: list[dict[str, object]], slope: float, path: str) -> None:
    """Draw seconds and memory over rows, both axes logarithmic."""
    figure, left = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
    n = [each["n"] for each in found]
    (time_line,) = left.loglog(n, [each["seconds"] for each in found], "o-", label=f"fit, slope {slope:.2f}")
    right = left.twinx()
    (memory_line,) = right.loglog(
        n, [each["peak"] for each in found], "s--", color="tab:orange", label="peak memory"
    )
    left.set(xlabel="rows", ylabel="seconds to fit")
    right.set_ylabel("peak memory, GB")
    left.legend(handles=[time_line, memory_line], frameon=False)
    figure.savefig(path, dpi=150)
