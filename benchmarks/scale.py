"""Exact Gaussian processes on many rows: nonparam beside GPyTorch, its LOVE variances and its SVGP.

Matern-3/2 with a lengthscale per column, fold 0 of the public benchmark sets, inputs and outputs
standardised. All contestants have the same threads and the same huge memory pages; within a section their
runs alternate. Sections: ``evidence``, ``step``, ``fit``, ``variance``, ``preconditioner``, ``engines``,
``probes``, ``gradient``, ``whole``, ``sizes``. Run ``python benchmarks/scale.py SECTION``; sets are fetched,
or read from the folder that ``NONPARAM_DATA`` names. `scale_peers.py` drives GPyTorch as its examples do.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for all, before torch is imported

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import TypeVar

import numpy as np
import torch
from scale_peers import Hyperparameters, Trainer, fit_svgp
from scale_problem import (
    PROBES,
    Problem,
    condition_at,
    curve,
    nearness,
    optimum_of_rows,
    problem,
    published,
    scores,
    system,
)
from tables import header, row

from nonparam import GPRegressor
from nonparam.newton import certified_slope
from nonparam.solvers.alternating_projections import alternating_projections
from nonparam.solvers.conjugate_gradients import conjugate_gradients
from nonparam.solvers.operator import Shifted
from nonparam.solvers.pivoted_cholesky import pivoted_cholesky
from nonparam.solvers.preconditioner import LowRank
from nonparam.solvers.randomly_pivoted_cholesky import randomly_pivoted_cholesky
from nonparam.solvers.stochastic_dual import stochastic_dual
from nonparam.solves import SolvedEvidence

LARGE = ("elevators", "bike", "pol", "protein", "kin40k")
TEST_ROWS = 1000
RANK = 500
T = TypeVar("T")


def timed(task: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = task()
    return time.perf_counter() - began, result


def summary(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3g} [{min(seconds):.3g}-{max(seconds):.3g}]"


def solved(task: Problem, tolerance: float) -> SolvedEvidence:
    return SolvedEvidence(
        task.data,
        task.theta,
        True,
        dtype=torch.float32,
        tolerance=tolerance,
        num_probes=PROBES,
        rank=RANK,
        seed=0,
    )


def evidence(runs: int, names: list[str], sizes: list[int]) -> None:
    """Value and gradient, exactly: float64, the same hyperparameters, mean known to be 0."""
    header("set", "n", "contestant", "seconds", "times ours", "value", "relative difference")
    for name in names:
        for n in sizes:
            task = problem(name, n, basis=False)
            d = task.x.shape[1]
            at = {"outputscale": 1.0, "lengthscale": np.full(d, np.sqrt(d)), "noise": 0.1}
            point = task.point(at)
            peers = {
                "GPyTorch, Cholesky, float64": Trainer(task.x, task.y, dtype=torch.float64, name="cholesky"),
                "GPyTorch, default, float32": Trainer(task.x, task.y),
            }
            for peer in peers.values():
                peer.model.move_to(at)
                peer.model.mean_module.constant.requires_grad_(False)
            contestants = {"nonparam": lambda: task.evaluate(point)[0]} | {
                key: (lambda peer=peer: peer.evaluate()[0]) for key, peer in peers.items()
            }
            compare(name, n, contestants, runs)
            _, slope = task.evaluate(point)
            theirs = task.vector(peers["GPyTorch, Cholesky, float64"].evaluate()[1])
            difference = np.abs(slope - theirs).max() / np.abs(theirs).max()
            print(f"\ngradients differ by {difference:.1e} at most; bound: {bound(task, point)}\n")


def compare(name: str, n: int, contestants: dict[str, Callable[[], float]], runs: int) -> None:
    seconds: dict[str, list[float]] = {key: [] for key in contestants}
    values: dict[str, float] = {}
    for turn in range(runs + 1):
        for key, contestant in contestants.items():
            elapsed, values[key] = timed(contestant)
            if turn > 0:  # the first turn warms up
                seconds[key].append(elapsed)
    ours, value = statistics.median(seconds["nonparam"]), values["nonparam"]
    for key in contestants:
        ratio = statistics.median(seconds[key]) / ours
        row(name, n, key, summary(seconds[key]), ratio, values[key], abs(values[key] / value - 1.0))


def bound(task: Problem, point: np.ndarray) -> str:
    """One Cholesky and one inverse at the rate of a matrix product, plus one pass over the kernel."""
    n = min(3000, len(task.x))
    a = torch.randn(n, n, dtype=torch.float64)
    product = min(timed(lambda: a @ a)[0] for _ in range(3)) / (2 * n**3)
    task.theta.assign(point)
    passing = min(timed(lambda: condition_at(task))[0] for _ in range(3))
    least = len(task.x) ** 3 * product + passing
    return f"{least:.3g} s"


def step(runs: int, names: list[str], n: int) -> None:
    """Steps of training, where GPyTorch's Adam leads: ours verified to 0.01, theirs by default."""
    header(
        "set",
        "n",
        "nonparam, s",
        "its first step, s",
        "largest residual",
        "products",
        "GPyTorch default, s",
        "times ours",
    )
    for name in names:
        task = problem(name, n)
        start = optimum_of_rows(task, 1000)
        peer = Trainer(task.x, task.y)
        peer.model.move_to(task.hyperparameters(start))
        evaluator, ours, theirs, near = solved(task, 0.01), [], [], None
        residual, products, first = 0.0, [], 0.0
        for turn in range(runs + 1):
            point = task.point(peer.model.where())
            elapsed, (near, evaluator) = timed(
                lambda point=point, near=near, by=evaluator: certified_slope(by, point, near)
            )
            first = elapsed if turn == 0 else first
            if turn > 0:
                ours.append(elapsed)
                residual, products = max(residual, near.residual), [*products, near.steps]
            elapsed, _ = timed(peer.step)
            if turn > 0:
                theirs.append(elapsed)
        ratio = statistics.median(theirs) / statistics.median(ours)
        row(name, n, summary(ours), first, f"{residual:.1e}", products, summary(theirs), ratio)


