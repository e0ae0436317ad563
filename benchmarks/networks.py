"""Infinitely wide networks beside finite ones, Gaussian processes and neural-tangents.

Sections of ``python benchmarks/networks.py SECTION``:

* ``speed``: NNGP and NTK of three hidden layers of rectifiers, 5000 rows of 64 columns, and of a
  convolutional network with a mean over all places, 50 images of 16 x 16, in float32 with two threads, beside
  neural-tangents 0.6.5 in an environment of its own (``--peer FOLDER``, made where there is none).
* ``slopes``: relative errors of the kernels of finite networks of 32 to 1024 units.
* ``flow``: networks of 512 units that gradient descent has trained, beside the closed form of their limit.
* ``uci``: regression on eight tables, at most 1,000 rows to train on: infinite networks with learnt variances
  and with fixed critical ones, a Matern-5/2 kernel with a lengthscale per column, and finite networks.
* ``images``: classification of scikit-learn's digits and of 1,000 and 5,000 of MNIST (read from the folder
  ``NONPARAM_DATA``): infinite networks, and finite ones alone, averaged, and as ensembles.
* ``coverage``: new observations in 90 % intervals, on draws of Gaussian processes.

The last three take ``--sets``, ``--only`` (estimators) and ``--seeds`` (how many). Rows for networks beside
other models are in ``clml.py airline``, ``clml.py labels`` and ``airline.py``.
"""

import argparse
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

SECTIONS = ("speed", "slopes", "flow", "uci", "images", "coverage")


SEEDS = 20  # networks of each width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--peer", type=Path, default=Path("peer"), help="folder of the peer's environment")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--sets", nargs="+", help="data, by the names in the first column")
    parser.add_argument("--only", nargs="+", help="estimators, by the names in the table")
    parser.add_argument("--seeds", type=int, help="how many; each section has its own number")
    options = parser.parse_args()
    if options.section == "speed":
        from networks_speed import speed

        speed(options.peer, options.runs)
    elif options.section in ("slopes", "flow"):
        import networks_widths

        getattr(networks_widths, options.section)(options.seeds or SEEDS)
    else:
        section(options.section)(options.sets, options.only, options.seeds)


def section(name: str):  # type: ignore[no-untyped-def]
    """Return the function of a section that takes sets, estimators and a number of seeds."""
    if name == "uci":
        from networks_uci import uci

        return uci
    if name == "images":
        from networks_images import images

        return images
    from networks_coverage import coverage

    return coverage


if __name__ == "__main__":
    main()
