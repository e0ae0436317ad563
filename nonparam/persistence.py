r"""Fitted models in files that hold numbers and JSON only: reading one runs no code of the file's.

A file is of the safetensors format. Its tensors hold every array, bit for bit; its metadata hold the name and
version of this format, the class, a JSON document that says what the tensors are, and a SHA-256 digest over
all of it. The digest finds damage and careless edits; it is no signature.

`write_file` and `read_file` handle the container, `nonparam.packing` turns values and kernels into JSON and
back, `save_regressor` and `load_regressor` say what a `GPRegressor` consists of.
"""

import hashlib
import json
import os
import reprlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import gpytorch
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import FileFormatError, InputError
from nonparam.kernels.evaluate import covariance
from nonparam.means import MEANS, Mean
from nonparam.model_selection.evidence import MeanFit, fit_mean
from nonparam.objective import Data
from nonparam.packing import Json, Packer, Unpacker
from nonparam.posterior import Posterior
from nonparam.scales import Scales
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import CholeskyFactor
from nonparam.solvers.plan import choose
from nonparam.solvers.quadrature import LogDeterminant
from nonparam.solvers.structured import StructuredFactor
from nonparam.solves import solver_for
from nonparam.structure import structure_for
from nonparam.structured import structured_factor
from nonparam.threads import threads_for
from nonparam.training import FitReport

__all__ = [
    "Location",
    "complete",
    "digest",
    "load_regressor",
    "read_file",
    "regressor_of",
    "save_regressor",
    "writable",
    "write_file",
]

Model = TypeVar("Model")
Location = str | os.PathLike[str]

FORMAT = "nonparam"
FORMAT_VERSION = "2"
TINY = np.finfo(np.float64).tiny  # the least of numbers that are positive
KERNEL_TOLERANCE = 1e-6  # of the variance: another kernel differs by more, another processor by less


# the container ----------------------------------------------------------------------------------


def write_file(path: Location, kind: str, document: Json, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and a JSON document; the file appears complete or not at all.

    Args:
        path: of the file; one that is there is replaced.
        kind: the class of what is saved; `read_file` asks for the same.
        document: anything that JSON can hold.
        tensors: by name, on any device.

    Raises:
        InputError: the folder does not exist, or the path is a folder or no path at all.
        OSError: the system refused, for example because the disk is full.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "model.safetensors")
        ...     write_file(path, "Note", {"seed": 1}, {"noise": torch.ones(2)})
        ...     read_file(path, "Note")
        ({'seed': 1}, {'noise': tensor([1., 1.])})
    """
    target = writable(path)
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "package_version": version("nonparam")}
    metadata |= {"kind": kind, "document": json.dumps(document, allow_nan=False)}
    metadata["sha256"] = digest(metadata, plain)
    content = save(plain, metadata)
    try:
        _replace(target, content)
    except OSError as error:
        raise OSError(error.errno, f"cannot save the model, {error.strerror}", str(path)) from error


def writable(path: Location) -> Path:
    """Return where a file of this path lies.

    Raises:
        InputError: the folder does not exist, or the path is a folder or no path at all.
    """
    _check_path(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"cannot save to {str(path)!r}: it is a folder; add the name of a file")
    if target.exists() and not target.is_file():
        raise InputError(f"cannot save to {str(path)!r}: it is a device, not a file; give another path")
    if not target.parent.is_dir():
        raise InputError(
            f"cannot save to {str(path)!r}: there is no folder {str(target.parent)!r}; make it first"
        )
    return target


def _check_path(path: Any) -> None:
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path must be text or a pathlib.Path, got {path!r}: name a file")


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: Location, kind: str) -> tuple[Json, dict[str, Tensor]]:
    """Read what `write_file` wrote.

    Args:
        path: of the file.
        kind: the class that is expected.

    Returns:
        The document, and the tensors by name, on the CPU.

    Raises:
        InputError: there is no such file, or it holds another class.
        FileFormatError: the file is damaged, was changed, or is of another program or version.

    Examples:
        >>> read_file("nowhere.safetensors", "Note")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nonparam.errors.InputError: cannot load 'nowhere.safetensors': there is no such file; ...
    """
    _check_path(path)
    if not os.path.isfile(path):
        what = "it is a folder" if os.path.isdir(path) else "there is no such file"
        raise InputError(f"cannot load {str(path)!r}: {what}; expected a file that save has written")
    metadata, tensors = _contents(path)
    if metadata.get("format") != FORMAT:
        raise FileFormatError(
            f"{str(path)!r} is a safetensors file of another program: expected one that save has written"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{str(path)!r} has format version {metadata.get('format_version')}, of nonparam "
            f"{metadata.get('package_version')}; this is nonparam {version('nonparam')}, which reads format "
            f"version {FORMAT_VERSION}: use the nonparam that wrote it, or fit and save again"
        )
    if metadata.pop("sha256", None) != digest(metadata, tensors):
        raise FileFormatError(
            f"{str(path)!r} was changed after it was saved (its SHA-256 digest differs): get a fresh copy"
        )
    if metadata["kind"] != kind:
        raise InputError(
            f"{str(path)!r} holds a {metadata['kind']}, not a {kind}: use {metadata['kind']}.load"
        )
    return json.loads(metadata["document"]), tensors


def _contents(path: Location) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise FileFormatError(
            f"{str(path)!r} is no safetensors file, or was cut short ({error}): expected a file that save "
            "has written; get a fresh copy"
        ) from error


def digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 digest of texts and tensors, on the CPU, with their names."""
    sha256 = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        sha256.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha256.update(tensor.reshape(-1).numpy().data)
    return sha256.hexdigest()


