r"""Checkpoints: where a search for hyperparameters stands, in a file, so that a killed fit can go on.

The file is of the format of saved models (`nonparam.persistence`): numbers and JSON, a version, a digest. It
says which problem it belongs to, and holds nothing that has an entry for each row. It is replaced as a whole,
so that there is a complete one at any time; a lock beside it belongs to the process that writes it, and the
operating system releases it when that process ends, however it ends.
"""

import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import FileFormatError, InputError
from nonparam.packing import Packer, Unpacker
from nonparam.persistence import digest, read_file, writable, write_file

if sys.platform != "win32":
    import fcntl

__all__ = ["Checkpoint", "NewtonState", "State", "checkpoint_at", "locked"]

Array = NDArray[np.float64]

KIND = "Checkpoint"
VERSION = 1
REMEDY = "delete the file to begin anew, or give checkpoint= another path"


@dataclass(frozen=True)
class NewtonState:
    """Where Newton's steps on all rows stand.

    Attributes:
        point: ``(p,)``, where the gradient is to be found next.
        inverse: ``(p, p)``, of minus the Hessian on all rows.
        step: counts from 1.
        moved: ``(p,)``, how ``point`` was reached from the one before; ``None`` at the first.
        gradient: ``(p,)``, at the one before.
        pivots: ``(r,)``, of the preconditioner there.
        double: whether float64 was needed.
        anchor: ``(p,)``, where the Cholesky factor was made that preconditions; ``None`` without one.
    """

    point: Array
    inverse: Array
    step: int = 1
    moved: Array | None = None
    gradient: Array | None = None
    pivots: NDArray[np.int64] | None = None
    double: bool = False
    anchor: Array | None = None


@dataclass(frozen=True)
class State:
    """Where a search for hyperparameters stands.

    Attributes:
        points: ``(b, p)``, of the searches that factorise, on all rows or on a subset.
        seed: of the subsets, the pivots and the probes.
        newton: the steps on all rows, once the subsets are done.
    """

    points: Array
    seed: int = 0
    newton: NewtonState | None = None


class Checkpoint:
    """The file of one fit; made by `checkpoint_at`.

    Attributes:
        resumed: what the file held at the beginning.
    """

    def __init__(
        self, target: Path | None, minutes: float, problem: Mapping[str, str], resumed: State | None
    ) -> None:
        self.resumed = resumed
        self._target, self._seconds, self._problem = target, 60.0 * minutes, problem
        self._unwritten: State | None = None
        self._written, self._failed = time.monotonic(), False

    def offer(self, state: State) -> None:
        """Write the state if the time has come; else keep it in mind."""
        if self._target is None:
            return
        self._unwritten = state
        if time.monotonic() - self._written >= self._seconds:
            self.flush()

    def write(self, state: State) -> None:
        """Write the state, as at the end of a stage."""
        if self._target is not None:
            self._unwritten = state
            self.flush()

    def flush(self) -> None:
        """Write what is not yet written. A disk that refuses is worth one warning, not the fit."""
        if self._target is None or self._unwritten is None:
            return
        packer = Packer()
        content = {"version": VERSION, "problem": dict(self._problem), "state": asdict(self._unwritten)}
        self._written = time.monotonic()
        try:
            write_file(self._target, KIND, packer.pack(content, KIND), packer.tensors)
            self._unwritten = None
        except (OSError, InputError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            warnings.warn(
                f"the checkpoint {str(self._target)!r} could not be written ({error.__cause__ or error}): "
                "training goes on and tries again later; what the file held before is still there",
                stacklevel=3,
            )

    def remove(self) -> None:
        """Delete the file: the fit is done."""
        self._unwritten = None
        if self._target is not None:
            self._target.unlink(missing_ok=True)


@contextmanager
def checkpoint_at(
    path: str | os.PathLike[str] | None, minutes: float, problem: Mapping[str, Any]
) -> Iterator[Checkpoint]:
    """Hold the checkpoint of a fit; when the block is left the last state is in the file, unless removed.

    Args:
        path: of the file; ``None`` for a checkpoint that does nothing.
        minutes: between two states that are written.
        problem: what must be the same for a state to be of use: numbers, text, arrays and kernels by name.

    Raises:
        InputError: a path that nothing can be written to, that another process uses, or that holds the
            checkpoint of another problem.
        FileFormatError: a file that is damaged, no checkpoint, or of another version.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "fit.checkpoint")
        ...     with checkpoint_at(path, 5.0, {"data": np.ones(3)}) as checkpoint:
        ...         checkpoint.offer(State(np.zeros((1, 2))))
        ...     with checkpoint_at(path, 5.0, {"data": np.ones(3)}) as checkpoint:
        ...         checkpoint.resumed.points
        array([[0., 0.]])
    """
    if path is None:
        yield Checkpoint(None, minutes, {}, None)
        return
    target = writable(path)
    digests = {name: _digest(part) for name, part in problem.items()}
    with locked(target):
        checkpoint = Checkpoint(target, minutes, digests, _read(target, digests))
        try:
            yield checkpoint
        finally:
            checkpoint.flush()


def _digest(part: Any) -> str:
    packer = Packer()
    packed = json.dumps(packer.pack(part, "part"))
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in packer.tensors.items()}
    return digest({"part": packed}, plain)


def _read(target: Path, problem: Mapping[str, str]) -> State | None:
    if not target.exists():
        return None
    try:
        document, tensors = read_file(target, KIND)
        content = Unpacker(tensors).unpack(document)
        if content["version"] != VERSION:
            raise FileFormatError(
                f"it has version {content['version']}, and this nonparam reads version {VERSION}"
            )
        saved, state = content["problem"], content["state"]
        newton = state.pop("newton")
        resumed = State(**state, newton=None if newton is None else NewtonState(**newton))
    except (FileFormatError, InputError, KeyError, TypeError, AttributeError, OSError) as error:
        raise FileFormatError(
            f"{str(target)!r} is no checkpoint that a fit can be resumed from: {REMEDY} ({error})"
        ) from error
    different = [name for name in problem if saved.get(name) != problem[name]]
    if different:
        raise InputError(
            f"{str(target)!r} is the checkpoint of a fit with different {' and '.join(different)}: fit with "
            f"the same to resume it, {REMEDY}"
        )
    return resumed


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep other processes from the same file while the block runs.

    Args:
        target: of the file; the lock is a file beside it, which goes when the block is left.

    Raises:
        InputError: another process, or another fit in this one, holds the lock; or no lock can be made.
    """
    if sys.platform == "win32":  # no advisory locks: two processes are not noticed
        yield
        return
    path = target.with_name(f".{target.name}.nonparam-lock")
    try:
        descriptor = _acquired(path, target)
    except OSError as error:
        raise InputError(
            f"cannot lock {str(target)!r} with {str(path)!r}: {error.strerror}; give checkpoint= a path in a "
            "folder that can be written to"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever opened it in between sees that it is gone
        os.close(descriptor)


def _acquired(path: Path, target: Path) -> int:
    """Return the open file that holds the lock. A dead process's lock is free: only its file is left."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except BlockingIOError:
            owner = os.read(descriptor, 300).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise InputError(
                f"the checkpoint {str(target)!r} is in use by {owner}: wait for that fit, end it, or give "
                "checkpoint= another path"
            ) from None
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one at the path: its owner may just have deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
