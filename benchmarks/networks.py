"""Infinitely wide networks beside finite ones, Gaussian processes and neural-tangents.

Sections of ``python benchmarks/networks.py SECTION``:

* ``speed``: NNGP and NTK of three hidden layers of rectifiers, 5000 rows of 64 columns, and of a
  convolutional network with a mean over all places, 50 images of 16 x 16, in float32 with two threads, beside
  neural-tangents 0.6.5 in an environment of its own (``--peer FOLDER``, made where there is none).
* ``slopes``: relative errors of the kernels of finite networks of 32 to 1024 units.
* ``flow``: networks of 512 units that gradient descent has trained, beside the closed form of their limit.
"""

import argparse
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["speed", "slopes", "flow"])
    parser.add_argument("--peer", type=Path, default=Path("peer"), help="folder of the peer's environment")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    if options.section == "speed":
        from networks_speed import speed

        speed(options.peer, options.runs)
    elif options.section in ("slopes", "flow"):
        import networks_widths

        getattr(networks_widths, options.section)(options.seeds)


if __name__ == "__main__":
    main()