# the regressor ----------------------------------------------------------------------------------


def save_regressor(model: Any, path: Location) -> None:
    """Write a fitted `GPRegressor`.

    The Cholesky factor is stored, so that predictions after `load_regressor` are those from before to the
    last bit, also after `update`: the file has about ``4 n^2`` bytes.

    Args:
        model: a fitted model.
        path: of the file.

    Raises:
        NotFittedError: the model is not fitted.
        InputError: an argument of the model that a file cannot hold, or no such folder.
        OSError: the system refused to write.

    Examples:
        >>> from nonparam import GPRegressor
        >>> save_regressor(GPRegressor(), "model.safetensors")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        sklearn.exceptions.NotFittedError: This GPRegressor instance is not fitted yet. ...
    """
    check_is_fitted(model)
    packer = Packer()
    document = {
        "params": packer.pack(model.get_params(deep=False), "params"),
        "fitted": packer.pack(_state(model), "fitted"),
    }
    write_file(path, type(model).__name__, document, packer.tensors)


def _state(model: Any) -> dict[str, Any]:
    posterior, names = model.posterior_, getattr(model, "feature_names_in_", None)
    data, factor = posterior.data, posterior.factor
    return {
        "kernel": model.kernel_,
        "theta": model.theta_,
        "theta_names": model.theta_names_,
        "noise": model.noise_,
        "mean": asdict(model._mean),
        "scales": asdict(model._scales),
        "y_mean": model.y_mean_,
        "y_scale": model.y_scale_,
        "one_output": model._one_output,
        "log_marginal_likelihood": model.log_marginal_likelihood_,
        "report": asdict(model.fit_report_),
        "columns": model.n_features_in_,
        "column_names": None if names is None else names.tolist(),
        "rows": {"x": data.x, "y": data.y, "weights": data.weights, "noise": data.noise},
        "learnt_noise": posterior.noise,
        "jitter": factor.jitter,
        "prior_mean": model._prior_mean,
        "also": {name: getattr(model, name) for name in model.also_saved},
        **_inverse(posterior),
    }


def _inverse(posterior: Posterior) -> dict[str, Any]:
    """Return the factor, or what a solver and the fit of the mean by it consist of."""
    factor = posterior.factor
    if isinstance(factor, CholeskyFactor):
        upper = _upper_triangle(factor.n).to(factor.upper.device)
        return {"factor": factor.upper[upper], "solver": None, "mean_fit": None}
    if isinstance(factor, StructuredFactor):
        solver: dict[str, Any] = {"structure": factor.solver}
    else:
        estimate = None if factor.estimate is None else asdict(factor.estimate)
        solver = {name: getattr(factor, name) for name in ("tolerance", "rank", "seed")}
        solver |= {"estimate": estimate, "interpolated": posterior.solver == "ski"}
    return {"factor": np.zeros(0), "solver": solver, "mean_fit": asdict(posterior.mean)}