def in_own_process(section: str, **arguments: object) -> dict[str, object]:
    """Run one contestant in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--work", json.dumps({"section": section} | arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def work(section: str, name: str, n: int | None, **options: object) -> dict[str, object]:
    task = problem(name, n)
    found = {"ours": fit_ours, "gpytorch": fit_gpytorch, "svgp": fit_sparse}[section](task, **options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"peak": peak, "n": len(task.x)} | found


def fit_ours(task: Problem, solver: str = "cg") -> dict[str, object]:
    seconds, model = timed(
        lambda: GPRegressor("matern32", solver=solver, random_state=0, verbose=1).fit(task.x, task.y)
    )
    new, y = task.new[:TEST_ROWS], task.new_y[:TEST_ROWS]
    first, (mean, sd) = timed(lambda: model.predict(new, return_std=True))
    second, _ = timed(lambda: model.predict(new, return_std=True))
    everything = model.predict(task.new)
    rmse, nll = scores(y, mean, sd**2)
    report = model.fit_report_
    return {
        "seconds": seconds,
        "rmse": rmse,
        "nll": nll,
        "predict": first,
        "again": second,
        "rmse_all": float(np.sqrt(np.mean((task.new_y - everything) ** 2))),
        "lml": model.log_marginal_likelihood_,
        "plan": report.plan,
        "steps": report.steps,
        "residual": report.residual,
        "standard_error": report.standard_error,
    }


def fit_gpytorch(task: Problem, steps: int, warm: bool) -> dict[str, object]:
    """Adam for 50 steps; where fewer are run, the seconds are scaled to 50, and nothing is predicted."""
    peer = Trainer(task.x, task.y)
    prepared = 0.0
    if warm:
        prepared, start = timed(lambda: optimum_of_rows(task, 3000))
        peer.model.move_to(task.hyperparameters(start))
    seconds = [timed(peer.step)[0] for _ in range(steps)]
    total = prepared + sum(seconds) * 50 / steps
    found = {"seconds": total, "steps": steps, "step": np.median(seconds)}
    if steps < 50:
        return found
    first, (mean, variance) = timed(lambda: peer.predict(task.new[:TEST_ROWS]))
    rmse, nll = scores(
        task.new_y[:TEST_ROWS], mean, np.maximum(variance, 0.0) + float(peer.model.likelihood.noise)
    )
    return found | {"rmse": rmse, "nll": nll, "predict": first}


def fit_sparse(task: Problem, epochs: int, limit: float) -> dict[str, object]:
    """A variational fit from the optimum of 3,000 rows; the bounds a row show whether it converged."""
    new, y = task.new[:TEST_ROWS], task.new_y[:TEST_ROWS]
    prepared, start = timed(lambda: optimum_of_rows(task, 3000))
    mean, variance, seconds, bounds = fit_svgp(
        task.x,
        task.y,
        new,
        at=task.hyperparameters(start),
        inducing=1024,
        epochs=epochs,
        seconds=limit,
    )
    rmse, nll = scores(y, mean, variance)
    shown = ", ".join(f"{bounds[i]:.4f}" for i in sorted(range(len(bounds) - 1, -1, -5)[:4]))
    remark = f"{len(bounds)} epochs; bound a row, every fifth: {shown}"
    return {"seconds": prepared + seconds, "rmse": rmse, "nll": nll, "plan": remark}


def fit(names: list[str], n: int | None, steps: int, epochs: int, limit: float, only: str) -> None:
    """Whole fits and 1,000 predictions, each contestant from its own start and in a process of its own."""
    header(
        "set",
        "n",
        "contestant",
        "fit, s",
        "times ours",
        "RMSE",
        "NLL",
        "predictions, s",
        "peak, GB",
        "remark",
    )
    for name in names:
        contestants: dict[str, dict[str, object]] = {"nonparam": {"section": "ours"}}
        if steps:
            adam = {"section": "gpytorch", "steps": steps}
            contestants[f"GPyTorch, 50 steps ({steps} run)"] = adam | {"warm": False}
            contestants["the same from our 3,000 rows"] = adam | {"warm": True}
        if epochs:
            contestants["GPyTorch SVGP, 1,024"] = {"section": "svgp", "epochs": epochs, "limit": limit}
        ours = 0.0
        for key, task in contestants.items():
            if only not in key:
                continue
            found = in_own_process(**task, name=name, n=n)  # type: ignore[arg-type]
            seconds = float(found["seconds"])  # type: ignore[arg-type]
            ours = ours or seconds
            figures = [found.get(column, "") for column in ("rmse", "nll", "predict", "peak")]
            remark = found.get("plan", f"{found.get('epochs', found.get('steps'))} run")
            row(name, found["n"], key, seconds, seconds / ours, *figures, remark)
            print(f"<!-- {json.dumps(found)} -->", flush=True)


def variance(runs: int, names: list[str], sizes: list[int]) -> None:
    """Variances at 1,000 new rows from hyperparameters, and again, beside SciPy's float64 Cholesky."""
    header(
        "set", "n", "contestant", "first, s", "again, s", "times ours", "largest relative error", "negative"
    )
    for name in names:
        for n in sizes:
            task = problem(name, n)
            at = task.hyperparameters(optimum_of_rows(task, 1000))
            truth = curve(task, at, task.new[:TEST_ROWS])
            ours: list[tuple[float, float]] = []
            for _ in range(runs):
                first, (posterior, found) = timed(lambda: predicted(task, at))
                again, _ = timed(lambda p=posterior: variances(task, p))
                ours.append((first, again))
                del posterior
            base = statistics.median(first for first, _ in ours)
            report(name, n, "nonparam, float64", ours, found, truth, base)
            for love in (False, True):
                theirs = []
                for _ in range(runs if n <= 5000 else 1):
                    peer = Trainer(task.x, task.y)
                    peer.model.move_to(at)
                    first, (_, found) = timed(
                        lambda p=peer, love=love: p.predict(task.new[:TEST_ROWS], love=love)
                    )
                    again, _ = timed(
                        lambda p=peer, love=love: p.predict_again(task.new[:TEST_ROWS], love=love)
                    )
                    theirs.append((first, again))
                report(name, n, "GPyTorch LOVE" if love else "GPyTorch default", theirs, found, truth, base)


