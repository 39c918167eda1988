"""What the code promises of itself: floors, lint, types, sizes, and calls that stay in one place."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cmrgz

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "cmrgz").rglob("*.py"))
PLUGINS = sorted(p.parent for p in (ROOT / "plugins").glob("*/cmrgz_*/__init__.py"))
PLUGIN_FILES = sorted(f for p in PLUGINS for f in p.rglob("*.py"))
SHIPPED = [*CORE, *PLUGIN_FILES]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def imports(path: Path) -> set[str]:
    """Return the top-level names of what a file imports, also inside functions."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def called(node: ast.Call) -> str:
    """Return `module.function`, `.method` or `function` of a call, aliases of imports not resolved."""
    function = node.func
    if isinstance(function, ast.Attribute):
        owner = function.value
        return f"{owner.id if isinstance(owner, ast.Name) else ''}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def test_lint() -> None:
    run("ruff", "check", ".")


def test_format() -> None:
    run("ruff", "format", "--check", ".")


def test_types_of_the_core() -> None:
    run("mypy", "cmrgz")


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_types_of_a_plugin(plugin: Path) -> None:
    run("mypy", str(plugin))


def test_layers() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as lint; sys.argv = ['lint-imports']; lint()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_imports_no_plugin(path: Path) -> None:
    assert not {i for i in imports(path) if i.startswith("cmrgz_")}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_do_not_know_one_another(plugin: Path) -> None:
    others = {p.name for p in PLUGINS} - {plugin.name}
    for path in plugin.rglob("*.py"):
        assert not imports(path) & others, name(path)


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_functions_and_files_stay_small(path: Path) -> None:
    assert path.read_text().count("\n") <= 300
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.body[0].lineno + 1
            assert length <= 50, f"{name(path)}:{node.lineno} {node.name} has {length} lines"


UNSAFE = {
    "pickle.load", "pickle.loads", "torch.load", "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "eval", "exec", "os.system", "os.popen", "tempfile.mktemp", "extractall",
}  # fmt: skip
IMPORTS = {"importlib.import_module", "__import__"}
WRITES = {
    "os.replace", "os.rename", "os.link", "np.save", "np.savez", "np.savez_compressed", "torch.save",
    "write_text", "write_bytes", "tofile",
}  # fmt: skip


def names(node: ast.Call) -> set[str]:
    """Return the ways in which the sets above can name a call: `module.function` and the last part alone."""
    return {called(node), called(node).rpartition(".")[2]}


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in nodes(path) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_nothing_runs_what_a_file_holds(path: Path) -> None:
    banned = UNSAFE if name(path) == "cmrgz/registry.py" else UNSAFE | IMPORTS
    for node in calls(path):
        method = isinstance(node.func, ast.Attribute)  # `module.eval()` and `pattern.exec()` are harmless
        assert not (names(node) - {"eval", "exec"} if method else names(node)) & banned, place(path, node)
        given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        assert not given.get("allow_pickle") and not given.get("shell"), place(path, node)


def place(path: Path, node: ast.Call) -> str:
    return f"{name(path)}:{node.lineno} {called(node)}"


def writes(node: ast.Call) -> bool:
    if names(node) & WRITES:
        return True
    if "open" not in names(node):
        return False
    first = 0 if isinstance(node.func, ast.Attribute) and called(node) not in ("io.open", "gzip.open") else 1
    arguments = [*node.args[first : first + 1], *(k.value for k in node.keywords if k.arg == "mode")]
    modes = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return any(re.fullmatch("[rwaxbt+]+", mode) and re.search("[wax+]", mode) for mode in modes)


@pytest.mark.parametrize("path", [p for p in SHIPPED if "durable" not in p.parts], ids=name)
def test_only_durable_writes_files(path: Path) -> None:
    assert not [place(path, node) for node in calls(path) if writes(node)], "use cmrgz.durable"


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_the_library_neither_prints_nor_exits(path: Path) -> None:
    banned = {"sys.exit", "os._exit", "exit", "quit", "print"} - ({"print"} if "cli" in path.parts else set())
    assert not [place(path, node) for node in calls(path) if called(node) in banned]


def test_the_light_modules_do_not_import_torch() -> None:
    light = ("errors", "plugin", "registry", "options", "config", "durable", "data", "cli")
    code = f"import sys, {', '.join(f'cmrgz.{module}' for module in light)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT)


def test_the_version_is_in_the_changelog() -> None:
    titles = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased" and (titles[1:2] in ([], [cmrgz.__version__]))


def test_pins_satisfy_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / ".ci/constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(n): v for n, v in pins.items()}
    for text in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        requirement = Requirement(text)
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_bundled_weights_stay_small() -> None:
    """Under 10 MB a model and 60 MB in all: everybody who installs this loads them."""
    folders = [ROOT / "cmrgz", *(ROOT / "plugins").glob("*/cmrgz_*")]  # not an environment that lies in the checkout
    sizes = [path.stat().st_size / 1e6 for folder in folders for path in folder.rglob("weights/**/*.safetensors")]
    assert sizes and max(sizes) < 10 and sum(sizes) < 60
