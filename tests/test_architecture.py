"""What the code promises of itself: floors, lint, types, sizes, and calls that stay in one place."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cmrgz

ROOT = Path(__file__).resolve().parents[1]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def python(tracked: list[Path]) -> list[Path]:
    return [path for path in tracked if path.suffix in (".py", ".pyi", ".ipynb")]


@pytest.fixture(scope="session")
def core(python: list[Path]) -> list[Path]:
    return [path for path in python if name(path).startswith("cmrgz/")]


@pytest.fixture(scope="session")
def plugin_files(python: list[Path]) -> list[Path]:
    return [path for path in python if re.match("plugins/[^/]+/cmrgz_[^/]+/", name(path))]


@pytest.fixture(scope="session")
def shipped(core: list[Path], plugin_files: list[Path]) -> list[Path]:
    return [*core, *plugin_files]


def none(offenders: Iterable[str], instead: str = "") -> None:
    """Fail with all offenders, one a line."""
    found = list(offenders)
    assert not found, "\n".join([instead, *found])


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Return the top-level names of what a file imports, also inside functions, and the lines where it does."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module.partition(".")[0]


def called(node: ast.Call) -> str:
    """Return `module.function`, `.method` or `function` of a call, aliases of imports not resolved."""
    function = node.func
    if isinstance(function, ast.Attribute):
        owner = function.value
        return f"{owner.id if isinstance(owner, ast.Name) else ''}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def test_lint(python: list[Path]) -> None:
    run("ruff", "check", *map(name, python))


def test_format(python: list[Path]) -> None:
    run("ruff", "format", "--check", *map(name, python))


def test_types(shipped: list[Path]) -> None:
    run("mypy", *map(name, shipped))


def test_layers() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as lint; sys.argv = ['lint-imports']; lint()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


def package(path: Path) -> str:
    """Return the package of a file of a plugin."""
    return path.relative_to(ROOT).parts[2]


def test_no_code_is_overlooked(core: list[Path], plugin_files: list[Path], tracked: list[Path]) -> None:
    plugins = {path.parent for path in tracked if re.fullmatch("plugins/[^/]+/pyproject.toml", name(path))}
    assert {path.parents[1] for path in plugin_files if path.name == "__init__.py"} >= plugins
    assert len(plugins) == len({package(path) for path in plugin_files}) >= 8
    assert ROOT / "cmrgz" / "__init__.py" in core


def test_the_core_imports_no_plugin(core: list[Path]) -> None:
    none(f"{name(path)}:{line} {what}" for path in core for line, what in imports(path) if what.startswith("cmrgz_"))


def test_plugins_do_not_know_one_another(plugin_files: list[Path]) -> None:
    packages = {package(path) for path in plugin_files}
    none(
        f"{name(path)}:{line} {what}"
        for path in plugin_files
        for line, what in imports(path)
        if what in packages - {package(path)}
    )


def test_files_stay_small(shipped: list[Path]) -> None:
    lines = {name(path): path.read_text().count("\n") for path in shipped}
    none(f"{path} has {count} lines" for path, count in lines.items() if count > 300)


def test_functions_stay_small(shipped: list[Path]) -> None:
    none(
        f"{name(path)}:{node.lineno} {node.name} has {length} lines"
        for path in shipped
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.body[0].lineno + 1) > 50
    )


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


def runs_a_file(path: Path, node: ast.Call) -> bool:
    banned = UNSAFE if name(path) == "cmrgz/registry.py" else UNSAFE | IMPORTS
    method = isinstance(node.func, ast.Attribute)  # `module.eval()` and `pattern.exec()` are harmless
    given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
    named = names(node) - {"eval", "exec"} if method else names(node)
    return bool(named & banned or given.get("allow_pickle") or given.get("shell"))


def test_nothing_runs_what_a_file_holds(shipped: list[Path]) -> None:
    none(place(path, node) for path in shipped for node in calls(path) if runs_a_file(path, node))


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


def test_only_durable_writes_files(shipped: list[Path]) -> None:
    others = [path for path in shipped if "durable" not in path.parts]
    none((place(path, node) for path in others for node in calls(path) if writes(node)), "use cmrgz.durable")


ASKS = {
    "exists", "is_file", "is_dir", "is_symlink", "is_mount", "iterdir", "stat", "lstat", "resolve", "read_text",
    "read_bytes", "touch", "rmdir", "readlink", "samefile", "owner",
}  # fmt: skip
"""Methods of a path that raise an OSError; without arguments they are those of nothing else."""
CHANGES = {"mkdir", "unlink", "glob", "rglob", "hardlink_to", "symlink_to", "chmod"}
"""Methods of a path alone."""
SYSTEM = {
    "open", "pread", "stat", "lstat", "listdir", "scandir", "mkdir", "makedirs", "unlink", "remove", "rmdir", "rename",
    "replace", "link", "symlink", "truncate", "chmod", "utime", "chdir",
}  # fmt: skip
"""Functions of `os` that raise an OSError; those of `os.path` do not."""
ASKED_ELSEWHERE = {
    "cmrgz/cli/process.py": "gives the streams of the process to the null device",
    "cmrgz/cli/faults.py": "finds a place for a crash file, or does without",
    "cmrgz/testing/pytest_plugin.py": "runs in pytest",
}


def asks_the_file_system(node: ast.Call) -> bool:
    module, _, function = called(node).rpartition(".")
    if module in ("os", "io", "gzip"):
        return function in SYSTEM
    if module in ("shutil", "tempfile", "glob") or called(node) == "open":
        return called(node) != "glob.has_magic"
    if function == "open":  # of a path, which is given a mode, not of a model
        modes = [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
        return any(isinstance(mode, ast.Constant) for mode in modes)
    return function in CHANGES or (function in ASKS and not node.args)


def test_only_durable_asks_the_file_system(shipped: list[Path]) -> None:
    """It tells each fault: elsewhere a name of 300 letters or a read-only disk would be taken for a bug of ours."""
    others = [p for p in shipped if not {"durable", "checks"} & set(p.parts) and name(p) not in ASKED_ELSEWHERE]
    asked = (place(path, node) for path in others for node in calls(path) if asks_the_file_system(node))
    none(asked, "use cmrgz.durable")


def prints_or_exits(path: Path, node: ast.Call) -> bool:
    banned = {"sys.exit", "os._exit", "exit", "quit", "print"} - ({"print"} if "cli" in path.parts else set())
    return called(node) in banned


def test_the_library_neither_prints_nor_exits(shipped: list[Path]) -> None:
    none(place(path, node) for path in shipped for node in calls(path) if prints_or_exits(path, node))


def test_the_light_modules_do_not_import_torch() -> None:
    light = ("errors", "plugin", "registry", "options", "config", "durable", "data", "cli")
    code = f"import sys, {', '.join(f'cmrgz.{module}' for module in light)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, cwd=ROOT)


def test_the_version_is_in_the_changelog() -> None:
    titles = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased" and (titles[1:2] in ([], [cmrgz.__version__]))


def requirements(pyproject: Path) -> list[Requirement]:
    """Return what a package needs, alone or with an extra."""
    project = tomllib.loads(pyproject.read_text())["project"]
    texts = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return [Requirement(text) for text in chain(*texts)]


distributions_of = cache(packages_distributions)


def undeclared(pyproject: Path, python: list[Path]) -> Iterator[str]:
    own = {path.parent for path in pyproject.parent.glob("*/__init__.py")}
    declared = {canonicalize_name(r.name) for r in requirements(pyproject)}
    given = sys.stdlib_module_names | {path.name for path in own} | ({"torch"} if "cmrgz" in declared else set())
    for path in python:
        for line, module in imports(path) if own & {*path.parents} else []:
            distributions = {canonicalize_name(d) for d in distributions_of().get(module, [module])}
            if module not in given and not distributions & declared:
                yield f"{name(path)}:{line}: {module}"


def test_each_package_declares_what_it_imports(tracked: list[Path], python: list[Path]) -> None:
    """Each but torch, which is part of the protocol that a plugin has from cmrgz: a model is a torch module."""
    packages = [path for path in tracked if path.name == "pyproject.toml"]
    assert len(packages) > 10
    none(line for pyproject in packages for line in undeclared(pyproject, python))


def test_pins_satisfy_what_is_declared(tracked: list[Path]) -> None:
    lines = (ROOT / ".ci/constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(n): v for n, v in pins.items()}
    ours = [path for path in tracked if re.fullmatch(r"(plugins/[^/]+/)?pyproject\.toml", name(path))]
    needed = [r for path in ours for r in requirements(path) if r.name not in ("cmrgz", "tensorboard")]
    for requirement in needed:
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_bundled_weights_stay_small(tracked: list[Path]) -> None:
    """Under 10 MB a model and 60 MB in all: everybody who installs this loads them."""
    weights = [path for path in tracked if "weights" in path.parts and path.suffix == ".safetensors"]
    sizes = [path.stat().st_size / 1e6 for path in weights if re.match("cmrgz/|plugins/[^/]+/cmrgz_", name(path))]
    assert sizes and max(sizes) < 10 and sum(sizes) < 60