def predicted(task: Problem, at: Hyperparameters) -> tuple[object, np.ndarray]:
    task.theta.assign(task.point(at))
    posterior = condition_at(task, float(at["noise"]))
    return posterior, variances(task, posterior)


def variances(task: Problem, posterior: object) -> np.ndarray:
    new = torch.tensor(task.new[:TEST_ROWS])
    return posterior.predict_variance(new, torch.ones(len(new), 1, dtype=new.dtype)).numpy()  # type: ignore[attr-defined]


def report(
    name: str,
    n: int,
    key: str,
    runs: list[tuple[float, float]],
    found: np.ndarray,
    truth: np.ndarray,
    base: float,
) -> None:
    first, again = ([pair[i] for pair in runs] for i in range(2))
    error = float(np.abs(found / truth - 1.0).max())
    row(
        name,
        n,
        key,
        summary(first),
        summary(again),
        statistics.median(first) / base,
        error,
        int((found < 0).sum()),
    )


def preconditioner(runs: int, names: list[str], n: int) -> None:
    """Iterations to 0.01 for the output, the constant and 8 probes, float32, at the fit of 3,000 rows."""
    header("set", "n", "preconditioner", "build, s", "products to 0.01", "solve, s", "residual")
    for name in names:
        task = problem(name, n)
        matrix, shift, b = system(task, task.hyperparameters(optimum_of_rows(task, 3000)))
        ways = {
            "randomly pivoted, 500": lambda: randomly_pivoted_cholesky(
                matrix, 500, torch.Generator().manual_seed(0)
            ),
            "randomly pivoted, 100": lambda: randomly_pivoted_cholesky(
                matrix, 100, torch.Generator().manual_seed(0)
            ),
            "pivoted, 15 (GPyTorch's)": lambda: pivoted_cholesky(matrix, 15),
        }
        for key, build in ways.items():
            built = [timed(lambda build=build: LowRank.of(build().factor, shift)) for _ in range(runs + 1)][
                1:
            ]
            found = [
                timed(
                    lambda p=built[-1][1]: conjugate_gradients(
                        Shifted(matrix, shift), b, preconditioner=p, tolerance=0.01, max_steps=300
                    )
                )
                for _ in range(runs)
            ]
            solve = found[-1][1]
            residual = float(solve.residuals.max())
            row(
                name,
                n,
                key,
                summary([s for s, _ in built]),
                solve.steps,
                summary([s for s, _ in found]),
                residual,
            )


