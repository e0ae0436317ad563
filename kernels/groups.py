"""Groups of maps of the inputs: reflections, permutations, quarter turns, and lists of a user's maps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from nonparam.errors import InputError

__all__ = ["GROUPS", "Group", "Map", "check_group"]

Map = Callable[[Tensor], Tensor]
GROUPS = ("reflection", "permutation", "c4", "d4")
MOST_PERMUTED = 5  # columns: 120 permutations
ALIKE = 1e-6  # relative: what rounding may change in a row's image, and the other rows may not
LOOKED_AT = 4  # rows, at which maps are composed
CLOSED = 1e-3  # of the largest distance between images: how exact the numbers in a user's maps must be
ROUNDING = 1e3  # units in the last place


@dataclass(frozen=True)
class Group:
    """Maps of rows, without the identity.

    Attributes:
        maps: take and return ``(n, d)``.
        isometries: whether they are known to be a group of permutations, rotations and reflections.
        signs_only: whether they only change signs of columns.
    """

    maps: tuple[Map, ...]
    isometries: bool
    signs_only: bool

    def images(self, x: Tensor) -> list[Tensor]:
        """Return the images of the rows ``x (n, d)`` under each map.

        Raises:
            InputError: maps of a user that are no group, as far as a few of the rows show.
        """
        images = [g(x) for g in self.maps]
        if given := [g for g in self.maps if isinstance(g, _Checked)]:
            with torch.no_grad():
                _check_closed(given, x, images)
        return images

    @classmethod
    def of(cls, group: str | Sequence[Map], acted: Sequence[int], columns: int) -> "Group":
        """Return the maps of a group.

        Args:
            group: one of `GROUPS`, or maps.
            acted: the columns which a named one acts on.
            columns: how many there are.

        Examples:
            >>> [g(torch.tensor([[1.0, 2.0]])).tolist() for g in Group.of("c4", [0, 1], 2).maps]
            [[[2.0, -1.0]], [[-1.0, -2.0]], [[-2.0, 1.0]]]
        """
        if not isinstance(group, str):
            return cls(tuple(_Checked(g, i) for i, g in enumerate(group)), False, False)
        check_acted(group, acted, columns)
        maps = tuple(_Signed.of(*element, acted, columns) for element in _elements(group, len(acted))[1:])
        return cls(maps, True, group == "reflection")


@dataclass(frozen=True)
class _Signed:
    """A permutation of columns with signs: column ``j`` of the image is ``signs[j] x[source[j]]``."""

    source: tuple[int, ...]
    signs: tuple[float, ...]

    @classmethod
    def of(
        cls, source: Sequence[int], signs: Sequence[float], acted: Sequence[int], columns: int
    ) -> "_Signed":
        """Return what acts on some columns as given, and leaves the others."""
        sources, all_signs = list(range(columns)), [1.0] * columns
        for j, s, sign in zip(acted, source, signs, strict=True):
            sources[j], all_signs[j] = acted[s], sign
        return cls(tuple(sources), tuple(all_signs))

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, list(self.source)] * x.new_tensor(self.signs)


def _elements(group: str, k: int) -> Sequence[tuple[Sequence[int], Sequence[float]]]:
    """Return the elements of a group on ``k`` columns, the identity first: sources and signs."""
    same, plus = tuple(range(k)), (1.0,) * k
    match group:
        case "reflection":
            return [(same, plus), (same, (-1.0,) * k)]
        case "permutation":
            return [(order, plus) for order in permutations(same)]
    turns = [((0, 1), (1.0, 1.0)), ((1, 0), (1.0, -1.0)), ((0, 1), (-1.0, -1.0)), ((1, 0), (-1.0, 1.0))]
    mirrors = [((0, 1), (1.0, -1.0)), ((0, 1), (-1.0, 1.0)), ((1, 0), (1.0, 1.0)), ((1, 0), (-1.0, -1.0))]
    return turns if group == "c4" else turns + mirrors


def check_group(owner: str, group: Any) -> str | tuple[Map, ...]:
    """Return a group's name, or its maps as a tuple.

    Raises:
        InputError: an unknown name, no maps, or something that is none.
    """
    if isinstance(group, str):
        if group not in GROUPS:
            raise InputError(f"{owner}: group must be one of {GROUPS}, or a list of maps; got {group!r}")
        return group
    maps = tuple(group) if isinstance(group, list | tuple) else ()
    if not maps or not all(callable(g) for g in maps):
        raise InputError(
            f"{owner}: group must be one of {GROUPS}, or a list of functions that take and return rows "
            f"(n, d); got {group!r}"
        )
    return maps


def check_acted(group: str, acted: Sequence[int], columns: int) -> None:
    """Raise `InputError` unless a named group can act on these columns."""
    k = len(acted)
    if max(acted) >= columns:
        raise InputError(
            f"group {group!r} acts on columns {list(acted)}, but X has only {columns} to look at"
        )
    if group in ("c4", "d4") and k != 2:
        raise InputError(
            f"group {group!r} turns two columns, got {k}: name them with columns=, such as (0, 1)"
        )
    if group == "permutation" and not 2 <= k <= MOST_PERMUTED:
        raise InputError(
            f"group 'permutation' takes 2 to {MOST_PERMUTED} columns ({math.factorial(MOST_PERMUTED)} maps), "
            f"got {k}: name some with columns=, or give a list of maps"
        )


@dataclass(frozen=True)
class _Checked:
    """A user's map, whose images are checked whenever they are made."""

    given: Map
    position: int

    @property
    def label(self) -> str:
        name = getattr(self.given, "__name__", repr(self.given))
        return f"map {self.position} of the group, {name!r},"

    def __call__(self, x: Tensor) -> Tensor:
        found = self._called(x)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{self.label} must return rows of the shape that it is given, {tuple(x.shape)}, got {came}"
            )
        if not bool(torch.isfinite(found).all()):
            raise InputError(f"{self.label} returned NaN or infinity: it must be defined at every row")
        if len(x) > 1:
            gap = (self._called(x[-1:]) - found[-1:]).abs().max()
            if bool(gap > ALIKE * found.abs().max()):
                raise InputError(
                    f"{self.label} changes a row with the rows beside it: expected a function of one row, "
                    "such as lambda x: -x"
                )
        return found

    def _called(self, x: Tensor) -> Any:
        try:
            return self.given(x.clone())  # it may work in place
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise InputError(f"{self.label} failed on rows of shape {tuple(x.shape)}: {error}") from error


