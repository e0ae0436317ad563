"""The page of a comparison in headless Chromium: it opens, its pictures are seen, its table sorts."""

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from comparison_cases import sine
from sklearn.linear_model import BayesianRidge

from nonparam import compare

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"),
]
# Runs when the page is there: clicks on headings, and writes what is then seen into the body.
PROBE = """
<script>
addEventListener("error", event => { document.body.dataset.error = event.message; });
addEventListener("load", () => {
  const said = document.createElement("pre"), table = document.querySelector("table.sorts");
  const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
  const buttons = Object.fromEntries([...table.querySelectorAll("button")].map(b => [b.firstChild.data, b]));
  const lines = [["images", [...document.images].map(i => i.complete && i.naturalWidth > 0).join(",")]];
  lines.push(["given", names()]);
  for (const heading of ["LML", "LML", "model", "model", "LOO"]) {
    buttons[heading].click();
    const sorted = [...table.querySelectorAll("[aria-sort]")];
    const state = sorted.map(th => th.textContent.trim() + " " + th.getAttribute("aria-sort")).join();
    lines.push([heading, names() + " | " + state]);
  }
  lines.push(["overflow", document.documentElement.scrollWidth - document.documentElement.clientWidth]);
  said.id = "probe";
  said.textContent = lines.map(line => line.join(": ")).join("\\n");
  document.body.append(said);
});
</script>
"""


def chromium(page: Path, *options: str) -> str:
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [str(CHROMIUM), *OPTIONS, profile, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def report():
    X, y = sine()
    models = {"linear": "linear", "b": "rbf", "a": "linear + rbf", "ridge": BayesianRidge()}
    return compare(models, X, y, orderings=2)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")
@pytest.mark.parametrize("width", [1200, 400])
def test_page_in_a_browser(report, tmp_path: Path, width: int):
    page = tmp_path / "page.html"
    page.write_text(report.to_html().replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    seen = chromium(page, "--dump-dom", f"--window-size={width},900")
    assert "data-error" not in seen
    found = re.search(r'<pre id="probe">(.*?)</pre>', seen, re.DOTALL)
    assert found is not None
    told = dict(line.split(": ", 1) for line in unescape(found[1]).splitlines()[:2])
    assert told == {"images": "true,true,true,true", "given": "linear,b,a,ridge"}
    by = {column: [*report.table[column].dropna().sort_values().index] for column in ("lml", "loo")}
    lines = unescape(found[1]).splitlines()[2:]
    assert lines == [  # what is missing stays last
        f"LML: {','.join([*by['lml'], 'ridge'])} | LMLnats ascending",
        f"LML: {','.join([*by['lml'][::-1], 'ridge'])} | LMLnats descending",
        "model: a,b,linear,ridge | model ascending",
        "model: ridge,linear,b,a | model descending",
        f"LOO: {','.join(by['loo'])} | LOOnats per row ascending",
        "overflow: 0",
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")
def test_page_is_painted(report, tmp_path: Path):
    from matplotlib import image

    page, picture = tmp_path / "page.html", tmp_path / "seen.png"
    report.to_html(page)
    chromium(page, f"--screenshot={picture}", "--window-size=1200,2400")
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[:2] == (2400, 1200)
    assert 0.02 < (pixels.min(axis=2) < 0.9).mean() < 0.5