def engines(names: list[str], n: int, limit: int) -> None:
    """Each engine to 0.01 at published hyperparameters; products count the whole matrix."""
    header("set", "n", "noise / outputscale", "engine", "products", "seconds", "largest residual")
    for name in names:
        task = problem(name, n)
        at = published(name, task)
        matrix, shift, b = system(task, at)
        a = Shifted(matrix, shift)

        def by_cg(a=a, b=b, matrix=matrix, shift=shift):  # type: ignore[no-untyped-def]
            factor = randomly_pivoted_cholesky(matrix, RANK, torch.Generator().manual_seed(0)).factor
            p = LowRank.of(factor, shift)
            return conjugate_gradients(a, b, preconditioner=p, tolerance=0.01, max_steps=limit)

        ways = {
            "conjugate gradients, rank 500": by_cg,
            "alternating projections": lambda a=a, b=b: alternating_projections(
                a, b, tolerance=0.01, max_steps=limit, generator=torch.Generator().manual_seed(0)
            ),
            "stochastic dual": lambda a=a, b=b, noise=float(at["noise"]): stochastic_dual(
                a, b, noise=noise, tolerance=0.01, max_steps=limit, generator=torch.Generator().manual_seed(0)
            ),
        }
        for key, way in ways.items():
            seconds, found = timed(way)
            ratio = float(at["noise"]) / float(at["outputscale"])
            row(name, n, f"{ratio:.1e}", key, found.steps, seconds, f"{float(found.residuals.max()):.1e}")