def _upper_triangle(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).triu_()


def load_regressor(cls: type[Model], path: Location, kernel: gpytorch.kernels.Kernel | None = None) -> Model:
    """Read what `save_regressor` wrote.

    Args:
        cls: the class of the model.
        path: of the file.
        kernel: for a model with a GPyTorch kernel, a kernel built the same way.

    Returns:
        The fitted model, on the CPU.

    Raises:
        InputError: no such file, another class, or a GPyTorch kernel that is missing or built otherwise.
        FileFormatError: the file is damaged, was changed, is of another program or version, or holds numbers
            that no fit leaves behind.
        InsufficientMemoryError: the model does not fit into the memory.

    Examples:
        >>> import tempfile
        >>> from nonparam import GPRegressor
        >>> x = np.arange(4.0)[:, None]
        >>> model = GPRegressor("rbf(1.0)", noise=0.1).fit(x, np.sin(x[:, 0]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_regressor(model, Path(folder, "model.safetensors"))
        ...     again = load_regressor(GPRegressor, Path(folder, "model.safetensors"))
        >>> bool((again.predict(x) == model.predict(x)).all())
        True
    """
    document, tensors = read_file(path, cls.__name__)
    return regressor_of(cls, path, document, Unpacker(tensors, kernel))


def regressor_of(cls: type[Model], path: Location, document: Json, unpacker: Unpacker) -> Model:
    """Return the model of a file that `save_regressor` wrote.

    Args:
        cls: its class.
        path: of the file, for errors.
        document: its JSON.
        unpacker: of its tensors.
    """
    with complete(path):
        model = cls(**unpacker.unpack(document["params"]))
        state = unpacker.unpack(document["fitted"])
        _check_state(path, state)
        _restore(model, state)
    return model


