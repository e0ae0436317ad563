"""Finite networks beside their limit: distances by hand, slopes, and what the report says."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

from nonparam import GPRegressor
from nonparam.cli.app import app
from nonparam.errors import ConvergenceError, InputError
from nonparam.kernels import InfiniteNetwork
from nonparam.networks import MLP, FiniteNetwork, compare_widths
from nonparam.networks.width_report import Predictions

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 3))
Y = np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.1 * RNG.standard_normal(80)


@pytest.fixture(scope="module")
def report():
    return compare_widths("erf-1", X, Y, (16, 64, 256), seeds=8, steps=100)


def test_errors_of_kernels_fall_as_the_root_of_the_width(report):
    for kernel in ("nngp", "ntk"):
        slope = report.slope(kernel)
        assert slope.low < slope.value < slope.high
        assert -0.7 < slope.value < -0.3
    assert report.ntk_errors.shape == report.nngp_errors.shape == (3, 8)


def test_wide_networks_are_as_their_linear_part(report):
    narrow, wide = report.rows[0], report.rows[-1]
    assert wide.to_linearised < 0.5 * narrow.to_linearised
    assert wide.linearised_to_limit < narrow.linearised_to_limit + 0.05
    assert 0.5 < report.limit.coverage <= 1.0


def test_the_limit_is_the_mean_of_wide_networks():
    """Many of them, whose mean has little chance left."""
    wide = compare_widths(MLP(1, "erf"), X, Y, (8, 512), seeds=40, steps=40).rows[1]
    assert wide.to_linearised < 0.05
    assert wide.linearised_to_limit < 0.15
    assert wide.ensemble_to_limit < 0.15
    spread = wide.ensemble.coverage
    assert 0.6 < spread <= 1.0


def test_training_is_gradient_descent():
    """A network that is linear in its weights is the one to first order in them, at any width."""
    square = np.concatenate([X[:, :1], X[:, :1] ** 2], 1)
    layers = MLP(1, "relu")
    linear = type(layers)(layers.layers[0])
    report = compare_widths(linear, square, Y, (1, 2), seeds=3, steps=30)
    for row in report.rows:
        assert row.to_linearised < 1e-4
        assert row.ntk_errors.max() < 1e-12


def test_a_fitted_kernel_brings_its_variances():
    model = GPRegressor(InfiniteNetwork("erf-1", "ntk")).fit(X, Y)
    kernel = next(part for part in model.kernel_.modules() if isinstance(part, InfiniteNetwork))
    found = compare_widths(kernel, X, Y, (8, 32), seeds=3, steps=10)
    usual = compare_widths("erf-1", X, Y, (8, 32), seeds=3, steps=10)
    assert not np.allclose(found.ntk_errors, usual.ntk_errors)
    assert kernel.raw_weight_variance.requires_grad  # it is copied


def test_a_column_of_outputs_is_as_a_list_of_them(report):
    column = compare_widths("erf-1", X.astype(np.float32).tolist(), Y[:, None], (16, 64), seeds=2, steps=5)
    assert column.widths == [16, 64]


def test_seeds_repeat(report):
    again = compare_widths("erf-1", X, Y, [256, 16, 64, 16], seeds=8, steps=100)
    assert again.widths == report.widths
    np.testing.assert_allclose(again.ntk_errors, report.ntk_errors)
    assert again.to_frame().equals(report.to_frame())
    other = compare_widths("erf-1", X, Y, (16, 64), seeds=2, steps=5, random_state=1)
    assert not np.allclose(other.ntk_errors[0], report.ntk_errors[0, :2])


def test_the_report_says_what_it_found(report):
    text = str(report)
    assert text.startswith("erf-1, 8 networks of each width, trained on 40 rows, noise from 20, 20 predicted")
    assert "The error of the NTK falls as the width to the power -0." in text
    assert "infinite" in text
    assert json.loads(json.dumps(report.to_dict()))["widths"][-1]["width"] is None
    assert isinstance(report.plot(), Figure)


def test_crossovers_are_where_networks_become_worse_or_better_than_their_limit(report):
    def with_errors(*errors):
        rows = [
            dataclasses.replace(row, ensemble=dataclasses.replace(row.ensemble, rmse=error))
            for row, error in zip(report.rows, errors, strict=True)
        ]
        limit = dataclasses.replace(report.limit, rmse=0.5)
        return dataclasses.replace(report, rows=tuple(rows), limit=limit)

    assert with_errors(0.4, 0.6, 0.5).no_worse() == [16, 256]
    assert with_errors(0.4, 0.6, 0.5).crossovers() == [(16, 64), (64, 256)]
    assert with_errors(0.4, 0.504, 0.5).crossovers() == []
    assert with_errors(0.4, 0.5, 0.6).crossovers() == [(64, 256)]
    assert "The ensemble is no worse than the limit in RMSE at width 16, 64." in str(
        with_errors(0.4, 0.5, 0.6)
    )
    assert "The ensemble is no worse than the limit in RMSE at every width." in str(
        with_errors(0.4, 0.4, 0.4)
    )
    assert "The ensemble is no worse than the limit in RMSE at no width" in str(with_errors(0.9, 0.9, 0.9))


def test_predictions_by_hand():
    found = Predictions.of(np.array([0.0, 1.0]), np.array([1.0, 4.0]), np.array([2.0, 1.0]), 0.5)
    assert found.rmse == pytest.approx(np.sqrt(2.0))
    density = np.exp(-2.0) / np.sqrt(2.0 * np.pi) * 1.0 / np.sqrt(8.0 * np.pi)
    assert found.nll == pytest.approx(-0.5 * np.log(density))
    assert (found.coverage, found.noise) == (0.5, 0.5)


def test_the_command_prints_and_draws(tmp_path):
    table = np.column_stack([X, Y])
    lines = ["a,b,c,y", *(",".join(f"{number:.6g}" for number in row) for row in table)]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    picture = tmp_path / "widths.png"
    arguments = [
        "widths",
        str(tmp_path / "table.csv"),
        "--target",
        "y",
        "--arch",
        "erf-1",
        "--widths",
        "4,16",
    ]
    short = [*arguments, "--seeds", "2", "--steps", "5"]
    done = CliRunner().invoke(app, [*short, "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    assert "erf-1, 2 networks of each width" in done.output
    assert picture.stat().st_size > 10_000
    asked = CliRunner().invoke(app, [*short, "--json"])
    assert json.loads(asked.output)["architecture"] == "erf-1"
    wrong = CliRunner().invoke(app, [*arguments[:-1], "4;16"])
    assert wrong.exit_code == 2
    assert "expected numbers such as 32,128" in wrong.output
    failed = CliRunner().invoke(app, [*arguments[:-1], "4,4"])
    assert failed.exit_code == 1
    assert "widths must be two different numbers" in failed.output


def test_what_cannot_be_compared_is_refused():
    for wrong in ("32", 32, (32,), (32, 32)):
        with pytest.raises(InputError, match="widths must be"):
            compare_widths("relu-1", X, Y, wrong)
    with pytest.raises(InputError, match="each of widths"):
        compare_widths("relu-1", X, Y, (0, 4))
    with pytest.raises(InputError, match="seeds"):
        compare_widths("relu-1", X, Y, (4, 8), seeds=1)
    with pytest.raises(InputError, match="steps"):
        compare_widths("relu-1", X, Y, (4, 8), steps=0)
    with pytest.raises(InputError, match="compare_widths needs 20 rows or more, in three parts, got 19"):
        compare_widths("relu-1", X[:19], Y[:19], (4, 8))
    with pytest.raises(InputError, match=r"y is 3 in all rows that are trained on"):
        compare_widths("relu-1", X, np.full(80, 3.0), (4, 8))
    with pytest.raises(InputError, match="compare_widths takes one output, got 2: compare them one by one"):
        compare_widths("relu-1", X, np.stack([Y, Y], 1), (4, 8))
    with pytest.raises(InputError, match="architecture must be"):
        compare_widths("relu", X, Y, (4, 8))


def test_networks_that_explode_are_named(monkeypatch):
    """A step that is safe at the start may not stay so: here the tangent kernel is made out too small."""
    from nonparam.networks import widths

    class Small:
        def __init__(self, network: FiniteNetwork) -> None:
            self.count = sum(p.numel() for p in network.parameters())

        def matrix(self, x: torch.Tensor) -> torch.Tensor:
            return 1e-3 * torch.eye(len(x), dtype=torch.float64)

    monkeypatch.setattr(widths, "EmpiricalNTK", Small)
    with pytest.raises(ConvergenceError, match="gradient descent of networks of 64 units explodes"):
        compare_widths("relu-2", X, Y, (64, 128), seeds=2, steps=400)
