"""A table of text as LaTeX."""

import re

import pandas as pd

__all__ = ["tabular"]

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row they would be an argument of the row before
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def tabular(cells: pd.DataFrame) -> str:
    r"""Return a table with the rules of booktabs; names are left as they are, whatever letters they have.

    Args:
        cells: of text; the index becomes the first column.

    Examples:
        >>> print(tabular(pd.DataFrame({"LML": ["-1.5"]}, index=["a_b"])))
        \begin{tabular}{lr}
        \toprule
        model & LML \\
        \midrule
        a\_b & -1.5 \\
        \bottomrule
        \end{tabular}
    """
    header = _row(["model", *cells.columns])
    body = [_row([str(name), *row]) for name, row in zip(cells.index, cells.to_numpy(), strict=True)]
    columns = "l" + "r" * cells.shape[1]
    rules = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule"]
    return "\n".join([*rules, *body, r"\bottomrule", r"\end{tabular}"])


def _row(cells: list[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^<>|\[*&%$#_{}]", lambda found: SPECIAL[found.group()], text)
