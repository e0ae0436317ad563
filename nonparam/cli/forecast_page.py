"""Forecasts as one page that needs no other file: what was chosen and why, tables, pictures, failures."""

from collections.abc import Mapping, Sequence
from html import escape

from nonparam import pages
from nonparam.cli.series_forecast import OVERVIEW, SHOWN, SeriesForecast

__all__ = ["page"]

DRAWN = 50  # series with a section of their own
LARGE, SMALL = (9.0, 4.5), (6.0, 3.2)  # inches
WIDTHS = """
.one figure { max-width: none; }
.many { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.many section { min-width: 0; }
.many h2 { margin: 0; overflow-wrap: anywhere; }"""


def page(forecasts: Sequence[SeriesForecast], failures: Mapping[str, str], remarks: Sequence[str]) -> str:
    """Return forecasts as one HTML page.

    Args:
        forecasts: at least one; their names may have any letters: they are escaped.
        failures: why other series have none, by their names.
        remarks: on the fits.

    Returns:
        The page.
    """
    alone = len(forecasts) == 1 and not failures
    content = [_one(forecasts[0])] if alone else [_many(forecasts, failures)]
    if remarks:
        content.append(f"<h2>Notes</h2>{''.join(f'<p>{escape(remark)}</p>' for remark in remarks)}")
    title = f"Forecast of {forecasts[0].y.name}" if alone else f"Forecasts of {len(forecasts):,} series"
    return pages.page(title, "\n".join(content), WIDTHS)


def _one(one: SeriesForecast) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in one.facts.items())
    return (
        f"<p>{escape(one.words)} {escape(one.outlook)}</p>"
        f'<div class="one">{pages.picture(one.draw, _about(one), LARGE)}</div>'
        f"<h2>What was seen, and what was chosen</h2><dl>{facts}</dl>"
        f'<h2 id="forecast">The forecast</h2>{_forecast(one)}'
        f'<h2 id="models">The models</h2>{_models(one)}'
    )


def _many(forecasts: Sequence[SeriesForecast], failures: Mapping[str, str]) -> str:
    parts = [f"<p>{escape(_summary(forecasts, failures))}</p>"]
    rows = [_row(_link(i, str(one.y.name)), one.overview) for i, one in enumerate(forecasts)]
    parts.append('<h2 id="all">All series</h2><p>A click on a heading sorts the rows by it.</p>')
    parts.append(_table("all", ["series", *OVERVIEW], rows, sorts=True))
    if failures:
        lost = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in failures.items())
        parts.append(f'<h2 id="failed">Series without a forecast</h2><dl>{lost}</dl>')
    drawn = "".join(_section(i, one) for i, one in enumerate(forecasts[:DRAWN]))
    first = f"The first {DRAWN} series" if len(forecasts) > DRAWN else "Each series"
    parts.append(f'<h2>{first}</h2><div class="many">{drawn}</div>')
    return "\n".join(parts)


def _summary(forecasts: Sequence[SeriesForecast], failures: Mapping[str, str]) -> str:
    """Return what was done, in words."""
    reports = [one.forecaster.report_ for one in forecasts]
    heaviest = [report.members[0] for report in reports]
    seasonal = sum(bool(member.seasons) for member in heaviest)
    logs = sum(member.transform == "log" for member in heaviest)
    lost = len(failures)
    failed = f" {lost:,} more {'has' if lost == 1 else 'have'} no forecast." if lost else ""
    least, most = (end(report.observations for report in reports) for end in (min, max))
    return (
        f"{len(forecasts):,} series of {least:,} to {most:,} observations were forecast.{failed} The most "
        f"probable model has a season in {seasonal:,} of them, and takes logarithms in {logs:,}."
    )


def _section(i: int, one: SeriesForecast) -> str:
    return (
        f'<section id="series-{i}"><h2>{escape(str(one.y.name))}</h2><p>{escape(one.outlook)}</p>'
        f"{pages.picture(one.draw, _about(one), SMALL)}"
        f"<details><summary>All numbers</summary>{_forecast(one)}</details></section>"
    )


def _link(i: int, name: str) -> str:
    return f'<a href="#series-{i}">{escape(name)}</a>' if i < DRAWN else escape(name)


def _about(one: SeriesForecast) -> str:
    return f"the series, the median of its forecast, and bands of 50, 80 and 95 %: {one.seen}"


def _forecast(one: SeriesForecast) -> str:
    rows = [_row(escape(time), cells) for time, *cells in one.cells]
    return _table("forecast", [one.step, *SHOWN.values()], rows)


def _models(one: SeriesForecast) -> str:
    report = one.forecaster.report_
    rows = [
        _row(escape(name), [f"{member.weight:.1%}", f"{member.log_evidence:.2f}"])
        for name, member in zip(report.names, report.members, strict=True)
    ]
    return _table("models", ["model", "weight", "log evidence, nats"], rows)


def _row(first: str, cells: Sequence[str]) -> str:
    """Return a row; its first cell is HTML, the others are text."""
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _table(label: str, header: Sequence[str], rows: Sequence[str], *, sorts: bool = False) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        if sorts
        else f'<th scope="col">{escape(name)}</th>'
        for name in header
    )
    kind = ' class="sorts"' if sorts else ""
    return (
        f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0"><table{kind}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
