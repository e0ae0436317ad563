"""Tables and numbers from users: a right answer, or one clear error."""

import reprlib
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, cast

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from nonparam.errors import InputError
from nonparam.kernels.evaluate import covariance

__all__ = [
    "check_choice",
    "check_count",
    "check_device",
    "check_jobs",
    "check_kernel",
    "check_noise",
    "check_numbers",
    "check_outputs",
    "check_probabilities",
    "check_scale",
    "check_seed",
    "check_table",
    "check_temperature",
    "check_verbose",
    "check_weights",
]

Array = NDArray[np.float64]

LARGEST = 1e60  # beyond it ratios of squares overflow
SMALLEST = 1.0 / LARGEST
GPU_ROWS = 2000  # below it a GPU is slower than one core
FROM_COMPLEX = "pass real and imaginary parts, each a column of its own"
FROM_TIMES = "subtract the first and divide by a unit, such as np.timedelta64(1, 'D')"


def check_table(estimator: BaseEstimator, table: Any, *, reset: bool, allow_missing: bool = False) -> Array:
    """Return a table as float64 of shape ``(n, d)``.

    Args:
        estimator: remembers the number and names of the columns, or compares them.
        table: an array, a tensor or a data frame of numbers.
        reset: whether the columns are to be remembered.
        allow_missing: whether NaN stands for an entry that was not seen.

    Returns:
        A copy.

    Raises:
        InputError: text, dates, complex numbers, NaN, infinite or far too large values, in a message that
            names the column where there is one; or another shape.
        ValueError: another number of columns than at `fit`, or no row at all.
    """
    table = _without_torch(table, "X")
    _refuse_kinds(table, "X")
    try:
        x = validate_data(
            estimator, table, reset=reset, dtype=np.float64, ensure_all_finite=False, copy=True, order="C"
        )
    except (TypeError, ValueError) as error:
        _refuse_text(table, "X", error)
        if "Reshape your data" in str(error) or "2-dimensional container" in str(error):
            shape = np.asarray(table).shape
            raise InputError(
                f"Expected 2D array, got {len(shape)}D array instead: X has shape {shape}. "
                "Reshape your data: X.reshape(-1, 1) is one column, X.reshape(1, -1) one row"
            ) from None  # whose message holds the whole array
        raise
    _refuse_infinite(x, _names(estimator, x.shape[1]), allow_missing=allow_missing)
    return np.asarray(x, dtype=np.float64)


