"""Fitted models in files that hold numbers and JSON only; see `nonparam.persistence`.

A file has what a model has learnt, and what it needs of its data: all else follows from these, and is found
again on loading as `fit` finds it.
"""

from dataclasses import asdict
from typing import Any, ClassVar, Self, TypeVar

import gpytorch
import numpy as np
from sklearn.utils.validation import check_is_fitted

from nonparam.latent.calibration import Calibration
from nonparam.packing import Json, Packer, Unpacker
from nonparam.persistence import Location, complete, read_file, regressor_of, write_file
from nonparam.training import FitReport

__all__ = ["FileMixin", "class_state", "load_any", "resumed", "save_learnt", "take_classes"]

Model = TypeVar("Model")


class FileMixin:
    """Adds `save` and `load` to an estimator that says what it learnt, and can begin from that."""

    _report_kind: ClassVar[type[FitReport]] = FitReport  # of what `fit_report_` is

    def _learnt_state(self) -> dict[str, Any]:
        """Return arrays, numbers, text and kernels, from which `_resume` finds everything else."""
        raise NotImplementedError

    def _resume(self, state: dict[str, Any]) -> None:
        """Take over what `_learnt_state` has returned."""
        raise NotImplementedError

    def save(self, path: Location) -> None:
        """Write the fitted model to a file that holds numbers and JSON only.

        Args:
            path: of the file; one that is there is replaced.

        Raises:
            InputError: an argument that a file cannot hold, such as an activation of one's own, or no such
                folder.
            OSError: the system refused to write.
        """
        check_is_fitted(self)
        save_learnt(self, path)

    @classmethod
    def load(cls, path: Location, kernel: gpytorch.kernels.Kernel | None = None) -> Self:
        """Read a model that `save` wrote.

        Args:
            path: of the file.
            kernel: for a model with a GPyTorch kernel, a kernel built the same way.

        Raises:
            InputError: no such file, another class, or a GPyTorch kernel that is missing or built otherwise.
            FileFormatError: a file that is damaged, was changed, or is of another version.
        """
        document, tensors = read_file(path, cls.__name__)
        return resumed(cls, path, document, Unpacker(tensors, kernel))


def load_any(cls: type[Model], path: Location, kernel: gpytorch.kernels.Kernel | None = None) -> Model:
    """Read a regressor with any likelihood; those with a Gaussian one have files of their own."""
    document, tensors = read_file(path, cls.__name__)
    unpacker = Unpacker(tensors, kernel)
    if "learnt" in document:
        return resumed(cls, path, document, unpacker)
    return regressor_of(cls, path, document, unpacker)


def save_learnt(model: Any, path: Location) -> None:
    """Write what a fitted model has learnt to a file.

    Args:
        model: with `_learnt_state`.
        path: of the file.
    """
    packer, names = Packer(), getattr(model, "feature_names_in_", None)
    learnt = {
        "report": asdict(model.fit_report_),
        "columns": model.n_features_in_,
        "column_names": None if names is None else names.tolist(),
        "state": model._learnt_state(),
    }
    document = {
        "params": packer.pack(model.get_params(deep=False), "params"),
        "learnt": packer.pack(learnt, "learnt"),
    }
    write_file(path, type(model).__name__, document, packer.tensors)


def resumed(cls: type[Model], path: Location, document: Json, unpacker: Unpacker) -> Model:
    """Return the model of a file that `save_learnt` wrote.

    Args:
        cls: its class, with `_resume`.
        path: of the file, for errors.
        document: its JSON.
        unpacker: of its tensors.

    Raises:
        FileFormatError: a part is missing, or of a wrong kind.
    """
    with complete(path):
        model: Any = cls(**unpacker.unpack(document["params"]))
        learnt = unpacker.unpack(document["learnt"])
        model.fit_report_ = getattr(model, "_report_kind", FitReport)(**learnt["report"])
        model.n_features_in_ = learnt["columns"]
        if learnt["column_names"] is not None:
            model.feature_names_in_ = np.array(learnt["column_names"], dtype=object)
        model._resume(learnt["state"])
    return model  # type: ignore[no-any-return]


def class_state(model: Any) -> dict[str, Any]:
    """Return what a file holds of any classifier: its labels with their type, and its calibration."""
    return {
        "classes": model.classes_.tolist(),
        "type": model.classes_.dtype.str,
        "calibration": asdict(model.calibration_),
    }


def take_classes(model: Any, state: dict[str, Any]) -> None:
    """Take over what `class_state` has returned."""
    model.classes_ = np.array(state["classes"], dtype=np.dtype(state["type"]))
    model.calibration_ = Calibration(**state["calibration"])