@contextmanager
def complete(path: Location) -> Iterator[None]:
    """Raise `FileFormatError` where a file lacks what is looked for in it, or has it of a wrong kind."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise FileFormatError(
            f"{str(path)!r} lacks a part of the model, or has one of a wrong kind ({error}): get a fresh copy"
        ) from error


def _check_state(path: Location, state: dict[str, Any]) -> None:
    """Raise `FileFormatError` for a model that no fit could have made."""
    if state["mean"]["name"] not in MEANS:
        raise FileFormatError(f"{str(path)!r} has a mean {state['mean']['name']!r}: expected one of {MEANS}")
    for name, value, least in _numbers(state):
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "fi" or not (np.isfinite(numbers) & (numbers >= least)).all():
            raise FileFormatError(
                f"{str(path)!r} has {name} = {reprlib.repr(value)}, expected finite numbers of at least "
                f"{least:g}: get a fresh copy, or fit and save again"
            )
    rows = state["rows"]
    n = len(rows["x"])
    shapes = {"x": (n, state["columns"]), "y": (n, len(state["y_scale"])), "weights": (n,), "noise": (n,)}
    for name, array in rows.items():
        if n == 0 or (array is not None and array.shape != shapes[name]):
            raise FileFormatError(f"{str(path)!r} has {name} of shape {array.shape}, expected {shapes[name]}")


def _numbers(state: dict[str, Any]) -> Iterator[tuple[str, Any, float]]:
    """Yield the names, the values and the least admissible value of all numbers."""
    for key in ("theta", "prior_mean", "y_mean", "log_marginal_likelihood", "factor"):
        yield key, state[key], -np.inf
    rows, mean, scales = state["rows"], state["mean"], state["scales"]
    for key, parameter in state["kernel"].named_parameters():
        yield f"kernel.{key}", parameter.detach().numpy(), -np.inf
    yield from (("x", rows["x"], -np.inf), ("y", rows["y"], -np.inf), ("weights", rows["weights"], TINY))
    if rows["noise"] is not None:
        yield "noise per row", rows["noise"], 0.0
    yield from (("noise", state["noise"], 0.0), ("jitter", state["jitter"], 0.0))
    for key, value in (state["mean_fit"] or {}).items():
        yield f"mean_fit.{key}", value, -np.inf
    yield "learnt noise", state["learnt_noise"], TINY if rows["noise"] is None else 0.0
    yield from (("mean.centre", mean["centre"], -np.inf), ("mean.spread", mean["spread"], 0.0))
    yield "y_scale", state["y_scale"], TINY
    for key, value in scales.items():
        yield f"scales.{key}", value, TINY if key in ("x_sd", "y_variance", "period", "nyquist") else -np.inf


def _restore(model: Any, state: dict[str, Any]) -> None:
    model.kernel_ = state["kernel"]
    model.theta_ = state["theta"]
    model.theta_names_ = state["theta_names"]
    model.noise_ = state["noise"]
    model.y_mean_ = state["y_mean"]
    model.y_scale_ = state["y_scale"]
    model.log_marginal_likelihood_ = state["log_marginal_likelihood"]
    model.fit_report_ = FitReport(**state["report"])
    model.n_features_in_ = state["columns"]
    if state["column_names"] is not None:
        model.feature_names_in_ = np.array(state["column_names"], dtype=object)
    model._prior_mean = state["prior_mean"]
    for name in model.also_saved:
        setattr(model, name, state["also"][name])
    model._one_output = state["one_output"]
    model._scales = Scales(**state["scales"])
    mean = state["mean"]
    model._mean = Mean(mean["name"], torch.from_numpy(mean["centre"]), torch.from_numpy(mean["spread"]))
    model.posterior_ = _posterior(model.kernel_, model._mean, state)


def _posterior(kernel: gpytorch.kernels.Kernel, mean: Mean, state: dict[str, Any]) -> Posterior:
    rows: Any = {k: None if array is None else torch.from_numpy(array) for k, array in state["rows"].items()}
    data = Data(basis=mean.basis(rows["x"]), **rows)
    if state["solver"] is not None:
        return _solved_posterior(kernel, data, state)
    n = len(data.x)
    choose("cholesky", n, 2)
    upper = torch.zeros(n, n, dtype=torch.float64)
    upper.masked_scatter_(_upper_triangle(n), torch.from_numpy(state["factor"]))
    _check_covariance(kernel, data.x, upper[0])
    factor = CholeskyFactor(upper, state["jitter"])
    with threads_for(n), torch.no_grad():
        fit = fit_mean(factor, data.y, data.basis)
    return Posterior(kernel, data, state["learnt_noise"], factor, fit)


def _solved_posterior(kernel: gpytorch.kernels.Kernel, data: Data, state: dict[str, Any]) -> Posterior:
    solver, fit = _solver(kernel, data, state["learnt_noise"], dict(state["solver"])), dict(state["mean_fit"])
    quadratic = fit.pop("quadratic")
    mean = MeanFit(**{name: torch.from_numpy(array) for name, array in fit.items()}, quadratic=quadratic)
    return Posterior(kernel, data, state["learnt_noise"], solver, mean)


def _solver(
    kernel: gpytorch.kernels.Kernel, data: Data, noise: float, settings: dict[str, Any]
) -> CertifiedSolver | StructuredFactor:
    """Build what is not stored, because its rows and settings decide it."""
    name = settings.pop("structure", None)
    structure = None if name is None else structure_for(name, kernel, data.x, data.noise_variances(noise))
    if structure is not None:
        choose(name, len(data.x), 1, structure=structure.plan)
        return structured_factor(structure, kernel, data, noise)
    estimate = settings.pop("estimate")
    choose("cg", len(data.x), 1)
    solver = solver_for(kernel, data, noise, dtype=torch.float64, **settings)
    return replace(solver, estimate=None if estimate is None else LogDeterminant(**estimate))


@torch.no_grad()
def _check_covariance(kernel: gpytorch.kernels.Kernel, x: Tensor, first: Tensor) -> None:
    """Compare the covariances of the first row, ``u_11 u_1j``, with those of the kernel that was rebuilt."""
    if len(x) < 2:
        return
    saved, rebuilt = first[0] * first[1:], covariance(kernel, x[:1], x[1:])[0]
    scale = float(torch.maximum(saved.abs().max(), first[0] ** 2))
    if not torch.allclose(rebuilt, saved, rtol=0.0, atol=KERNEL_TOLERANCE * scale):
        raise InputError(
            "the kernel has the saved one's values, but not its covariances: call load(path, kernel=...) "
            "with the same class and arguments (such as nu) as before, or use the nonparam that wrote it"
        )