def _without_torch(values: Any, name: str) -> Any:
    """Return a tensor, on whatever device, as an array; anything else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    if values.layout != torch.strided or values.is_meta or values.is_quantized:
        kind = f"{values.layout}, {values.dtype} on {values.device}"
        raise InputError(f"{name} must be a dense tensor of numbers, got one of {kind}: try to_dense()")
    wide = values.double() if values.is_floating_point() else values  # numpy has no bfloat16
    return wide.numpy(force=True)


def _names(estimator: BaseEstimator, d: int) -> Sequence[str]:
    return [repr(name) for name in getattr(estimator, "feature_names_in_", range(d))]


def _refuse_kinds(values: Any, name: str) -> None:
    """Raise `InputError` for what is no table of real numbers, though some of it can be turned into one."""
    if hasattr(values, "dtypes") and hasattr(values, "columns"):
        _refuse_columns(values, name)
        return
    try:
        dtype = getattr(values, "dtype", None) or np.asarray(values).dtype
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: expected as many numbers in each") from None
    if dtype.kind == "c":
        raise InputError(f"Complex data not supported: {name} holds {dtype} numbers; {FROM_COMPLEX}")
    if dtype.kind in "mM" or str(dtype).startswith("period"):
        raise InputError(f"{name} holds {dtype} values, which are not numbers: {FROM_TIMES}")
    if dtype.kind == "V":
        raise InputError(f"{name} has named fields {dtype.names}: expected a plain array, or a data frame")


def _refuse_columns(frame: Any, name: str) -> None:
    for column in frame.columns:
        values = frame[column]
        if getattr(values, "ndim", 1) != 1 or values.dtype.kind in "biuf":
            continue
        if values.dtype.kind == "c":
            _refuse_kinds(values, f"column {column!r} of {name}")
        if values.dtype.kind not in "OTSUmMV" and not _is_text(values.dtype):
            continue
        try:
            values.astype(np.float64)
        except (TypeError, ValueError) as error:
            entry = values.iloc[0]
            raise InputError(
                f"column {column!r} of {name} holds {values.dtype} values such as {entry!r}, which are not "
                f"numbers (could not convert to float): {_remedy(entry, name)}"
            ) from error


def _remedy(entry: Any, name: str) -> str:
    if isinstance(entry, date | timedelta):
        return FROM_TIMES
    if isinstance(entry, complex):
        return FROM_COMPLEX
    return "drop the column or encode it" if name == "X" else "a regressor needs numbers, a classifier labels"


def _refuse_text(values: Any, name: str, error: Exception) -> None:
    """Raise `InputError` for the first entry of an array that is text, a date or a complex number."""
    table = np.asarray(values, dtype=object)
    columns = table.T if table.ndim == 2 else [table.reshape(-1)]
    for j, column in enumerate(columns):
        for entry in column:
            if isinstance(entry, str | bytes | date | timedelta | complex) and not _is_number(entry):
                kind = "text" if isinstance(entry, str | bytes) else f"{type(entry).__name__} values"
                where = f"column {j} of {name}" if table.ndim == 2 else name
                raise InputError(
                    f"{where} holds {kind} such as {entry!r} (could not convert to float): "
                    f"{_remedy(entry, name)}"
                ) from error


def _is_number(entry: Any) -> bool:
    try:
        float(entry)
    except (TypeError, ValueError):
        return False
    return True


def _is_text(dtype: Any) -> bool:
    return str(dtype).startswith(("str", "category"))


def _refuse_infinite(x: Array, names: Sequence[str], *, allow_missing: bool) -> None:
    advice = {"NaN": ", or average over what they may be with UncertainInputsRegressor"}
    for j, name in enumerate(names):
        column = x[:, j]
        for word, bad in (("NaN", np.isnan(column)), ("infinity (inf)", np.isinf(column))):
            if bad.any() and not (allow_missing and word == "NaN"):
                rows = np.flatnonzero(bad)
                raise InputError(
                    f"Input X contains {word} in column {name} ({len(rows)} of {len(x)} rows, first in row "
                    f"{rows[0]}): drop those rows or fill them in{advice.get(word, '')}"
                )
        if np.abs(column[np.isfinite(column)]).max(initial=0.0) > LARGEST:
            raise InputError(f"column {name} of X has values beyond {LARGEST:g}: rescale it")


def check_outputs(y: Any, n: int, *, multi_output: bool = True, allow_missing: bool = False) -> Array:
    """Return the outputs as float64, ``(n,)`` or ``(n, t)``.

    Args:
        y: an array, a tensor, a series or a data frame of numbers.
        n: the number of rows of ``X``.
        multi_output: whether two dimensions are allowed.
        allow_missing: whether NaN stands for an entry that was not observed.

    Returns:
        A copy.

    Raises:
        InputError: a missing ``y``, text, dates, complex numbers, NaN, infinite or far too large values, or
            another number of rows.
    """
    if y is None:
        raise InputError("requires y to be passed, but the target y is None")
    y = _without_torch(y, "y")
    _refuse_kinds(y, "y")
    if np.asarray(y).ndim == 0:
        raise InputError(f"y should be a 1d array, one number for each of the {n} rows of X; got {y!r}")
    try:
        values = check_array(
            y,
            ensure_2d=False,
            allow_nd=False,
            dtype=np.float64,
            ensure_all_finite=False,
            copy=True,
            input_name="y",
        )
    except (TypeError, ValueError) as error:
        _refuse_text(y, "y", error)
        raise
    if values.ndim > (2 if multi_output else 1):
        columns = "or one column per output" if multi_output else "as there is one output"
        raise InputError(f"y should be a 1d array, {columns}; got an array of shape {values.shape}")
    if len(values) != n:
        raise InputError(f"X and y have inconsistent lengths: {n} rows of X, {len(values)} of y")
    advice = "give NaN where it is missing" if allow_missing else "a regressor needs every output"
    for word, bad in (("NaN", np.isnan(values)), ("infinity (inf)", np.isinf(values))):
        if bad.any() and not (allow_missing and word == "NaN"):
            row = int(np.argwhere(bad)[0, 0])
            raise InputError(
                f"Input y contains {word} ({int(bad.sum())} values, first in row {row}): drop those rows; "
                f"{advice}"
            )
    if (np.abs(values) > LARGEST).any():
        raise InputError(f"y has values beyond {LARGEST:g}: rescale it")
    return np.asarray(values, dtype=np.float64)


def check_scale(x: Array, y: Array) -> None:
    """Raise `InputError` for columns of ``x (n, d)`` or ``y (n, t)`` so small that their squares vanish."""
    for name, table in (("X", x), ("y", y)):
        largest = np.abs(table).max(0)
        for j in np.flatnonzero((largest > 0.0) & (largest < SMALLEST)):
            raise InputError(
                f"column {j} of {name} has no value beyond {largest[j]:.1e}, below {SMALLEST:g}: rescale it"
            )


def check_numbers(values: Any, name: str) -> Array:
    """Return ``values`` as float64 numbers; raise `InputError` where they are something else."""
    try:
        array = np.asarray(_without_torch(values, name))
        if array.dtype.kind in "cmM":  # numpy would convert them
            raise TypeError(f"{array.dtype} values are not real numbers")
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        shown = reprlib.repr(values)
        raise InputError(f"{name} must be a number or an array of numbers, got {shown}") from error


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """Raise `InputError` unless ``value`` is one of a few.

    Examples:
        >>> check_choice("lml", "objective", ("lml",))
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if not any(type(plain) is type(choice) and plain == choice for choice in choices):
        raise InputError(f"{name} must be one of {choices}, got {value!r}")


