"""What the catalogue says of a data set."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["DatasetInfo"]


@dataclass(frozen=True)
class DatasetInfo:
    """One line of the catalogue.

    Attributes:
        name: what the loader is called after: ``load_NAME`` or ``fetch_uci("NAME")``.
        kind: a bundled series, a bundled table, or a set to download.
        rows: number of rows, missing values included.
        columns: number of columns, the target included and the index not.
        units: of the series or of the target; "by column" refers to ``attrs["units"]``.
        licence: on which the data may be used.
        source: who published the data, and where.

    Examples:
        >>> from nonparam.datasets.bundled import BUNDLED
        >>> BUNDLED["airline"].rows, BUNDLED["airline"].units
        (144, 'thousands of passengers')
    """

    name: str
    kind: Literal["series", "table", "download"]
    rows: int
    columns: int
    units: str
    licence: str
    source: str
