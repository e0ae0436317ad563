"""The report of a comparison: its text, page, LaTeX, JSON and pictures."""

import base64
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from comparison_cases import DRAWS, NormalMean, sine
from matplotlib.figure import Figure
from sklearn.linear_model import BayesianRidge

from nonparam import compare
from nonparam.comparison.columns import COLUMNS
from nonparam.comparison.latex import tabular
from nonparam.errors import InputError

X, Y = sine()
HOSTILE = "<script>alert('x')</script> & \"$x_1^2$\" {50%} ~\\"


@pytest.fixture(scope="module")
def report():
    return compare({HOSTILE: "linear", "_$x$": "rbf", "ridge": BayesianRidge()}, X, Y, orderings=4)


class Page(HTMLParser):
    """Tags with their attributes, and the text of each kind of tag."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert self.open == []  # every tag is closed, in order

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# text --------------------------------------------------------------------------------------------------


def test_text_has_table_verdicts_and_notes(report):
    text = str(report)
    assert text.startswith("3 models of 40 rows with one input; y from ")
    for part in (*report.table.index, "Which hypothesis do", "Which model will", "nats per row", "Notes"):
        assert part in text
    assert "\n  ridge; log evidence, LML, effective parameters, BIC, AIC: a scikit-learn model" in text
    assert "nan" not in text.lower()


def test_verdicts_are_two_and_no_score(report):
    assert list(report.verdicts) == [
        "Which hypothesis do the data support?",
        "Which model will predict best?",
    ]
    assert str(report.hypothesis) in str(report) and str(report.generalisation) in str(report)
    assert not {"score", "rank", "best"} & set(report.table.columns)


# page --------------------------------------------------------------------------------------------------


def test_page_stands_alone(report, tmp_path):
    text = report.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text == report.to_html()
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta") and any("viewport" in str(m) for m in page.all("meta"))
    assert not page.all("link") and not re.search(r"https?://(?!www\.w3\.org)", text)
    assert all("src" not in script for script in page.all("script")) and len(page.all("script")) == 1
    assert page.texts["title"] == ["Comparison of 3 models"]


def test_page_is_accessible(report):
    page = Page(report.to_html())
    assert len(page.all("h1")) == 1 and len(page.all("main")) == 1
    pictures = page.all("img")
    assert len(pictures) == 4 and all(len(picture["alt"]) > 20 for picture in pictures)
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labels <= ids
    scrolling = [attributes for _, attributes in page.tags if attributes.get("role") == "region"]
    assert scrolling and all(region["tabindex"] == "0" for region in scrolling)


def test_pictures_are_in_the_page(report):
    for picture in Page(report.to_html()).all("img"):
        kind, content = picture["src"].split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(content)[:2000]


def test_names_are_escaped(report):
    text = report.to_html()
    assert "<script>alert" not in text
    assert HOSTILE in Page(text).texts["th"]
    notebook = report._repr_html_()
    assert "<script" not in notebook and HOSTILE in Page(notebook).texts["th"]


def test_page_has_every_number_and_both_verdicts(report):
    page = Page(report.to_html())
    said = set(page.texts["p"])
    assert all(sentence in said for sentences in report.verdicts.values() for sentence in sentences)
    assert all(column.heading in page.texts["button"] for column in COLUMNS.values())
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    expected = report.table.to_numpy().ravel()
    assert len(values) == len(expected)
    for value, number in zip(values, expected, strict=True):
        assert (
            value == number
            if isinstance(number, str)
            else value == ("" if np.isnan(number) else repr(number))
        )


def test_page_without_bayes_factors():
    found = compare({"one": BayesianRidge(), "two": BayesianRidge(compute_score=True)}, X, Y, orderings=2)
    page = Page(found.to_html())
    assert len(page.all("img")) == 3
    assert any(text.startswith("No answer: no Bayes factor") for text in page.texts["p"])


# LaTeX and JSON ----------------------------------------------------------------------------------------


def test_latex_is_escaped(report):
    lines = report.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{l" + "r" * len(COLUMNS) + "}" and lines[-1] == r"\end{tabular}"
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 4 and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(COLUMNS)}
    assert rows[1].startswith(
        r"\textless{}script\textgreater{}alert('x')\textless{}/script\textgreater{} \& "
        r'"\$x\_1\textasciicircum{}2\$"'
        r" \{50\%\} \textasciitilde{}\textbackslash{} & "
    )


@pytest.mark.parametrize(("name", "cell"), [("[1pt] a", "{[}1pt] a"), ("*a|b", r"{*}a\textbar{}b")])
def test_latex_rows_begin_with_no_argument(name: str, cell: str):
    assert tabular(pd.DataFrame({"LML": ["1"]}, index=[name])).splitlines()[4] == rf"{cell} & 1 \\"


def test_json_is_pure(report):
    document = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert list(document["models"]) == list(report.table.index)
    assert document["models"]["ridge"]["lml"] is None
    assert document["models"]["_$x$"]["lml"] == report.table.lml["_$x$"]
    assert document["hypothesis"]["log_evidence_by_width"]["_$x$"]["0.5"] < 0.0
    assert document["generalisation"]["best"] == report.generalisation.best
    assert document["verdicts"] == report.verdicts and document["notes"]["ridge"]["lml"]
    refused = compare({"one": BayesianRidge(), "two": BayesianRidge(compute_score=True)}, X, Y, orderings=2)
    assert json.loads(refused.to_json(), parse_constant=pytest.fail)["hypothesis"] is None


# pictures ----------------------------------------------------------------------------------------------


def test_pictures_draw_what_is_known(report):
    axes = Figure((15.0, 4.0)).subplots(1, 3)
    assert report.plot(axes) is axes
    evidence, increments, calibration = axes
    labels = [text.get_text() for text in evidence.get_legend().get_texts()]
    assert len(labels) == 2 and labels[1] == r" _\$x\$" and labels[0].startswith("<script>")
    assert len(increments.lines) == 2 and len(calibration.lines) == 4  # the diagonal and three models
    rbf = evidence.lines[1].get_ydata()
    assert rbf[-1] == pytest.approx(np.nansum(report.models[1].increments[0]) / 39.0)
    share = calibration.lines[2].get_xdata()
    assert (np.diff(share) >= 0.0).all() and len(share) == 40


def test_hostile_names_are_drawn(report, tmp_path):
    figure = Figure((15.0, 4.0))
    report.plot(figure.subplots(1, 3))
    figure.savefig(tmp_path / "a.png")
    figure = Figure()
    report.plot_sensitivity(figure.subplots())
    figure.savefig(tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_new_figures():
    found = compare({"wide": NormalMean(1.0, 1e6), "narrow": NormalMean(-0.4, 0.07)}, None, DRAWS[:40])
    assert len(found.plot()) == 3
    ax = found.plot_sensitivity()
    behind = found.hypothesis.sensitivity.diff().iloc[1].to_numpy()  # the best one is the first row
    np.testing.assert_allclose(ax.lines[0].get_ydata(), behind)  # in the order of the models
    np.testing.assert_allclose(ax.lines[1].get_ydata(), 0.0)
    plt.close("all")


def test_many_models_are_told_apart():
    models = {f"model {i}": NormalMean(0.1 * i, 1.0) for i in range(9)}
    found = compare(models, None, DRAWS[:20], orderings=2)
    axes = found.plot(Figure((15.0, 4.0)).subplots(1, 3))
    styles = {(line.get_color(), line.get_linestyle()) for line in axes[0].lines}
    assert len(styles) == 9


def test_no_picture_of_what_was_refused():
    found = compare({"one": BayesianRidge(), "two": "rbf"}, X, Y, orderings=2)
    with pytest.raises(InputError, match="no Bayes factor: it takes two models"):
        found.plot_sensitivity()
    axes = found.plot(Figure((15.0, 4.0)).subplots(1, 3))
    assert len(axes[0].lines) == 1
