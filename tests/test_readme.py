"""The README is true: its code runs, prints what it shows, and its set-up commands are sound."""

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"(?:^<!-- command: (?P<command>\w+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHOWN = {"text", "console", "bibtex", "csv"}  # read by people; after code: what it prints
RUN_COMMAND_LINE = "from nonparam.cli import main; raise SystemExit(main())"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, and where it stands."""

    language: str
    code: str
    command: str | None
    line: int
    follows_block: bool


def read_blocks(markdown: str) -> list[Block]:
    blocks, end = [], 0
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start("code")) + 1
        follows = bool(blocks) and not markdown[end : match.start()].strip()
        blocks.append(Block(match["language"], match["code"], match["command"], line, follows))
        end = match.end()
    return blocks


def run_python(block: Block, namespace: dict[str, object]) -> str:
    source = "\n" * (block.line - 1) + block.code  # tracebacks then name the README's line
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, "README.md", "exec"), namespace)
    return printed.getvalue()


def run_bash(block: Block) -> str:
    """Run ``nonparam ...`` lines as the installed command does; refuse to pass over any other."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return "".join(run_line(line) for line in lines if line and not line.startswith("#"))


def run_line(line: str) -> str:
    program, *arguments = shlex.split(line, comments=True)
    assert program.removeprefix(".venv/bin/") == "nonparam", f"no way to check: {line}"
    command = [sys.executable, "-c", RUN_COMMAND_LINE, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
    return run.stdout


def compare(expected: Block, printed: str) -> None:
    """As doctest compares: ``...`` stands for anything, runs of blanks are alike."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected.code, printed, options)
    assert same, f"line {expected.line} shows\n{expected.code}but printed was\n{printed}"


def run_blocks(blocks: list[Block]) -> None:
    """Run all code in order in the current folder, Python blocks in one namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed = None
    for block in blocks:
        if block.command is None and block.language == "python":
            printed = run_python(block, namespace)
        elif block.command is None and block.language == "bash":
            printed = run_bash(block)
        else:
            assert block.command or block.language in SHOWN, f"line {block.line}: what is this?"
            if printed is not None and block.follows_block and block.language in {"text", "console"}:
                compare(block, printed)
            printed = None


def check_set_up(command: str) -> None:
    """One line that makes an environment, installs with the tested versions, and runs a program."""
    assert command.count("\n") == 1, "one line to copy"
    make, install, run = (shlex.split(step) for step in command.split("&&"))
    assert make == ["python3", "-m", "venv", ".venv"]
    assert install[:3] == [".venv/bin/pip", "install", "-c"]
    assert (ROOT / install[3]).is_file(), f"no file {install[3]}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    target = re.fullmatch(r"\.(?:\[(.+)\])?", install[-1])
    assert target, f"installs {install[-1]}"
    extras = target[1].split(",") if target[1] else []
    assert set(extras) <= set(project["optional-dependencies"]), f"no extra among {extras}"
    programs = {*project["scripts"], *(["pytest"] if "test" in extras else [])}
    run = [word for word in run if not re.fullmatch(r"[A-Z_]+=\w+", word)]  # of the environment
    assert run[0].removeprefix(".venv/bin/") in programs, f"does not install {run[0]}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A user's folder: empty, and without a window to draw in."""
    plt.switch_backend("Agg")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_code_runs_and_prints_what_is_shown(readme: str, elsewhere: Path):
    blocks = read_blocks(readme)
    assert {"python", "bash"} <= {block.language for block in blocks}
    assert len(blocks) == len(re.findall("^```", readme, re.MULTILINE)) / 2
    run_blocks(blocks)


@pytest.mark.parametrize("name", ["forecast", "test"])
def test_set_up_command_is_sound(readme: str, name: str):
    (command,) = [block.code for block in read_blocks(readme) if block.command == name]
    check_set_up(command)


def test_files_it_points_to_exist(readme: str):
    targets = re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", readme)
    local = [a or b for a, b in targets if not (a or b).startswith("http")]
    assert [target for target in local if not (ROOT / target).exists()] == []


def fenced(language: str, code: str, command: str = "") -> str:
    marker = f"<!-- command: {command} -->\n" if command else ""
    return f"{marker}```{language}\n{code}\n```\n"


TRUE = [
    fenced("python", "a = 1") + "words\n" + fenced("python", "print(a + 1)") + fenced("text", "2"),
    fenced("python", "print(0.123)") + "\n" + fenced("text", "0.1..."),
    fenced("python", "print(1)") + "words\n" + fenced("text", "a map of the folders"),
    fenced("bash", "never run here", command="test"),
]
FALSE = [
    (fenced("python", "import no_such_module"), ModuleNotFoundError, "no_such_module"),
    (fenced("python", "print(1)") + fenced("text", "2"), AssertionError, "line 5 shows"),
    (fenced("bash", "nonparam no-such-verb"), AssertionError, "no-such-verb"),
    (fenced("bash", "make install"), AssertionError, "no way to check"),
    (fenced("pyton", "print(1)"), AssertionError, "what is this"),
]


@pytest.mark.parametrize("markdown", TRUE)
def test_true_page_passes(markdown: str, elsewhere: Path):
    run_blocks(read_blocks(markdown))


@pytest.mark.parametrize(("markdown", "error", "message"), FALSE)
def test_false_page_fails(markdown: str, error: type[BaseException], message: str, elsewhere: Path):
    with pytest.raises(error, match=message):
        run_blocks(read_blocks(markdown))


VENV, PIP = "python3 -m venv .venv", ".venv/bin/pip install -c"
BROKEN_SET_UPS = [
    (f'{VENV} && {PIP} no.txt -e ".[test]" && .venv/bin/pytest', "no file no.txt"),
    (f'{VENV} && {PIP} constraints.txt ".[tests]" && .venv/bin/pytest', "no extra among"),
    (f"{VENV} && {PIP} constraints.txt . && .venv/bin/pytest", "does not install"),
    (f"{VENV} && {PIP} constraints.txt .. && .venv/bin/nonparam", "installs .."),
]


@pytest.mark.parametrize(("command", "message"), BROKEN_SET_UPS)
def test_broken_set_up_fails(command: str, message: str):
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_set_up(command + "\n")
