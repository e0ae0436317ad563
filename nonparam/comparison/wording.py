"""How the verdicts write names and numbers."""

from collections.abc import Mapping, Sequence

__all__ = ["grouped", "joined", "percent", "quoted", "rounded"]


def quoted(name: str) -> str:
    """Return a model's name in quotation marks.

    Examples:
        >>> quoted("linear")
        "'linear'"
    """
    return f"'{name}'"


def joined(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    Examples:
        >>> joined(["a", "b", "c"]), joined(["a"])
        ('a, b and c', 'a')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def grouped(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return reasons with all names that they are given for.

    Examples:
        >>> grouped({"a": "too wide", "b": "too late", "c": "too wide"})
        [("'a' and 'c'", 'too wide'), ("'b'", 'too late')]
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(quoted(name))
    return [(joined(each), reason) for reason, each in names.items()]


def percent(probability: float) -> str:
    """Return the probability of something that is neither certain nor impossible as a percentage.

    Examples:
        >>> percent(0.123), percent(1.0 - 1e-20), percent(1e-9)
        ('12.3 %', 'over 99.9 %', 'below 0.1 %')
    """
    if probability < 0.001:
        return "below 0.1 %"
    if probability > 0.999:
        return "over 99.9 %"
    return f"{100.0 * probability:.1f} %"


def rounded(value: float, se: float) -> str:
    """Return a number with its standard error, both to the second digit of the latter.

    Examples:
        >>> rounded(0.12345, 0.0321), rounded(0.5, float("nan"))
        ('0.123 ± 0.032', '0.500')
    """
    if not 0.0 < se < float("inf"):
        return f"{value:.3f}"
    decimals = next((d for d in range(1, 8) if se >= 10.0 ** (1 - d)), 8)
    return f"{value:.{decimals}f} ± {se:.{decimals}f}"
