"""The benchmark sets that ``fetch_uci`` knows: sizes, checksums, and what to beware of.

The sets are those of github.com/treforevans/uci_datasets: inputs and targets centred and rounded
to five digits, each with ten published test folds.
"""

from dataclasses import dataclass

from nonparam.datasets.info import DatasetInfo

__all__ = ["UCI_SETS", "UCISet"]


@dataclass(frozen=True)
class UCISet:
    """What is known of a set before it is fetched.

    Attributes:
        info: its line of the catalogue.
        sha256: of its content, see ``nonparam.datasets.uci.content_sha256``.
        note: what to know before results on it are compared; may be empty.

    Examples:
        >>> elevators = UCI_SETS["elevators"]
        >>> elevators.info.rows, elevators.info.columns
        (16599, 19)
    """

    info: DatasetInfo
    sha256: str
    note: str


def _uci_set(
    name: str, shape: tuple[int, int], units: str, sha256: str, note: str = ""
) -> tuple[str, UCISet]:
    rows, inputs = shape
    info = DatasetInfo(
        name=name,
        kind="download",
        rows=rows,
        columns=inputs + 1,
        units=units,
        licence="MIT (packaging)",
        source="github.com/treforevans/uci_datasets; originals: UCI, Torgo, StatLib and others",
    )
    return name, UCISet(info, sha256, note)


UCI_SETS: dict[str, UCISet] = dict(
    (
        _uci_set(
            "bike",
            (17379, 17),
            "log rentals, centred",
            "aaaeb88cb68c499a90306e6abcc3b0a75c10d2d460db7c0b60d16962fd3b830e",
            note="leaks: the target is the logarithm of the sum of the last two inputs",
        ),
        _uci_set(
            "concrete",
            (1030, 8),
            "MPa, centred",
            "9ac495294d522af2557b65105261d7091353c812b421ef67f016b133f81fefb4",
        ),
        _uci_set(
            "elevators",
            (16599, 18),
            "log, centred",
            "0ffc168ea65c99ec76205c9d2fc621dd7fc898b3ff2b56f0d32deb0225a1d409",
        ),
        _uci_set(
            "energy",
            (768, 8),
            "kWh/m^2 heating load, centred",
            "eb88f67b724612c267027ca83a5eeb6f1849f1d7e6e6f7231d9c2c57835b14ca",
        ),
        _uci_set(
            "housing",
            (506, 13),
            "thousands of US$, centred",
            "aa379e43624c87f5c300dab8add058771f532b8d088863c58de499f510a7230e",
            note="one input is made from racial composition; kept for comparison only",
        ),
        _uci_set(
            "keggdirected",
            (48827, 20),
            "log, centred",
            "7846923359021bfae35e122ddc9b36e69f9b36e34f47cca8fa7e984f1779a848",
            note="most test inputs (74 percent on fold 0) also occur among the training inputs",
        ),
        _uci_set(
            "kin40k",
            (40000, 8),
            "standardised",
            "7b7283b607dd6756f3115cd5974a31ecf4638973bcf12b71aed15973a2987834",
        ),
        _uci_set(
            "pol",
            (15000, 26),
            "score from 0 to 100, centred",
            "97e89d4387ff00ece9299af38c0af5a4306a35239ed7f20a7918d97f893a070f",
            note="the target takes eleven values",
        ),
        _uci_set(
            "protein",
            (45730, 9),
            "log(1 + angstrom), centred",
            "3f3ddc01b4377f6758ae63e38b8069ba41ea52d5e4eb823b52ae3c82e3dca94c",
        ),
        _uci_set(
            "wine",
            (1599, 11),
            "percent alcohol, centred",
            "1878bfe122e98571051232dd0abbed2095af25160546422f30003e68cab86563",
            note="the target is alcohol, not the quality that other versions of this set predict",
        ),
        _uci_set(
            "yacht",
            (308, 6),
            "log resistance, centred",
            "79af63d8d6b003cee4f14e3b073a1df171dc37be755bf9d7dcd8f8a53ecf1db8",
        ),
    )
)
