"""Doctests of adapters are left out where the library that they adapt to is not installed."""

from importlib.util import find_spec

ADAPTED = ("sktime", "statsforecast")

collect_ignore = [f"nonparam/integrations/{name}.py" for name in ADAPTED if find_spec(name) is None]
