"""The plan of the house, held by tests: who imports whom, how long files are, what help costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import designspace

PACKAGE = Path(designspace.__file__).parent
FOUNDATION = {"errors", "__version__"}
# Which packages a package may import, itself and the foundation aside.
PACKAGES = {
    "io": set(),
    "arch": {"io"},
    "space": {"io", "arch"},
    "runs": {"io", "arch", "space"},
    "data": {"io", "runs"},
    "networks": {"arch"},
    "training": {"io", "arch", "runs", "data", "networks"},
    "stats": set(),
    "analysis": {"io", "arch", "space", "runs", "stats"},
    "refine": {"io", "arch", "space", "runs", "stats", "analysis"},
    "derive": {"io", "arch", "space", "runs", "stats", "analysis"},
    "export": {"io", "arch", "runs", "networks", "derive", "analysis", "stats"},
    "pretrain": {"io", "arch", "runs", "data", "networks", "training", "export"},
    "evaluate": {"io", "arch", "runs", "data", "networks", "training", "export", "pretrain"},
    "report": {"io", "arch", "stats", "analysis"},
}
HEAVY = {
    "torch": {"networks", "data", "training", "pretrain", "evaluate", "export"},
    "torchvision": {"networks", "data", "training", "pretrain", "evaluate", "export"},
    "matplotlib": {"report"},
}


def imports(path):
    """Yield the dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_only_downwards(path):
    package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package not in PACKAGES:
        assert package in FOUNDATION | {"cli", "__init__", "__main__"}, f"unknown package {package}"
        return
    allowed = PACKAGES[package] | FOUNDATION | {package}
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "designspace" and rest:
            assert rest[0] in allowed, f"{package} imports {name}"
        if top in HEAVY:
            assert package in HEAVY[top], f"{package} imports {top}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            # Parameters don't count: a verb states each option with its help.
            lines = node.end_lineno - node.body[0].lineno + 1 - _docstring_lines(node)
            assert lines <= 60, f"{node.name} has {lines} lines"


def _docstring_lines(node):
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first.end_lineno - first.lineno + 1
    return 0


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["spaces"],
        ["complexity", "RegNetY-256GF"],
        ["derive", "--family", "regnety", "--flops", "256G", "--out", "m.yaml"],
    ],
)
def test_light_verbs_start_without_torch(argv, tmp_path):
    code = (
        "import sys, json\n"
        "from designspace.cli.main import app\n"
        f"app(args={argv!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(set(sys.modules) & {'torch', 'matplotlib', 'pandas'})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_verb_has_help_with_an_example():
    from designspace.cli.main import app

    for command in app.registered_commands:
        assert "designspace " in (command.callback.__doc__ or ""), command.callback
        assert "Example" in command.callback.__doc__, command.callback


def test_no_six_lines_stand_twice():
    seen = {}
    for path in MODULES:
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and not line.startswith(("import ", "from "))]
        for i in range(len(lines) - 5):
            run = tuple(lines[i : i + 6])
            # Brackets alone say nothing.
            if sum(any(letter.isalnum() for letter in line) for line in run) == 6:
                assert run not in seen, f"{path} repeats {seen[run]}: {run}"
                seen[run] = path
