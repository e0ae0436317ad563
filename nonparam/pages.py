"""What pages that need no other file are made of: a style, a script that sorts tables, and pictures."""

import base64
import io
from collections.abc import Callable
from html import escape
from string import Template
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["page", "picture"]

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<main>
<h1>$title</h1>
$content
</main>
<script>
$sorting
</script>
</body>
</html>
""")

STYLE = """:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 72rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
.verdicts, .plots { display: grid; gap: 1rem; }
.verdicts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.verdicts section { border-left: 4px solid #0072b2; background: #f4f7fa; padding: 0.1rem 1rem; }
.verdicts h2 { margin-top: 0.8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: bottom; }
thead th { border-bottom: 2px solid #444; font-size: 0.9rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 600; min-width: 8rem; max-width: 14rem; overflow-wrap: break-word; }
td { white-space: nowrap; }
button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-align: inherit; }
button:focus-visible, .wide:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
small { display: block; font-weight: 400; color: #555; }
.wide + .plots { margin-top: 1rem; }
figure { margin: 0; max-width: 34rem; }
img { width: 100%; height: auto; }
figcaption { font-size: 0.9rem; color: #444; }
dt { font-weight: 600; overflow-wrap: anywhere; }
dd { margin: 0 0 0.4rem 1rem; overflow-wrap: anywhere; }
li, p { overflow-wrap: anywhere; }"""
SORTING = """for (const button of document.querySelectorAll("table.sorts thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const key = row => row.children[head.cellIndex].dataset.value ?? row.children[head.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    body.append(...[...body.rows].sort(order));
  });
}"""


def page(title: str, content: str, style: str = "") -> str:
    """Return a page that needs no other file.

    Args:
        title: text, which is escaped.
        content: HTML; tables of the class ``sorts`` are sorted by a click on a button in their head.
        style: CSS beside that of all pages.

    Returns:
        The page.

    Examples:
        >>> "<h1>a &lt; b</h1>" in page("a < b", "<p>So it is.</p>")
        True
    """
    return PAGE.substitute(title=escape(title), style=f"{STYLE}{style}", sorting=SORTING, content=content)


def picture(draw: Callable[[Any], object], about: str, size: tuple[float, float]) -> str:
    """Return a picture as a piece of a page.

    Args:
        draw: draws on matplotlib axes.
        about: what is seen, for those who do not see it; it also stands below.
        size: in inches.

    Returns:
        HTML that holds the picture.

    Examples:
        >>> picture(lambda ax: ax.plot([1, 2]), "a line", (2.0, 1.0)).startswith("<figure><img src=")
        True
    """
    with rc_context({"svg.hashsalt": "nonparam"}):  # the same page for the same picture
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = escape(about)
    return (
        f'<figure><img src="data:image/svg+xml;base64,{content}" alt="{text}">'
        f"<figcaption>{text[0].upper()}{text[1:]}.</figcaption></figure>"
    )
