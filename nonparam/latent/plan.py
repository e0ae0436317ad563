"""Which inference and which solver functions behind a likelihood get."""

import torch

from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.latent.class_posterior import plan_classes
from nonparam.solvers.plan import Plan, choose

__all__ = ["LATENT_SOLVERS", "plan_functions", "plan_labels"]

LATENT_SOLVERS = ("auto", "cholesky", "cg")
MATRICES = 8  # of n x n at the peak, with one function
MATRICES_PER_CLASS = 4


def plan_labels(
    inference: str, solver: str, n: int, latents: int, mean: str, device: torch.device
) -> tuple[str, Plan]:
    """Choose how functions are inferred from labels of classes.

    Args:
        inference: ``"auto"``, ``"laplace"``, ``"variational"`` or ``"dirichlet"``.
        solver: one of `LATENT_SOLVERS`.
        n: rows.
        latents: functions.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``.
        device: of the computation.

    Returns:
        The inference, not ``"auto"``, and the plan.

    Raises:
        InputError: what does not go together.
        InsufficientMemoryError: what does not fit.

    Examples:
        >>> inference, planned = plan_labels("auto", "cg", 1000, 3, "constant", torch.device("cpu"))
        >>> inference, planned.solver
        ('laplace', 'cg')
    """
    if inference == "dirichlet" and mean == "zero":
        raise InputError(
            "inference='dirichlet' fits a constant for each class, got mean='zero': take 'constant'"
        )
    by_targets = latents > 1 and mean != "zero" and solver != "cg"
    if inference == "dirichlet" or (inference == "auto" and by_targets):
        _check_goes_with(solver, inference)
        try:
            return "dirichlet", plan_classes(n, max(latents, 2), device)
        except InsufficientMemoryError:
            if inference == "dirichlet" or solver == "cholesky":
                raise
    matrices = MATRICES if latents == 1 else MATRICES_PER_CLASS * latents
    if inference == "variational":
        _check_goes_with(solver, inference)
        return inference, choose("cholesky", n, matrices, device)
    return "laplace", choose(solver, n, matrices, device, functions=latents)


def plan_functions(
    inference: str, solver: str, n: int, latents: int, unimodal: bool, device: torch.device
) -> tuple[str, Plan]:
    """Choose how functions are inferred from observations that are not Gaussian.

    Args:
        inference: ``"auto"``, ``"laplace"`` or ``"variational"``.
        solver: one of `LATENT_SOLVERS`.
        n: rows.
        latents: functions.
        unimodal: whether the posterior has one mode, so that Laplace's approximation is warranted.
        device: of the computation.

    Returns:
        The inference, not ``"auto"``, and the plan.

    Raises:
        InputError: what does not go together.
        InsufficientMemoryError: what does not fit.
    """
    if inference == "laplace" or (inference == "auto" and unimodal and solver == "cg"):
        return "laplace", choose(solver, n, MATRICES, device)
    _check_goes_with(solver, inference)
    try:
        return "variational", choose("cholesky", n, MATRICES * latents, device)
    except InsufficientMemoryError:
        if inference == "variational" or solver == "cholesky" or not unimodal:
            raise
    return "laplace", choose("cg", n, MATRICES, device)


def _check_goes_with(solver: str, inference: str) -> None:
    if solver == "cg":
        raise InputError(
            "solver='cg' is of Laplace's approximation, for one mode, and this is "
            f"inference={inference!r}: take solver='auto'"
        )
