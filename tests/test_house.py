"""The plan of the code: who may import whom, how long files are, how names and messages read."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import designspace

PACKAGE = Path(designspace.__file__).parent
# What each package may import, besides itself, `errors` and the version.
PACKAGES = {
    "io": set(),
    "arch": {"io"},
    "blocks": {"arch", "networks"},
    "space": {"io", "arch"},
    "runs": {"io", "arch", "space"},
    "data": {"io", "runs"},
    "networks": {"arch"},
    "training": {"io", "arch", "space", "runs", "data", "networks"},
    "measurement": {"io", "arch", "space", "runs", "networks", "training", "stats"},
    "stats": set(),
    "analysis": {"io", "arch", "space", "runs", "stats"},
    "importing": {"io", "arch", "space", "runs", "stats", "analysis"},
    "refinement": {"io", "arch", "space", "runs", "stats", "analysis"},
    "derivation": {"io", "arch", "space", "runs", "stats", "analysis"},
    "export": {"io", "arch", "runs", "networks", "derivation", "analysis", "stats"},
    "pretraining": {"io", "arch", "runs", "data", "networks", "training", "export"},
    "evaluation": {"io", "arch", "runs", "data", "networks", "training", "export", "pretraining"},
    "report": {"io", "arch", "stats", "analysis"},
}
PACKAGES["api"] = {*PACKAGES}
PACKAGES["studies"] = {*PACKAGES}
PACKAGES["cli"] = {*PACKAGES, "__init__"}
FOUNDATION = {"errors", "__version__"}
HEAVY = {
    "torch": {
        "networks",
        "blocks",
        "data",
        "training",
        "measurement",
        "pretraining",
        "evaluation",
        "export",
        "api",
    },  # in blocks and api, types alone
    "torchvision": {"data", "evaluation"},  # its import takes as long as torch's
    "matplotlib": {"report", "api"},  # in api, types alone
    "numba": {"networks"},  # behind numba_loops.available()
}
# Modules that still import each other; the list may only become shorter.
CYCLES: set[str] = set()
# Words that don't say what a file holds.
VAGUE = {
    *("asked", "axes", "best", "board", "fit", "foreign", "found", "frames", "given", "helpers"),
    *("known", "live", "made", "misc", "pairs", "parts", "plain", "proof", "snapshot", "standing"),
    *("subject", "told", "utils", "watch", "wished", "world"),
}

MODULES = {
    ".".join(("designspace", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text())


def package_of(name):
    return [*name.split("."), "__init__"][1]


def imports(name):
    """Return the dotted names that a module imports, at any place in it."""
    names = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                of_the_root = node.module == "designspace"
                names.add(dotted if dotted in MODULES or of_the_root else node.module)
    return names


def test_imports_go_only_downwards():
    wrong = []
    for name in MODULES:
        package = package_of(name)
        if package in FOUNDATION | {"__init__", "__main__"}:
            continue
        assert package in PACKAGES, f"{name}: which packages may it import? Say so in PACKAGES"
        allowed = PACKAGES[package] | FOUNDATION | {package}
        for imported in sorted(imports(name)):
            top = imported.split(".")[0]
            if top == "designspace" and package_of(imported) not in allowed:
                wrong.append(f"{name} imports {imported}")
            if top in HEAVY and package not in HEAVY[top] | {"cli"}:
                wrong.append(f"{name} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others():
    """Imports under TYPE_CHECKING and in functions count: they hide a cycle, but don't end it."""
    below = {name: imports(name) & MODULES.keys() for name in MODULES.keys() - {"designspace"}}

    def reached(name):
        seen, todo = set(), [name]
        while todo:
            new = below.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen

    cycles = {name for name in below if name in reached(name)}
    assert cycles <= CYCLES, f"a cycle of imports: {', '.join(sorted(cycles - CYCLES))}"


def test_files_and_functions_stay_readable():
    wrong = []
    for name, path in MODULES.items():
        length = len(path.read_text().splitlines())
        if length > 500:
            wrong.append(f"{name} has {length} lines")
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef):
                # Parameters and the docstring don't count: a verb states each option with its help.
                length = node.end_lineno - node.body[0].lineno + 1
                if ast.get_docstring(node) is not None:
                    length -= node.body[0].end_lineno - node.body[0].lineno + 1
                if length > 60:
                    wrong.append(f"{name}.{node.name} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_names_of_files_say_what_they_hold():
    vague = [name for name in MODULES if name.rsplit(".")[-1] in VAGUE]
    assert not vague, f"name what it holds: {', '.join(vague)}"


def flags(name):
    """Yield the line and the text of each command-line flag in the strings of a module."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for flag in re.findall(r"(?<![\w(-])--[a-z][a-z-]*", node.value):
                yield node.lineno, flag


def test_only_the_command_line_names_flags():
    """Also docstrings: a library is called from Python, where the flag is an argument."""
    wrong = [
        f"{name}:{line} {flag}"
        for name in MODULES
        if package_of(name) not in ("cli", "__main__")
        for line, flag in flags(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_light_verbs_start_without_torch(tmp_path):
    verbs = [
        ["--help"],
        ["spaces"],
        ["complexity", "RegNetY-256GF"],
        ["derive", "--family", "regnety", "--flops", "256G", "--out", "m.yaml"],
    ]
    code = (
        "import sys, json\n"
        "from designspace.cli.main import app\n"
        f"for argv in {verbs!r}:\n"
        "    app(args=argv, standalone_mode=False)\n"
        "    print(json.dumps(sorted(set(sys.modules) & {'torch', 'matplotlib', 'pandas'})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert loaded == [[]] * len(verbs)


def test_every_verb_has_help_with_an_example():
    from designspace.cli.main import app

    for command in app.registered_commands:
        assert "designspace " in (command.callback.__doc__ or ""), command.callback
        assert "Example" in command.callback.__doc__, command.callback


def test_every_verb_takes_plugins():
    from typer.main import get_command

    from designspace.cli.main import app

    for name, verb in get_command(app).commands.items():
        (plugin,) = (option for option in verb.params if option.name == "plugin")
        assert "its code is executed" in plugin.help, name


def test_no_six_lines_are_repeated():
    seen = {}
    for name, path in MODULES.items():
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and not line.startswith(("import ", "from "))]
        # A command or a public function hands options on: seed=seed, seed: int = 0.
        passed_on = re.compile(r"(\w+)=\1,|\w+: [^=]+ = \S+,")
        lines = [line for line in lines if not passed_on.fullmatch(line)]
        for i in range(len(lines) - 5):
            run = tuple(lines[i : i + 6])
            # Brackets alone say nothing.
            if sum(any(letter.isalnum() for letter in line) for line in run) == 6:
                assert run not in seen, f"{name} repeats {seen[run]}: {run}"
                seen[run] = name


def test_files_of_tests_have_names_of_their_own():
    """pytest refuses to collect two modules of one name."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
