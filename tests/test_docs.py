"""Every command in README.md and docs/*.md is checked, so that no page promises an option that is not there.

The scheme: a page's ```bash, ```sh, ```shell and ```console blocks hold commands that a reader can type (in console
blocks those after "$ "). Each `mien ...` in them must parse with the real command line; each `make TARGET` and each
`python -m benchmarks.NAME` and `python -m tools.NAME` must exist. A line that only asks mien about a picture of
examples/, or about mien itself,
is run as it stands, in a copy of the folder.
"""

import functools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mien.cli.main import app
from mien.inference.bundle import default_bundle
from mien.recipes.recipe import parse_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(bash|sh|shell|console)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SEPARATORS = {"|", "||", "&&", ";", "&"}
ASKS_ABOUT_ITSELF = {"doctor", "--version", "--help"}
needs_model = pytest.mark.skipif(not default_bundle().is_file(), reason="this checkout holds no bundled model")


def command_lines(text: str) -> list[str]:
    """The lines that a reader types: continuations joined, prompts and comments removed."""
    lines = []
    for _, language, body in BLOCK.findall(text):
        for line in body.replace("\\\n", " ").splitlines():
            if language == "console" and not line.lstrip().startswith("$ "):
                continue
            command = line.strip().removeprefix("$ ").strip()
            if command and not command.startswith("#"):
                lines.append(re.sub(r"\s+", " ", command))
    return lines


def commands(line: str) -> list[list[str]]:
    """The words of each simple command of a shell line; redirections and comments are dropped."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in SEPARATORS:
            found.append([])
        elif set(word) <= set("<>&"):
            next(words, None)
            if found[-1][-1:] == ["2"]:
                found[-1].pop()  # the 2 of "2> file"
        else:
            found[-1].append(word)
    return [[word for word in command if not re.fullmatch(r"[A-Z_]+=\S*", word)] for command in found if command]


@functools.cache
def command_line() -> Any:
    """The real command line, in which every command's body is replaced."""
    group = typer.main.get_command(app)
    for command in [group, *group.commands.values()]:  # type: ignore[attr-defined]
        command.callback = lambda **_: None
    return group


def parse_problem(arguments: list[str]) -> str | None:
    """Why the command line refuses these arguments, or None. Nothing is run."""
    try:
        command_line().main(arguments, prog_name="mien", standalone_mode=False)
    except Exception as error:
        message = error.format_message() if hasattr(error, "format_message") else repr(error)
        # A page names files that its reader has and this checkout has not.
        return None if "does not exist" in message else message
    return None


def documented() -> list[tuple[str, str]]:
    """(page, line) of every typed line of every page."""
    pages = [page for page in PAGES if page.is_file()]
    return [(page.name, line) for page in pages for line in command_lines(page.read_text(encoding="utf-8"))]


def words_after(line: str, program: str) -> list[list[str]]:
    """The arguments of each call of a program in a line; its path does not matter."""
    return [words[1:] for words in commands(line) if words and Path(words[0]).name == program]


def can_be_run(line: str) -> bool:
    """Whether a line is about mien itself or about pictures of examples/ alone; a pipe may follow."""
    first = commands(line)[0]
    if first[:1] != ["mien"] or not first[1:]:
        return False
    arguments = [word for word in first[1:] if word != "--quiet"]
    if arguments[0] in ASKS_ABOUT_ITSELF or "--help" in arguments:
        return True
    return arguments[0] == "predict" and (ROOT / arguments[1]).exists() and arguments[1].startswith("examples")


TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
LINES = documented()
#: Each once, however many pages have it.
RUNNABLE = {line: page for page, line in LINES if can_be_run(line)}


@needs_model
def test_the_front_page_shows_how_to_predict() -> None:
    assert any(page == "README.md" and line.startswith("mien predict examples/") for page, line in LINES)


@pytest.mark.parametrize(("page", "line"), LINES)
def test_documented_mien_commands_parse(page: str, line: str) -> None:
    for arguments in words_after(line, "mien"):
        assert parse_problem(arguments) is None, f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), LINES)
def test_documented_make_targets_and_benchmarks_exist(page: str, line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for arguments in words_after(line, "make"):
        assert not [word for word in arguments if "=" not in word and word not in targets], f"{page}: {line}"
    for module in re.findall(r"-m ((?:benchmarks|tools)[\w.]*)", line):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{page}: {line}"


@needs_model
@pytest.mark.parametrize(("line", "page"), RUNNABLE.items())
def test_documented_commands_on_the_example_run(line: str, page: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    program = f'mien() {{ "{sys.executable}" -m mien.cli.main "$@"; }}\nset -o pipefail\n'
    done = subprocess.run(["bash", "-c", program + line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{page}: {line}\n{done.stderr}"
    assert done.stdout or list(tmp_path.glob("*")) != [tmp_path / "examples"], f"{page}: {line} gave nothing"


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(name: .*?tasks: .*?)^```", TRAINING, re.MULTILINE | re.DOTALL))
def test_documented_recipes_are_valid(text: str) -> None:
    assert parse_recipe(text, (), "docs/training.md").tasks


SAMPLE = """
```bash
# a comment
mien predict a.jpg \\
    --out b.jsonl   # and its end
MIEN_DEBUG=1 mien --quiet predict 'my photo.jpg' > out.jsonl 2> log && make test
```
```python
mien = 1
```
```console
$ mien doctor | head
mien 0.2.0
```
"""


def test_commands_are_found_in_blocks() -> None:
    lines = command_lines(SAMPLE)
    assert len(lines) == 3
    assert commands(lines[0]) == [["mien", "predict", "a.jpg", "--out", "b.jsonl"]]
    assert words_after(lines[1], "mien") == [["--quiet", "predict", "my photo.jpg"]]
    assert words_after(lines[1], "make") == [["test"]]
    assert words_after(lines[2], "mien") == [["doctor"]]


@pytest.mark.parametrize(
    ("arguments", "part"), [(["predicct", "a.jpg"], "No such command"), (["--no-such-option"], "No such option")]
)
def test_a_wrong_command_is_noticed(arguments: list[str], part: str) -> None:
    assert part in str(parse_problem(arguments))


def test_a_right_command_parses() -> None:
    assert parse_problem(["--version"]) is None
    assert parse_problem(["--help"]) is None


def test_only_harmless_lines_are_run() -> None:
    assert can_be_run("mien predict examples/eileen_collins.jpg --format jsonl | head -n 1")
    assert can_be_run("mien doctor")
    assert not can_be_run("mien predict holiday/*.jpg --out faces.csv")
    assert not can_be_run("mien serve")
    assert not can_be_run("rm -r examples")
