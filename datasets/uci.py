"""Fetch a public regression benchmark with its published folds, checked and kept on disk."""

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from nonparam.datasets.download import download
from nonparam.datasets.uci_sets import UCI_SETS, UCISet
from nonparam.errors import DownloadError, FileFormatError, InputError

__all__ = ["BASE_URL", "UCIData", "content_sha256", "fetch_uci"]

BASE_URL = "https://raw.githubusercontent.com/treforevans/uci_datasets/master/uci_datasets"

_FILES = ("data.csv.gz", "test_mask.csv.gz")
_DAMAGED = (  # what numpy, pandas, zipfile and gzip raise on foreign or broken bytes
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)

_Float64: TypeAlias = npt.NDArray[np.float64]
_Float32: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class UCIData:
    """A benchmark set with its published test folds.

    Attributes:
        name: of the set.
        X: inputs (n, d).
        y: targets (n,), in ``units``.
        fold: the one of the folds 0 to 9 that tests the row (n,).
        units: of the targets.
        note: what to know before results on it are compared; may be empty.
        source: who published the set, and where.

    >>> X, y, fold = np.zeros((4, 2)), np.arange(4.0), np.array([0, 1, 1, 0])
    >>> data = UCIData("example", X, y, fold, units="none", note="", source="made here")
    >>> X_train, y_train, X_test, y_test = data.split(0)
    >>> y_train.tolist(), y_test.tolist()
    ([1.0, 2.0], [0.0, 3.0])
    """

    name: str
    X: _Float64 = field(repr=False)
    y: _Float64 = field(repr=False)
    fold: npt.NDArray[np.int64] = field(repr=False)
    units: str
    note: str
    source: str

    def split(self, k: int) -> tuple[_Float64, _Float64, _Float64, _Float64]:
        """Split the rows by published fold ``k``.

        Args:
            k: fold to test on, 0 to 9.

        Returns:
            ``X_train, y_train, X_test, y_test``, each in the order of the rows.

        Raises:
            InputError: there is no such fold.
        """
        test = self.fold == k
        if not test.any():
            raise InputError(f"expected a fold from 0 to {self.fold.max()}, got {k!r}")
        return self.X[~test], self.y[~test], self.X[test], self.y[test]


def fetch_uci(
    name: str,
    *,
    data_home: str | os.PathLike[str] | None = None,
    base_url: str = BASE_URL,
    timeout: float = 30.0,
) -> UCIData:
    """Fetch a benchmark set by name; ``list_datasets()`` shows the names.

    Where the environment variable ``NONPARAM_DATA`` names a folder, ``uci/NAME.npz`` is read from
    it and nothing is downloaded or written. Otherwise that file is read from ``data_home``, after
    a download if it is not there yet; a download that was cut short is resumed by the next call.
    However the data came, their checksum is compared with the published set's.

    Args:
        name: of the set, such as "elevators".
        data_home: folder to keep the sets in; by default ``~/nonparam_data``.
        base_url: address of the folder of folders ``NAME`` with ``data.csv.gz`` and
            ``test_mask.csv.gz`` in them.
        timeout: seconds to wait for the server at each step.

    Raises:
        InputError: no set has that name, or ``base_url`` or ``timeout`` cannot be used.
        DownloadError: the set could not be fetched, as when offline.
        FileFormatError: what was found or fetched is not the published set.

    Source: Yang, Smola, Song & Wilson, A la carte - learning fast kernels, AISTATS 2015, for the
    folds.

    >>> fetch_uci("elevator")
    Traceback (most recent call last):
    nonparam.errors.InputError: expected one of bike, concrete, elevators, energy, housing, ...
    """
    if name not in UCI_SETS:
        raise InputError(f"expected one of {', '.join(UCI_SETS)}, got {name!r}")
    uci_set = UCI_SETS[name]
    mirror = os.environ.get("NONPARAM_DATA")
    path = Path(mirror or data_home or "~/nonparam_data").expanduser() / "uci" / f"{name}.npz"
    if not path.exists():
        if mirror:
            raise DownloadError(
                f"NONPARAM_DATA names {mirror!r}, which has no uci/{name}.npz; put it there, or "
                "unset the variable to download the set"
            )
        _fetch(uci_set, path, base_url.rstrip("/"), timeout)
    return _read(uci_set, path)


