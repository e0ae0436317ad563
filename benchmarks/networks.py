"""Infinitely wide networks beside finite ones, Gaussian processes and neural-tangents.

Sections of ``python benchmarks/networks.py SECTION``:

* ``speed``: NNGP and NTK of three hidden layers of rectifiers, 5000 rows of 64 columns, and of a
  convolutional network with a mean over all places, 50 images of 16 x 16, in float32 with two threads, beside
  neural-tangents 0.6.5 in an environment of its own (``--peer FOLDER``, made where there is none).
"""

import argparse
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["speed"])
    parser.add_argument("--peer", type=Path, default=Path("peer"), help="folder of the peer's environment")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    if options.section == "speed":
        from networks_speed import speed

        speed(options.peer, options.runs)


if __name__ == "__main__":
    main()
