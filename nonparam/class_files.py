"""Fitted classifiers in files that hold numbers and JSON only; see `nonparam.persistence`.

A file has the rows, the labels and the hyperparameters: the functions given these are found again on loading,
as `fit` finds them.
"""

from dataclasses import asdict
from typing import Any, Self

import gpytorch
import numpy as np
from sklearn.utils.validation import check_is_fitted

from nonparam.latent.calibration import Calibration
from nonparam.packing import Packer, Unpacker
from nonparam.persistence import Location, complete, read_file, write_file
from nonparam.training import FitReport

__all__ = ["FileMixin"]


class FileMixin:
    """Adds `save` and `load` to a classifier that says what it learnt, and can begin from that."""

    def _learnt_state(self) -> dict[str, Any]:
        """Return arrays, numbers, text and kernels, from which `_resume` finds everything else."""
        raise NotImplementedError

    def _resume(self, state: dict[str, Any]) -> None:
        """Take over what `_learnt_state` has returned."""
        raise NotImplementedError

    def save(self: Any, path: Location) -> None:
        """Write the fitted model to a file that holds numbers and JSON only.

        Args:
            path: of the file; one that is there is replaced.

        Raises:
            InputError: an argument that a file cannot hold, such as an activation of one's own, or no such
                folder.
            OSError: the system refused to write.
        """
        check_is_fitted(self)
        packer = Packer()
        names = getattr(self, "feature_names_in_", None)
        fitted = {
            "classes": self.classes_.tolist(),
            "type": self.classes_.dtype.str,
            "calibration": asdict(self.calibration_),
            "report": asdict(self.fit_report_),
            "columns": self.n_features_in_,
            "column_names": None if names is None else names.tolist(),
            "learnt": self._learnt_state(),
        }
        document = {
            "params": packer.pack(self.get_params(deep=False), "params"),
            "fitted": packer.pack(fitted, "fitted"),
        }
        write_file(path, type(self).__name__, document, packer.tensors)

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
        with complete(path):
            unpacker = Unpacker(tensors, kernel)
            model = cls(**unpacker.unpack(document["params"]))
            state = unpacker.unpack(document["fitted"])
            _restore(model, state)
            model._resume(state["learnt"])
        return model


def _restore(model: Any, state: dict[str, Any]) -> None:
    model.classes_ = np.array(state["classes"], dtype=np.dtype(state["type"]))
    model.calibration_ = Calibration(**state["calibration"])
    model.fit_report_ = FitReport(**state["report"])
    model.n_features_in_ = state["columns"]
    if state["column_names"] is not None:
        model.feature_names_in_ = np.array(state["column_names"], dtype=object)
