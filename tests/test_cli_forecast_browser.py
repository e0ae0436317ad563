"""The page of a forecast in headless Chromium: it opens by itself, its pictures are seen, its table sorts."""

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from test_cli_forecast_many import NASTY, run, sales

from nonparam.cli import forecast_page
from nonparam.cli.forecast_page import page
from nonparam.cli.series_forecast import SeriesForecast
from nonparam.forecasting import GPForecaster

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"),
]
# Runs when the page is there: clicks on a heading, and writes what is then seen into the body.
PROBE = """
<script>
addEventListener("error", event => { document.body.dataset.error = event.message; });
addEventListener("load", () => {
  const said = document.createElement("pre"), table = document.querySelector("table.sorts");
  const lines = [["images", [...document.images].map(i => i.complete && i.naturalWidth > 0).join(",")]];
  if (table) {
    const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
    lines.push(["given", names()]);
    table.querySelector("button").click();
    lines.push(["sorted", names()]);
    const links = [...table.querySelectorAll("a")].map(a => document.querySelector(a.getAttribute("href")));
    lines.push(["links", links.map(s => s.querySelector("h2").textContent).join(",")]);
  }
  lines.push(["headings", [...document.querySelectorAll("h1,h2")].map(h => h.textContent).join("|")]);
  lines.push(["overflow", document.documentElement.scrollWidth - document.documentElement.clientWidth]);
  said.id = "probe";
  said.textContent = lines.map(line => line.join(": ")).join("\\n");
  document.body.append(said);
});
</script>
"""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")


def chromium(path: Path, *options: str) -> str:
    profile = f"--user-data-dir={path.parent / 'profile'}"
    command = [str(CHROMIUM), *OPTIONS, profile, *options, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def told(path: Path, width: int) -> dict[str, str]:
    path.write_text(path.read_text("utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    seen = chromium(path, "--dump-dom", f"--window-size={width},900")
    assert "data-error" not in seen
    found = re.search(r'<pre id="probe">(.*?)</pre>', seen, re.DOTALL)
    assert found is not None
    return dict(line.split(": ", 1) for line in unescape(found[1]).splitlines())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    table = pd.concat([sales(), sales(["empty & lost"]).assign(sales=np.nan)])
    table.to_csv(folder / "many.csv", index=False)
    made = {"one": ("airline", folder / "one.html"), "many": (str(folder / "many.csv"), folder / "many.html")}
    for source, path in made.values():
        result = run(source, "--no-plot", "--html", str(path))
        assert result.exit_code == 0 and f"The page is saved as {path}" in result.stdout
    return {kind: path for kind, (_, path) in made.items()}


@pytest.mark.parametrize("kind", ["one", "many"])
def test_pages_need_no_other_file(pages, kind):
    text = pages[kind].read_text("utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:image/svg\+xml;base64,|#)", text)
    assert not re.search(r"@import|url\(|<link|<iframe", text)


@needs_browser
@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_of_one_series(pages, tmp_path: Path, width: int):
    seen = told(Path(shutil.copy(pages["one"], tmp_path / "one.html")), width)
    assert seen["images"] == "true" and seen["overflow"] == "0"
    assert seen["headings"].split("|") == [
        *("Forecast of passengers", "What was seen, and what was chosen", "The forecast", "The models")
    ]
    text = unescape(pages["one"].read_text("utf-8"))
    assert "144 observations, 1949-01 to 1960-12, were seen. The most probable model" in text
    assert "has a season of 12 months and takes logarithms: its swings grow with its level." in text
    assert re.search(r"By 1962-12 the median is \d+\.\d; with 80 % probability it will lie between", text)


@needs_browser
@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_of_many_series(pages, tmp_path: Path, width: int):
    seen = told(Path(shutil.copy(pages["many"], tmp_path / "many.html")), width)
    assert seen["images"] == "true,true,true" and seen["overflow"] == "0"
    assert sorted(seen["given"].split(",")) == sorted(NASTY)
    assert seen["sorted"].split(",") == ["_west", "north <b>", "süd $x$"]
    assert seen["links"].split(",") == seen["sorted"].split(",")
    assert seen["headings"].startswith(
        "Forecasts of 3 series|All series|Series without a forecast|Each series|"
    )
    text = pages["many"].read_text("utf-8")
    assert "<dt>empty &amp; lost</dt><dd>y has no observation" in text
    assert "1 more has no forecast" in text and "north <b>" not in text


@needs_browser
@pytest.mark.parametrize("kind", ["one", "many"])
def test_pages_are_painted(pages, tmp_path: Path, kind):
    picture = tmp_path / "seen.png"
    path = Path(shutil.copy(pages[kind], tmp_path / "page.html"))
    chromium(path, f"--screenshot={picture}", "--window-size=1200,1600")
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[:2] == (1600, 1200)
    assert 0.02 < (pixels.min(axis=2) < 0.9).mean() < 0.5
    assert (np.abs(pixels - [0.0, 0.45, 0.70]).max(axis=2) < 0.05).sum() > 200  # the blue of the median


def test_only_the_first_series_are_drawn(monkeypatch):
    monkeypatch.setattr(forecast_page, "DRAWN", 2)
    y = pd.Series([1.0, 3.0, 2.0, 4.0])
    forecaster = GPForecaster(None, transform="identity").fit(y)
    many = [SeriesForecast(y.rename(f"s{i}"), forecaster, 2) for i in range(4)]
    text = page(many, {}, ["'s1': beware"])
    assert text.count("<figure>") == text.count('<a href="#series-') == 2
    assert ">The first 2 series<" in text and text.count('<th scope="row">s') == 2
    assert "<p>&#x27;s1&#x27;: beware</p>" in text
