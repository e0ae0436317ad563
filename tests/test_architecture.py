"""The rules of ``docs/design.md`` that a syntax tree can show, for every file as it comes."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("nonparam", "kernels", "model_selection", "datasets")  # what a user installs
SOURCES = (*CODE, "tests", "benchmarks", "docs/examples")

ESTIMATORS = {
    "regression",
    "latent_regression",
    "scoring",
    "bayesian_linear",
    "spectral_mixture",
    "deep",
    "averaging",
    "model_average",
    "classification",
    "gibbs",
    "forecasting",
    "multioutput",
    "nearest_neighbours",
    "sparse",
    "networks",
    "search",
    "comparison",
    "integrations",
    "uncertain_inputs",
}
LAST = {"plotting", "cli"}
DENSITIES = {
    "evidence",
    "held_out",
    "innovations",
    "joint",
    "student_joint",
}  # in model_selection, of matrices alone
# What each part may import of the package besides itself; parts that are not named are the core.
MAY_IMPORT = {
    "errors": set(),
    "results": {"errors"},
    "kernels": {"errors"},
    "solvers": {"errors"},
    "datasets": {"errors"},
    "threads": {"errors"},
    "lbfgs": {"errors", "results", "threads"},
    "training": {"errors", "results", "threads", "lbfgs"},
    "evidence": {"errors", "results", "threads", "kernels", "solvers"},
    "model_selection": {
        *("errors", "results", "threads", "kernels", "solvers", "training", "evidence"),
        *("posterior", "means", "priors", "likelihoods"),
        *("objective", "lbfgs", "theta", "scales", "laplace", "spectrum", "nonuniform_fft", "validation"),
    },
}
NOT_FOR_CORE = {"model_selection", "nonparam", *ESTIMATORS, *LAST}
ALLOWED_PASS_THROUGH = {"forward", "__call__", "set_params"}  # GPyTorch's and scikit-learn's protocols
GLOBAL_SETTINGS = ("gpytorch.settings", "linear_operator.settings", "torch.set_default_")


@dataclass(frozen=True)
class Source:
    """One Python file: its path below the root, its text and its syntax tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def part(self) -> str:
        """The first name below the package: ``kernels``, ``training``, ...; the root is itself."""
        names = Path(self.path).with_suffix("").parts
        below = names[1:] if names[0] == "nonparam" else names
        return part_of(".".join(below))


def part_of(below: str) -> str:
    """The part of a dotted name below the package; densities and the search are steps of their own."""
    names = below.split(".")
    if names[0] == "model_selection" and names[1:2] == ["search"]:
        return "search"
    if names[0] == "model_selection" and names[1:2] and names[1] in DENSITIES:
        return "evidence"
    return names[0] if names[0] != "__init__" else "nonparam"


def read(folders: tuple[str, ...]) -> list[Source]:
    """All Python files in these folders, each once: links into the package are not followed."""
    files = sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py"))
    paths = [file.relative_to(ROOT) for file in files if file.resolve() == file]
    return [Source(path.as_posix(), (ROOT / path).read_text()) for path in paths]


PARTS = {*(source.part for source in read(CODE)), *MAY_IMPORT, *NOT_FOR_CORE}