def probes(names: list[str], n: int) -> None:
    """Pathwise probes beside those of the preconditioner: one gradient at published hyperparameters."""
    header("set", "n", "probes", "cosine", "relative error", "products", "seconds")
    for name in names:
        task = problem(name, n)
        point = task.point(published(name, task))
        exact = task.evaluate(point)[1] + task.theta.log_priors(point[None])[1][0]
        for key in ("standard", "pathwise"):
            seconds, found = timed(lambda key=key: replace(solved(task, 0.01), estimator=key).slope(point))
            row(name, n, key, *nearness(found.gradient, exact), found.steps, seconds)


def gradient(names: list[str], n: int) -> None:
    """Gradients by solves and 8 probes beside the exact one, at the optimum of 1,000 rows."""
    header("set", "n", "cosine", "relative error", "by solves, s", "exactly, s")
    for name in names:
        task = problem(name, n)
        point = optimum_of_rows(task, 1000)
        seconds, found = timed(lambda: solved(task, 1e-3).slope(point).gradient)
        exactly, (_, slope) = timed(lambda: task.evaluate(point))
        slope = slope + task.theta.log_priors(point[None])[1][0]
        row(name, n, *nearness(found, slope), seconds, exactly)


def sizes(name: str, many: list[int], figure: str | None) -> None:
    """Time and memory of whole fits by ``solver="auto"``."""
    header("set", "n", "fit, s", "predictions, s", "peak, GB", "plan")
    found = []
    for n in many:
        each = in_own_process("ours", name=name, n=n, solver="auto")
        row(name, n, each["seconds"], each["predict"], each["peak"], each["plan"])
        print(f"<!-- {json.dumps(each)} -->", flush=True)
        found.append(each)
    rows, seconds = (np.log([float(each[key]) for each in found]) for key in ("n", "seconds"))  # type: ignore[arg-type]
    slope = float(np.polyfit(rows, seconds, 1)[0])
    print(f"\nslope of log seconds on log rows: {slope:.2f}")
    if figure:
        from scale_problem import draw_sizes

        draw_sizes(found, slope, figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="?")
    parser.add_argument("--sets", nargs="*", default=["elevators"])
    parser.add_argument("--rows", type=int, nargs="*")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="of GPyTorch's 50 that are run; 0 for none")
    parser.add_argument("--epochs", type=int, default=100, help="of the SVGP; 0 for none")
    parser.add_argument(
        "--limit", type=float, default=600.0, help="seconds of the SVGP, products of an engine"
    )
    parser.add_argument("--only", default="", help="contestants of a fit whose name contains this")
    parser.add_argument("--figure")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(**json.loads(options.work))))
        return
    packages = ", ".join(f"{p} {version(p)}" for p in ("nonparam", "gpytorch", "torch", "numpy", "numba"))
    threads = f"{torch.get_num_threads()} threads, {options.runs} runs"
    print(f"Python {platform.python_version()}, {packages}; {threads}\n")
    rows, sets, of_fit = options.rows, options.sets, (options.epochs, options.limit, options.only)
    sections: dict[str, Callable[[], None]] = {
        "evidence": lambda: evidence(options.runs, sets, rows or [1000, 2000, 5000]),
        "step": lambda: step(options.runs, sets, (rows or [13_000])[0]),
        "fit": lambda: fit(sets, (rows or [13_000])[0], options.steps, *of_fit),
        "variance": lambda: variance(options.runs, sets, rows or [5000, 13_000]),
        "preconditioner": lambda: preconditioner(options.runs, sets, (rows or [13_000])[0]),
        "engines": lambda: engines(sets, (rows or [13_000])[0], int(options.limit)),
        "probes": lambda: probes(sets, (rows or [10_000])[0]),
        "gradient": lambda: gradient(sets, (rows or [10_000])[0]),
        "whole": lambda: fit(sets, None, 0, *of_fit),
        "sizes": lambda: sizes(sets[0], rows or [1000, 2000, 5000, 10_000, 20_000, 40_000], options.figure),
    }
    sections[options.section]()


if __name__ == "__main__":
    main()
