"""Results of a panel on the disk, chunk by chunk, so that a run that was killed goes on where it was.

A folder holds ``panel.safetensors``, which says what the run was asked, and a file for each chunk of series
that is done, all of the package's own format (see `nonparam.persistence`): quantiles bit for bit, a digest
that finds damage, no code that reading them could run, and no library beyond those that the package needs,
which Parquet would ask for. A file is written beside its place and then renamed, and so appears complete or
not at all. Times are not stored: they follow from the series and the horizon.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import torch

from nonparam.errors import FileFormatError, InputError
from nonparam.forecasting.panel_chunks import Asked, Chunk, Outcome, Result
from nonparam.forecasting.panel_reading import Entry, Failure, Panel
from nonparam.forecasting.validation import read_horizon, read_series
from nonparam.persistence import read_file, write_file

if TYPE_CHECKING:
    from nonparam.forecasting.forecaster import GPForecaster

__all__ = ["Store", "fingerprint"]

PANEL, CHUNK = "Panel", "PanelChunk"  # kinds of files
HEAD = "panel.safetensors"
LEFTOVERS = f".{'[0-9a-f]' * 16}.tmp"  # of a run that was killed while it wrote, as `write_file` calls them
IRRELEVANT = ("n_jobs",)  # to the numbers


def fingerprint(
    forecaster: "GPForecaster",
    panel: Panel,
    futures: Sequence[pd.DataFrame | None],
    asked: Asked,
    chunks: Sequence[Sequence[int]],
) -> dict[str, str]:
    """Return digests of all that the results depend on.

    Args:
        forecaster: its class and its parameters count.
        panel: the series.
        futures: regressors at the times of the forecast.
        asked: the forecast.
        chunks: the places of the series of each.

    Returns:
        Digests of the series, of the parameters and of the forecast that is asked for, and the version of
        the package.
    """
    params = sorted(forecaster.get_params().items())
    relevant = [(name, _of_param(value)) for name, value in params if name not in IRRELEVANT]
    times = [_of_table(future) for future in futures if future is not None]
    return {
        "series": _digest([repr(panel.ids.dtype), chunks, *map(_of_series, panel.ids, panel.entries)]),
        "parameters": _digest([type(forecaster).__qualname__, *relevant]),
        "forecast": _digest([_of_times(asked.fh), asked.levels.tolist(), *times]),
        "version of nonparam": version("nonparam"),
    }


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _of_series(name: Any, entry: Entry | Failure) -> tuple[str, ...]:
    if isinstance(entry, Failure):
        return repr(name), repr(entry)
    return repr(name), _of_table(entry.y.to_frame()), _of_table(entry.X)


def _of_table(table: pd.DataFrame | None) -> str:
    if table is None:
        return ""
    try:
        rows = pd.util.hash_pandas_object(table).to_numpy()
    except TypeError:  # entries that cannot be hashed: the series will fail
        rows = np.frombuffer(repr(table).encode(), dtype=np.uint8)
    steps = getattr(table.index, "freqstr", None)
    kinds = [str(table.index.dtype), steps, *map(str, table.columns), *map(str, table.dtypes)]
    return _digest([kinds, hashlib.sha256(rows.tobytes()).hexdigest()])


def _of_param(value: Any) -> str:
    """Return a digest of a parameter; equal tables have equal ones, however they lie in the memory."""
    if isinstance(value, pd.Series | pd.Index):
        value = value.to_frame()
    return _of_table(value) if isinstance(value, pd.DataFrame) else str(joblib.hash(value))


def _of_times(fh: Any) -> str:
    return _of_table(fh.to_frame()) if isinstance(fh, pd.Index) else repr(np.asarray(fh).tolist())


class Store:
    """A folder with the chunks of a run that are done.

    Args:
        folder: an empty or a new one, or that of the same run; one run at a time writes there.
        asked: the forecast.
        marks: `fingerprint` of the run.

    Raises:
        InputError: a folder with other files, or with the results of another run.
        FileFormatError: a damaged file.
    """

    def __init__(self, folder: Any, asked: Asked, marks: dict[str, str]) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise InputError(f"store must be the path of a folder, got {folder!r}")
        self._folder, self._asked = Path(folder), asked
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"store={str(folder)!r} is a file: expected a folder, which may be new")
        if not self._folder.absolute().parent.is_dir():
            raise InputError(f"store={str(folder)!r}: there is no folder to make it in; make it first")
        self._folder.mkdir(exist_ok=True)
        self._check(marks)
        for leftover in self._folder.glob(LEFTOVERS):
            leftover.unlink()

    def _check(self, marks: dict[str, str]) -> None:
        head = self._folder / HEAD
        if not head.exists():
            if any(not file.match(LEFTOVERS) for file in self._folder.iterdir()):
                raise InputError(
                    f"store={str(self._folder)!r} holds other files, and no results: give an empty or a "
                    "new folder"
                )
            write_file(head, PANEL, marks, {})
        known, _ = read_file(head, PANEL)
        differing = [name for name, mark in marks.items() if known.get(name) != mark]
        if differing:
            raise InputError(
                f"store={str(self._folder)!r} holds the results of another run, which differs in the "
                f"{' and the '.join(differing)}: give another folder, or remove this one"
            )

    def write(self, number: int, results: Sequence[Outcome]) -> None:
        """Write what became of a chunk's series.

        Args:
            number: of the chunk.
            results: with forecasts.
        """
        tables = [
            r.quantiles.to_numpy() for r in results if isinstance(r, Result) and r.quantiles is not None
        ]
        values = np.concatenate(tables) if tables else np.zeros((0, 0))
        document = [asdict(r) if isinstance(r, Failure) else {"row": r.row} for r in results]
        write_file(self._path(number), CHUNK, document, {"quantiles": torch.from_numpy(values)})

    def read(self, chunk: Chunk) -> list[Outcome] | None:
        """Return what `write` wrote, or ``None`` where the chunk is not done.

        Args:
            chunk: the series.

        Raises:
            FileFormatError: the file is damaged.
        """
        path = self._path(chunk.number)
        if not path.exists():
            return None
        try:
            document, tensors = read_file(path, CHUNK)
            values = iter(tensors["quantiles"].numpy())
            return [
                _restored(what, entry, self._asked, values)
                for what, entry in zip(document, chunk.entries, strict=True)
            ]
        except (FileFormatError, KeyError, ValueError) as error:
            raise FileFormatError(
                f"{str(path)!r} is damaged ({error}): remove this file, and its series are fitted again"
            ) from error

    def _path(self, number: int) -> Path:
        return self._folder / f"chunk-{number:05d}.safetensors"


def _restored(what: Mapping[str, Any], entry: Entry | Failure, asked: Asked, values: Any) -> Outcome:
    if "row" not in what or isinstance(entry, Failure):
        return Failure(what["error"], what["message"])
    _, index = read_horizon(asked.fh, read_series(entry.y).line)
    rows = np.array(list(islice(values, len(index))))
    columns = pd.Index(asked.levels, name="quantile")
    return Result(what["row"], quantiles=pd.DataFrame(rows, index=index, columns=columns))
