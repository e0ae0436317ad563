"""A comparison as one page: pictures, styles and the script that sorts the table are in it."""

from functools import partial
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from nonparam import pages
from nonparam.comparison.columns import COLUMNS
from nonparam.comparison.plots import PANEL_SIZE, PANELS

if TYPE_CHECKING:
    from nonparam.comparison.report import ComparisonReport

__all__ = ["page", "summary"]

CONTENT = Template("""<p>$description</p>
<div class="verdicts">$verdicts</div>
<h2 id="table">All numbers</h2>
<p>A click on a heading sorts the rows by it.</p>
$table
<h2>Pictures</h2>
<div class="plots">$plots</div>
$sensitivity
<h2>What the columns are</h2>
<dl>$columns</dl>
$notes""")


def page(report: "ComparisonReport") -> str:
    """Return a report as one HTML page that needs no other file.

    Args:
        report: names in it may have any letters: they are escaped.

    Returns:
        The page.
    """
    content = CONTENT.substitute(
        description=escape(report.description),
        verdicts=_verdicts(report),
        table=_table(report, sorts=True),
        plots="".join(_figures(report)),
        sensitivity=_sensitivity(report),
        columns=_columns(),
        notes=_notes(report),
    )
    return pages.page(f"Comparison of {len(report.models)} models", content)


def summary(report: "ComparisonReport") -> str:
    """Return table and verdicts of a report as a piece of HTML, for a notebook."""
    return f"<p>{escape(report.description)}</p>{_table(report, sorts=False)}{_verdicts(report)}"


def _verdicts(report: "ComparisonReport") -> str:
    parts = [
        f"<section><h2>{escape(question)}</h2>{''.join(f'<p>{escape(s)}</p>' for s in sentences)}</section>"
        for question, sentences in report.verdicts.items()
    ]
    return "".join(parts)


def _table(report: "ComparisonReport", *, sorts: bool) -> str:
    """Return the table of numbers; one that sorts has a button in each heading and the numbers in full."""
    cells = report.cells()
    names = ["model", *cells.columns]
    units = ["", *(column.unit for column in COLUMNS.values())]
    heads = "".join(_head(name, unit, sorts) for name, unit in zip(names, units, strict=True))
    rows = [
        _row(str(name), shown, report.table.loc[name, list(COLUMNS)])
        for name, shown in zip(cells.index, cells.to_numpy(), strict=True)
    ]
    body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    if not sorts:
        return f"<table>{body}</table>"
    region = '<div class="wide" role="region" aria-labelledby="table" tabindex="0">'
    return f'{region}<table class="sorts" aria-labelledby="table">{body}</table></div>'


def _head(name: str, unit: str, sorts: bool) -> str:
    text = f"{escape(name)}<small>{escape(unit)}</small>" if unit else escape(name)
    return f'<th scope="col"><button type="button">{text}</button></th>' if sorts else f"<th>{text}</th>"


def _row(name: str, shown: Any, values: Any) -> str:
    data = [
        value if isinstance(value, str) else ("" if value != value else repr(float(value)))
        for value in values
    ]
    cells = [f'<td data-value="{escape(v)}">{escape(s)}</td>' for v, s in zip(data, shown, strict=True)]
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def _figures(report: "ComparisonReport") -> list[str]:
    return [pages.picture(partial(draw, report.models), about, PANEL_SIZE) for draw, about in PANELS.items()]


def _sensitivity(report: "ComparisonReport") -> str:
    """Return how the verdict on hypotheses depends on the widths of the priors, as a table and a picture."""
    if not report.has_hypothesis:
        return ""
    widths = report.hypothesis.sensitivity
    heads = "".join(f'<th scope="col">{width:g}</th>' for width in widths.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{value:.2f}</td>" if value == value else "<td>–</td>" for value in row)
        + "</tr>"
        for name, row in zip(widths.index, widths.to_numpy(), strict=True)
    )
    about = "log Bayes factor of each model against the best one, for several widths of all priors"
    return (
        '<h2 id="widths">How much the widths of the priors decide</h2>'
        "<p>Log evidence in nats, with the standard deviations of all priors multiplied by a factor.</p>"
        '<div class="wide" role="region" aria-labelledby="widths" tabindex="0">'
        '<table aria-labelledby="widths">'
        f'<thead><tr><th scope="col">model</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="plots">{pages.picture(report.plot_sensitivity, about, PANEL_SIZE)}</div>'
    )


def _columns() -> str:
    return "".join(
        f"<dt>{escape(column.heading)}</dt><dd>{escape(column.meaning)}"
        f"{f', in {column.unit}' if column.unit else ''}</dd>"
        for column in COLUMNS.values()
    )


def _notes(report: "ComparisonReport") -> str:
    notes = [
        f"<dt>{escape(models)}; {escape(columns)}</dt><dd>{escape(text)}</dd>"
        for models, columns, text in report.remarks
    ]
    return f"<h2>Notes</h2><dl>{''.join(notes)}</dl>" if notes else ""
