"""The cases of additive kernels and of kernels with a symmetry, for the table of all cases."""

import oracles as o
from case import Case

from nonparam.kernels import (
    RBF,
    Additive,
    Invariant,
    Linear,
    Matern,
    OrthogonalRBF,
    Periodic,
    RationalQuadratic,
    SoftInvariant,
    WhiteNoise,
)

__all__ = ["SYMMETRIC"]


def same(x: o.Row) -> o.Row:
    return x


def turned(x: o.Row) -> o.Row:
    """A quarter turn about the point (0.5, 1)."""
    return [0.5 + (x[1] - 1.0), 1.0 - (x[0] - 0.5)]


QUARTER_TURNS = [
    same,
    turned,
    lambda x: turned(turned(x)),
    lambda x: turned(turned(turned(x))),
]
MIRRORED = [*QUARTER_TURNS, *(lambda x, g=g: g([x[0], 2.0 - x[1]]) for g in QUARTER_TURNS)]

SYMMETRIC = [
    Case(
        "orthogonal_rbf",
        lambda: OrthogonalRBF(0.7, center=0.9, spread=0.6),
        o.orthogonal_rbf([0.7], [0.9], [0.6]),
        stationary=False,
    ),
    Case(
        "orthogonal_rbf_ard",
        lambda: OrthogonalRBF([0.7, 2.0], center=[0.9, 0.5], spread=[0.6, 0.4]),
        o.orthogonal_rbf([0.7, 2.0], [0.9, 0.5], [0.6, 0.4]),
        columns=2,
        stationary=False,
    ),
    Case(
        "additive",
        lambda: Additive(2, lengthscale=[0.7, 2.0, 1.0], variance=[1.5, 0.5], center=0.9, spread=0.6),
        o.additive([1.5, 0.5], [0.7, 2.0, 1.0], [0.9] * 3, [0.6] * 3),
        columns=3,
        stationary=False,
    ),
    Case(
        "additive_main_effects",
        lambda: Additive(1, lengthscale=0.8, variance=1.5, center=[0.9, 1.1], spread=[0.6, 0.5]),
        o.additive([1.5], [0.8, 0.8], [0.9, 1.1], [0.6, 0.5]),
        columns=2,
        stationary=False,
    ),
    Case(
        "additive_all_degrees",
        lambda: Additive(
            4, lengthscale=[0.7, 2.0, 1.0, 0.5], variance=[1.5, 0.5, 2.0, 3.0], center=0.9, spread=0.6
        ),
        o.additive([1.5, 0.5, 2.0, 3.0], [0.7, 2.0, 1.0, 0.5], [0.9] * 4, [0.6] * 4),
        columns=4,
        stationary=False,
    ),
    Case(
        "invariant_reflection",
        lambda: Invariant(RBF([0.7, 1.5]), "reflection", center=[0.8, 1.1]),
        o.averaged(o.rbf([0.7, 1.5]), [same, lambda x: [1.6 - x[0], 2.2 - x[1]]]),
        columns=2,
        stationary=False,
    ),
    Case(
        "invariant_mirror",
        lambda: Invariant(Matern([0.7, 1.5], nu=1.5), "reflection", columns=(1,), center=1.1),
        o.averaged(o.matern32([0.7, 1.5]), [same, lambda x: [x[0], 2.2 - x[1]]]),
        columns=2,
        stationary=False,
    ),
    Case(
        "invariant_permutation",
        lambda: Invariant(Matern([0.7, 1.5, 2.0]), "permutation", columns=(2, 0), center=0.0),
        o.averaged(o.matern52([0.7, 1.5, 2.0]), [same, lambda x: [x[2], x[1], x[0]]]),
        columns=3,
        stationary=False,
    ),
    Case(
        "invariant_c4",
        lambda: Invariant(RBF(0.7), "c4", center=[0.5, 1.0]),
        o.averaged(o.rbf(0.7), QUARTER_TURNS),
        columns=2,
        stationary=False,
    ),
    Case(
        "invariant_noise",
        lambda: Invariant(Matern([0.7, 1.5]) + WhiteNoise(0.3), "c4", center=[0.5, 1.0]),
        o.averaged(o.total(o.matern52([0.7, 1.5]), o.white(0.3)), QUARTER_TURNS),
        columns=2,
        stationary=False,
    ),
    Case(
        "soft_invariant_d4",
        lambda: SoftInvariant(
            RationalQuadratic(0.7, 1.5), "d4", variance=2.0, breaking=0.1, center=[0.5, 1.0]
        ),
        o.total(
            o.scaled(2.0, o.averaged(o.rational_quadratic(0.7, 1.5), MIRRORED)),
            o.scaled(0.2, o.rational_quadratic(0.7, 1.5)),
        ),
        columns=2,
        stationary=False,
    ),
    Case(
        "soft_invariant_c4_of_a_line",
        lambda: SoftInvariant(
            RBF([0.7, 1.5]) + Linear(0.5, center=0.2), "c4", variance=2.0, breaking=0.1, center=[0.5, 1.0]
        ),
        o.total(
            o.scaled(2.0, o.averaged(o.total(o.rbf([0.7, 1.5]), o.linear(0.5, 0.2)), QUARTER_TURNS)),
            o.scaled(0.2, o.total(o.rbf([0.7, 1.5]), o.linear(0.5, 0.2))),
        ),
        columns=2,
        stationary=False,
    ),
    Case(
        "soft_invariant_nested",
        lambda: SoftInvariant(
            2.0 * Periodic(1.2, 0.7) * RBF([0.7, 1.5, 1.0], active_dims=(2, 0, 1)),
            "reflection",
            variance=2.0,
            breaking=0.1,
            columns=(0, 2),
            center=[0.8, 0.0, 1.1],
        ),
        o.total(
            *(
                o.scaled(2.0 * weight, o.averaged(base, maps))
                for base in [o.product(o.periodic(1.2, 0.7), o.on_columns([2, 0, 1], o.rbf([0.7, 1.5, 1.0])))]
                for weight, maps in (
                    (2.0, [same, lambda x: [1.6 - x[0], x[1], 2.2 - x[2]]]),
                    (0.2, [same]),
                )
            )
        ),
        columns=3,
        stationary=False,
    ),
]