def check_count(value: Any, name: str, least: int = 0) -> None:
    """Raise `InputError` unless ``value`` is a whole number, at least ``least``.

    Examples:
        >>> check_count(3, "n_restarts")
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be an integer, at least {least}; got {value!r}")


def check_temperature(value: Any) -> None:
    """Raise `InputError` unless it is ``"learn"`` or a positive number."""
    if isinstance(value, str) and value == "learn":
        return
    number = check_numbers(value, "temperature") if not isinstance(value, str) else np.zeros(0)
    if number.ndim or isinstance(value, bool | np.bool_) or not 0.0 < number < np.inf:
        raise InputError(f"temperature must be 'learn' or a positive number, got {value!r}")


def check_seed(random_state: Any) -> np.random.RandomState:
    """Return a source of random numbers; raise `InputError` for what cannot seed one.

    Examples:
        >>> int(check_seed(0).randint(10))
        5
    """
    try:
        return cast(np.random.RandomState, check_random_state(random_state))
    except (TypeError, ValueError) as error:
        raise InputError(
            "random_state must be None, an integer from 0 to 2**32 - 1 or a numpy.random.RandomState, "
            f"got {random_state!r}"
        ) from error


def check_jobs(n_jobs: Any) -> None:
    """Raise `InputError` unless ``n_jobs`` is what joblib understands: a whole number but 0, or ``None``.

    Examples:
        >>> check_jobs(-1)
    """
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool)
    if n_jobs is not None and (not whole or n_jobs == 0):
        problem = "must not be 0" if whole else f"must be a whole number or None, got {n_jobs!r}"
        raise InputError(f"n_jobs {problem}: take 1 for no parallel work, -1 for all cores, or None")


def check_verbose(verbose: Any) -> None:
    """Raise `InputError` unless ``verbose`` is a bool or a whole number, at least 0."""
    if not isinstance(verbose, bool | np.bool_):
        check_count(verbose, "verbose")


def check_minutes(minutes: Any, name: str) -> None:
    """Raise `InputError` unless ``minutes`` is a number, at least 0.

    Examples:
        >>> check_minutes(0.5, "checkpoint_minutes")
    """
    is_number = isinstance(minutes, int | float | np.integer | np.floating) and not isinstance(minutes, bool)
    if not is_number or not 0.0 <= minutes < np.inf:
        raise InputError(f"{name} must be a number of minutes, at least 0; got {minutes!r}")


def check_weights(sample_weight: ArrayLike | None, x: Array) -> Array:
    """Return one weight per row, ``(n,)``.

    Args:
        sample_weight: non-negative powers of the rows' likelihoods; 1 by default.
        x: ``(n, d)``.

    Returns:
        The weights.

    Raises:
        InputError: weights that are no numbers, a negative one, one far beyond any count, or none that is
            positive.
    """
    sample_weight = _without_torch(sample_weight, "sample_weight")
    if sample_weight is not None:
        check_numbers(sample_weight, "sample_weight")
    weights = np.asarray(_check_sample_weight(sample_weight, x, dtype=np.float64))
    if (weights < 0.0).any():
        row = int(np.argmax(weights < 0.0))
        raise InputError(f"sample_weight must not be negative, got {weights[row]:g} in row {row}")
    if ((weights > LARGEST) | ((weights > 0.0) & (weights < SMALLEST))).any():
        raise InputError(f"sample_weight has values beyond {LARGEST:g} or below {SMALLEST:g}: rescale it")
    if not (weights > 0.0).any():
        raise InputError("sample_weight is 0 in every row: at least one row must count")
    return weights


def check_noise(noise: Any, n: int) -> float | Array | None:
    """Return a known noise variance, one per row, or ``None`` where it is to be learnt.

    Args:
        noise: ``"learn"``, a number, or ``(n,)`` numbers.
        n: the number of rows.

    Returns:
        The variances, in units of ``y`` squared.

    Raises:
        InputError: anything else, or a negative variance.
    """
    if isinstance(noise, str | bool):
        if noise == "learn":
            return None
        raise InputError(f"noise must be 'learn', a variance, or one variance per row; got {noise!r}")
    values = check_numbers(noise, "noise")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != n):
        raise InputError(
            f"noise must be one variance or one per row ({n}); got an array of shape {values.shape}"
        )
    if not np.isfinite(values).all() or (values < 0.0).any():
        raise InputError(f"noise variances must be finite and not negative, got {reprlib.repr(noise)}")
    return float(values) if values.ndim == 0 else values


def check_probabilities(q: ArrayLike, name: str = "probabilities") -> Array:
    """Return probabilities as an array; raise `InputError` for one outside the open interval (0, 1).

    Examples:
        >>> check_probabilities(0.5)
        array([0.5])
    """
    values = np.atleast_1d(check_numbers(q, "q"))
    if values.ndim != 1 or not ((values > 0.0) & (values < 1.0)).all():
        raise InputError(f"{name} must lie strictly between 0 and 1, got {reprlib.repr(q)}")
    return values


def check_device(device: str, n: int) -> torch.device:
    """Return where ``n`` rows are worked on; raise `InputError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and n >= GPU_ROWS else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}") from error
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device!r} was asked for, but this machine has no CUDA GPU: use 'auto'")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} was asked for, but there are {torch.cuda.device_count()} GPUs")
    return chosen


def check_kernel(kernel: gpytorch.kernels.Kernel, x: torch.Tensor) -> None:
    """Raise `InputError` for a kernel that is a batch of several.

    Args:
        kernel: with values for all its hyperparameters.
        x: ``(n, d)``.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> check_kernel(RBF(1.0), torch.zeros(3, 1, dtype=torch.float64))
    """
    shape = tuple(covariance(kernel, x[:1]).shape)
    if shape != (1, 1):
        raise InputError(
            f"kernel gives a covariance of shape {shape} for one row, expected (1, 1): build it without "
            "batch_shape, with one value for each hyperparameter or each column"
        )
