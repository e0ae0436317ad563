"""What ``nonparam forecast`` was asked for."""

from dataclasses import dataclass
from pathlib import Path

from nonparam.cli.output import check_writable, tell_saved

__all__ = ["ForecastColumns", "ForecastFiles", "ForecastRequest"]


@dataclass(frozen=True)
class ForecastColumns:
    """Which columns of the table are what; ``None`` for those that are to be found.

    Attributes:
        time: the column of times.
        value: the column to forecast.
        id: the column that tells several series apart.
        wide: whether every column of numbers is a series.
    """

    time: str | None
    value: str | None
    id: str | None
    wide: bool


@dataclass(frozen=True)
class ForecastFiles:
    """What is to be written, and where.

    Attributes:
        plot: a picture.
        html: a page.
        csv: the forecast.
        as_json: whether to print a document.
    """

    plot: Path | None
    html: Path | None
    csv: Path | None
    as_json: bool

    def check(self) -> None:
        """Refuse paths that nothing can be written to, before a long computation."""
        check_writable(self.csv, table=True)
        check_writable(self.plot, picture=True)
        check_writable(self.html)

    @property
    def saved(self) -> dict[str, str | None]:
        """The paths, for the document."""
        paths = {"plot": self.plot, "csv": self.csv, "html": self.html}
        return {name: None if path is None else str(path) for name, path in paths.items()}

    def tell(self) -> None:
        """Print which files were written."""
        tell_saved({"plot": self.plot, "forecast": self.csv, "page": self.html})


@dataclass(frozen=True)
class ForecastRequest:
    """All of it.

    Attributes:
        source: the name of a file or of a bundled series.
        horizon: in steps, or ``None`` for two seasons.
        season: as written.
        transform: of the values.
        jobs: series at once.
        columns: of the table.
        files: to be written.
    """

    source: str
    horizon: int | None
    season: str
    transform: str
    jobs: int
    columns: ForecastColumns
    files: ForecastFiles
