"""``nonparam fit``: a Gaussian process on a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import typer

from nonparam.cli.columns import inputs_and_target
from nonparam.cli.output import (
    check_writable,
    draw,
    heard,
    note,
    print_facts,
    print_json,
    progress,
)
from nonparam.cli.reading import read
from nonparam.errors import InputError
from nonparam.kernels import parse
from nonparam.kernels.base import formula
from nonparam.regression import GPRegressor

__all__ = ["FitRequest", "check_formula", "fit"]


@dataclass(frozen=True)
class FitRequest:
    """What ``nonparam fit`` was asked for."""

    file: str
    target: str
    drop: Sequence[str]
    kernel: str
    plot: Path | None
    save: Path | None
    as_json: bool


def fit(request: FitRequest) -> None:
    """Fit a model to a table, and say what was learnt."""
    check_formula(request.kernel, "--kernel")
    check_writable(request.save)
    check_writable(request.plot, picture=True)
    table = read(request.file)
    X, y, notes = inputs_and_target(table, request.target, request.drop)
    names = ", ".join(map(str, X.columns))
    if request.plot is not None and X.shape[1] != 1:
        raise InputError(f"--plot draws a model with one input, and there are {X.shape[1]} ({names})")
    for text in notes:
        note(text)
    with progress(f"Fitting {request.kernel} to {len(X):,} rows"):
        with heard() as remarks:
            model = GPRegressor(request.kernel).fit(X, y)
        if request.plot is not None:
            draw(model.plot, request.plot)
    for remark in remarks:
        note(remark)
    if request.save is not None:
        model.save(request.save)
    if request.as_json:
        print_json(_document(request, X, model))
    else:
        print_facts(_facts(request, X, model))


def check_formula(formula: str, option: str) -> None:
    """Refuse a kernel's formula that cannot be read as wrong usage of an option."""
    try:
        parse(formula)
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from error


def _facts(request: FitRequest, X: pd.DataFrame, model: GPRegressor) -> dict[str, str]:
    report = model.fit_report_
    saved = {"model": request.save, "plot": request.plot}
    return {
        "target": request.target,
        "inputs": ", ".join(map(str, X.columns)),
        "rows": f"{len(X):,}",
        "kernel": formula(model.kernel_),
        "noise": f"{model.noise_**0.5:.4g} (standard deviation)",
        "log likelihood": f"{model.log_marginal_likelihood_:.2f} nats (marginal)",
        "search": f"{report.message}, {report.steps} steps, {report.seconds:.2g} s",
        **{what: f"saved as {path}" for what, path in saved.items() if path is not None},
    }


def _document(request: FitRequest, X: pd.DataFrame, model: GPRegressor) -> dict[str, object]:
    report = model.fit_report_
    return {
        "target": request.target,
        "inputs": list(X),
        "rows": len(X),
        "kernel": formula(model.kernel_),
        "noise_variance": model.noise_,
        "log_marginal_likelihood": model.log_marginal_likelihood_,
        "converged": report.converged,
        "seconds": report.seconds,
        "model": None if request.save is None else str(request.save),
        "plot": None if request.plot is None else str(request.plot),
    }