def _check_closed(maps: Sequence[_Checked], x: Tensor, images: Sequence[Tensor]) -> None:
    """Raise `InputError` unless an average over the maps is the same at a row and at its images.

    It is so for every function where each image of a row has the images that the row has, each as often: the
    maps and the identity are closed under composition, and none is there twice.

    Args:
        maps: without the identity.
        x: ``(n, d)``, of which a few rows are looked at.
        images: of these rows, under each map.
    """
    few = slice(None, None, max(len(x) // LOOKED_AT, 1))
    orbit = torch.stack([x[few], *(image[few] for image in images)])  # (k + 1, m, d)
    extent = (orbit.amax(0) - orbit.amin(0)).max()
    near = CLOSED * extent + ROUNDING * torch.finfo(x.dtype).eps * orbit.abs().max()
    own = _number_near(orbit, orbit, near)
    again = torch.stack([orbit, *(g(orbit.flatten(0, 1)).reshape(orbit.shape) for g in maps)])
    for first, found in zip(maps, again[:, 1:].unbind(1), strict=True):
        missing = torch.nonzero(_number_near(found, orbit, near).amin(-1) == 0)
        if len(missing):
            raise InputError(
                f"the maps are no group: {maps[int(missing[0]) - 1].label} after {first.label} is none of "
                "them, so that averages would change between a row and its images; add their composition, "
                "such as lambda x: second(first(x))"
            )
        if not bool((_number_near(orbit, found, near) == own).all()):
            raise InputError(
                f"the maps are no group: after {first.label} images are there another number of times; "
                "expected different maps that can be undone, without the identity, which is added"
            )


def _number_near(some: Tensor, others: Tensor, near: Tensor) -> Tensor:
    """Return how many of the images ``others (k, m, d)`` of a row are near each of ``some``: ``(k, m)``."""
    return ((some[:, None] - others).abs().amax(-1) <= near).sum(1)