def content_sha256(X: npt.ArrayLike, y: npt.ArrayLike, fold: npt.ArrayLike) -> str:
    """Hash the content of a set, whatever file holds it.

    SHA-256 over the bytes of ``X`` row by row, then ``y``, both as little-endian float32, then
    ``fold`` as uint8.

    Args:
        X: inputs (n, d).
        y: targets (n,).
        fold: test fold of each row (n,).

    >>> content_sha256([[1.0, 2.0]], [3.0], [0])[:16]
    '1768f7dc1f854eb7'
    """
    digest = hashlib.sha256()
    for array, dtype in ((X, "<f4"), (y, "<f4"), (fold, "u1")):
        digest.update(np.asarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()


class _Content(NamedTuple):
    X: _Float32
    y: _Float32
    fold: npt.NDArray[np.uint8]


def _read(uci_set: UCISet, path: Path) -> UCIData:
    """Read a stored set, in the form that ``_store`` writes."""
    info = uci_set.info
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            content = _content(stored["X"], stored["y"], stored["fold"])
        _verify(uci_set, content)
    except _DAMAGED as error:
        raise FileFormatError(
            f"{path} does not hold the published set {info.name}: {error}; delete it and call again"
        ) from error
    X, y = content.X.astype(np.float64), content.y.astype(np.float64)
    fold = content.fold.astype(np.int64)
    return UCIData(info.name, X, y, fold, info.units, uci_set.note, info.source)


def _fetch(uci_set: UCISet, path: Path, base_url: str, timeout: float) -> None:
    """Download the two originals, check their content and store it as ``path``."""
    name = uci_set.info.name
    originals = {f"{base_url}/{name}/{file}": path.with_name(f"{name}_{file}") for file in _FILES}
    try:
        for url, original in originals.items():
            if not original.exists():
                download(url, original, timeout=timeout)
    except DownloadError as error:
        raise DownloadError(f"{error}. {_by_hand(originals, name)}") from error
    try:
        content = _parse(*originals.values())
        _verify(uci_set, content)
    except _DAMAGED as error:
        raise FileFormatError(
            f"{base_url}/{name} does not serve the published set {name}: {error}; what it sent was "
            "deleted, call again or try another base_url"
        ) from error
    finally:
        for original in originals.values():
            original.unlink(missing_ok=True)
    _store(content, path)


def _by_hand(originals: dict[str, Path], name: str) -> str:
    steps = " and ".join(f"{url} as {path}" for url, path in originals.items())
    return (
        f"Call again to go on from there. Without a network, save {steps}, fetched elsewhere, "
        f"and call again, or set NONPARAM_DATA to a folder that holds uci/{name}.npz."
    )


def _parse(data: Path, test_mask: Path) -> _Content:
    """Parse rows of inputs and target, and rows that mark the one fold of ten which tests them."""
    table, mask = (pd.read_csv(file, header=None, dtype=np.float64).to_numpy() for file in (data, test_mask))
    if not (mask.sum(axis=1) == 1).all():
        raise ValueError("a row of test_mask.csv.gz does not mark exactly one fold")
    return _content(table[:, :-1], table[:, -1], mask.argmax(axis=1))


def _content(X: npt.ArrayLike, y: npt.ArrayLike, fold: npt.ArrayLike) -> _Content:
    return _Content(np.asarray(X, np.float32), np.asarray(y, np.float32), np.asarray(fold, np.uint8))


def _verify(uci_set: UCISet, content: _Content) -> None:
    """Raise a ValueError unless shape and checksum are those of the published set."""
    n, d = uci_set.info.rows, uci_set.info.columns - 1
    shapes = tuple(array.shape for array in content)
    if shapes != ((n, d), (n,), (n,)):
        raise ValueError(f"expected arrays of shapes {(n, d)}, {(n,)}, {(n,)}, got {shapes}")
    sha256 = content_sha256(*content)
    if sha256 != uci_set.sha256:
        raise ValueError(f"expected the SHA-256 checksum {uci_set.sha256}, got {sha256}")


def _store(content: _Content, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **content._asdict())
    os.replace(part, path)
