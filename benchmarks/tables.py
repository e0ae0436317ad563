"""Tables in Markdown, printed a row at a time."""


def row(*cells: object) -> None:
    shown = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
    print("| " + " | ".join(shown) + " |", flush=True)


def header(*names: str) -> None:
    row(*names)
    row(*("---" for _ in names))