def walk(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it runs only when some function is called."""
    for node in ast.iter_child_nodes(tree):
        yield node, in_function
        yield from walk(node, in_function or isinstance(node, ast.FunctionDef | ast.Lambda))


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def imported_part(name: str) -> str | None:
    """``nonparam.kernels.base.X`` is of the part kernels; ``nonparam.__version__`` of the root."""
    package, _, below = name.partition(".")
    if package != "nonparam":
        return None
    is_module = "." in below or part_of(below) in PARTS
    return part_of(below) if is_module else "nonparam"


def forbidden(part: str, target: str, in_function: bool) -> bool:
    if part == target or part == "cli":
        return False
    if part == "plotting":
        return target == "cli"
    if part == "nonparam":
        return target in LAST
    if part in ESTIMATORS:
        return target in {"nonparam", "cli"} or (target == "plotting" and not in_function)
    if part in MAY_IMPORT:
        return target not in MAY_IMPORT[part]
    return target in NOT_FOR_CORE


def imports_against_the_flow(source: Source) -> Iterator[str]:
    for node, in_function in walk(source.tree):
        for name in imported_names(node):
            target = imported_part(name)
            if target is not None and forbidden(source.part, target, in_function):
                yield f"{source.path}:{node.lineno}: {source.part} imports {name}"


def relative_imports(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            yield f"{source.path}:{node.lineno}: relative import"


def keyword_pass_through(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        name = getattr(node, "name", "lambda")
        if isinstance(node, ast.FunctionDef | ast.Lambda) and name not in ALLOWED_PASS_THROUGH:
            if node.args.kwarg is not None:
                yield f"{source.path}:{node.lineno}: {name} takes **{node.args.kwarg.arg}"


def global_settings(source: Source) -> Iterator[str]:
    nodes = list(ast.walk(source.tree))
    full_names = {bound: full for node in nodes for bound, full in bound_names(node)}
    for node in nodes:
        for name in [*imported_names(node), *attribute_name(node, full_names)]:
            if name.startswith(GLOBAL_SETTINGS):
                yield f"{source.path}:{node.lineno}: {name}"


def bound_names(node: ast.AST) -> list[tuple[str, str]]:
    """Names that an import statement makes, each with what it stands for."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return []
    pairs = zip(node.names, imported_names(node), strict=False)
    from_import = isinstance(node, ast.ImportFrom)
    return [(a.asname or a.name, full) for a, full in pairs if a.asname or from_import]


def attribute_name(node: ast.AST, full_names: dict[str, str]) -> list[str]:
    """``a.b.c`` with ``a`` replaced by what it was imported as; empty for any other node."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not names or not isinstance(node, ast.Name):
        return []
    return [".".join([full_names.get(node.id, node.id), *names])]


def long_files(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > 500:
        yield f"{source.path}: {lines} lines"


def long_functions(source: Source) -> Iterator[str]:
    """Functions over 60 lines; a docstring, with its shapes and its doctest, does not count."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > 60:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines"


RULES = {
    imports_against_the_flow: CODE,
    relative_imports: SOURCES,
    keyword_pass_through: CODE,
    global_settings: CODE,
    long_files: (*CODE, "benchmarks", "docs/examples"),
    long_functions: SOURCES,
}
Rule = Callable[[Source], Iterator[str]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_everywhere(rule: Rule):
    sources = read(RULES[rule])
    assert {source.path.split("/")[0] for source in sources} >= set(CODE)
    assert [breach for source in sources for breach in rule(source)] == []


BREACHES = [
    (imports_against_the_flow, "kernels/x.py", "import nonparam.solvers"),
    (imports_against_the_flow, "kernels/x.py", "from nonparam import solvers"),
    (imports_against_the_flow, "kernels/x.py", "def f():\n    import nonparam.datasets"),
    (imports_against_the_flow, "nonparam/solvers/x.py", "import nonparam.kernels"),
    (imports_against_the_flow, "datasets/x.py", "from nonparam import __version__"),
    (imports_against_the_flow, "nonparam/training.py", "import nonparam.kernels.base"),
    (imports_against_the_flow, "model_selection/x.py", "import nonparam.forecasting"),
    (imports_against_the_flow, "model_selection/evidence.py", "import nonparam.posterior"),
    (imports_against_the_flow, "nonparam/new.py", "import nonparam.model_selection.loo"),
    (imports_against_the_flow, "nonparam/forecasting/x.py", "import nonparam"),
    (imports_against_the_flow, "nonparam/new.py", "import nonparam.forecasting.x"),
    (imports_against_the_flow, "nonparam/__init__.py", "import nonparam.cli"),
    (relative_imports, "tests/x.py", "from . import y"),
    (keyword_pass_through, "kernels/x.py", "class A:\n    def __init__(self, **kw): super()"),
    (keyword_pass_through, "kernels/x.py", "f = lambda **options: 1"),
    (global_settings, "kernels/x.py", "import gpytorch\ngpytorch.settings.debug(False)"),
    (global_settings, "kernels/x.py", "import gpytorch as g\ng.settings.debug(False)"),
    (global_settings, "kernels/x.py", "from linear_operator import settings"),
    (global_settings, "kernels/x.py", "from gpytorch.settings import debug"),
    (global_settings, "kernels/x.py", "import torch\ntorch.set_default_dtype(torch.float64)"),
    (long_files, "kernels/x.py", "x = 1\n" * 501),
    (long_functions, "kernels/x.py", "def f():\n" + "    x = 1\n" * 61),
]
NO_BREACHES = [
    (imports_against_the_flow, "kernels/x.py", "from nonparam.kernels.base import A\nimport torch"),
    (imports_against_the_flow, "nonparam/errors.py", "import nonparam_other"),
    (imports_against_the_flow, "nonparam/forecasting/x.py", "import nonparam.solvers"),
    (imports_against_the_flow, "nonparam/new.py", "import nonparam.model_selection.evidence"),
    (imports_against_the_flow, "nonparam/cli.py", "from nonparam import __version__"),
    (keyword_pass_through, "kernels/x.py", "def forward(self, x, **params): return x"),
    (global_settings, "kernels/x.py", "import torch\ntorch.get_default_dtype()"),
    (long_files, "kernels/x.py", "x = 1\n" * 500),
    (
        long_functions,
        "kernels/x.py",
        'def f():\n    """' + "\n" * 99 + '"""\n' + "    x = 1\n" * 60,
    ),
]


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_rule_sees_a_breach(rule: Rule, path: str, text: str):
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), NO_BREACHES)
def test_rule_leaves_the_rest_alone(rule: Rule, path: str, text: str):
    assert list(rule(Source(path, text))) == []
