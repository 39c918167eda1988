import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest
import torch

from cmrgz import options, registry
from cmrgz.errors import PluginError, UsageError
from cmrgz.model import Model
from cmrgz.plugin import ModelSpec

Install = Callable[..., list[EntryPoint]]

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="{name}", family="ar", summary="a test", build="{module}_build:build", protocol={protocol})
"""
BUILD = """
from typing import Annotated
import torch
from torch import Tensor, nn
from cmrgz.model import Model

class Fill(Model):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Linear(width, width)
    def loss(self, x, *, condition=None, rng):
        return self.net(x).mean()
    def sample(self, x, known, *, condition=None, rng, progress=None, steps: Annotated[int, "how many"] = 4) -> Tensor:
        return x

def build(width: int = 3) -> Fill:
    return Fill(width)
"""


def modules(name: str = "ar-test", module: str = "toy", protocol: int = 1, build: str = BUILD) -> dict[str, str]:
    return {module: SPEC.format(name=name, module=module, protocol=protocol), f"{module}_build": build}


def broken(entries: dict[str, registry.Entry[ModelSpec]], name: str, code: str) -> PluginError:
    error = entries[name].error
    assert entries[name].spec is None and error is not None and error.code == code
    with pytest.raises(PluginError):
        entries[name].require()
    assert len(error.line.splitlines()) == 1
    return error


def test_an_installed_model_is_found_and_built(install: Install) -> None:
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules(), version="1.2")
    entry = registry.models()["ar-test"]
    assert (entry.package, entry.version, entry.target, entry.reason) == ("cmrgz-toy", "1.2", "toy:SPEC", "")
    spec = registry.get_model("ar-test")
    assert "toy_build" not in sys.modules, "listing must not import what builds"
    assert list(registry.build_schema(spec)) == ["width"]
    assert registry.sample_schema(spec)["steps"].help == "how many"
    model = registry.build_model(spec, None, {"width": 5})
    assert isinstance(model, Model) and sum(p.numel() for p in model.parameters()) == 30
    assert registry.sample_schema(model) == registry.sample_schema(spec)
    with pytest.raises(UsageError, match="did you mean 'width'"):
        registry.build_model(spec, None, {"widht": 5})
    with pytest.raises(PluginError, match="takes no tokenizer"):
        registry.build_model(spec, torch.nn.Identity(), {})  # type: ignore[arg-type]


def test_unknown_name_gets_a_suggestion(install: Install) -> None:
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules())
    with pytest.raises(UsageError, match="did you mean 'ar-test'") as refusal:
        registry.get_model("ar-tst")
    assert refusal.value.code == "unknown-plugin"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise ImportError('no libfoo')", "ImportError: no libfoo"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: second"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("def broken(:", "SyntaxError"),
        ("SPECS = 1", "AttributeError"),
        ("import no_such_module_at_all", "ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_cause_and_the_others_work(
    install: Install, source: str, cause: str
) -> None:
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": source}, version="0.3")
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules())
    error = broken(registry.models(), "ar-bad", "plugin-broken")
    assert cause in error.line and "cmrgz-bad 0.3" in error.line
    assert registry.models()["ar-test"].spec is not None
    with pytest.raises(PluginError, match="cmrgz-bad"):
        registry.get_model("ar-bad")


@pytest.mark.parametrize("last", ["raise", "raise ImportError('a part is missing')", "pass"])
def test_ctrl_c_during_an_import_is_no_fault_of_the_plugin(install: Install, last: str) -> None:
    """Whatever the plugin makes of it."""
    lines = ["import signal", "SPEC = 1", "try:", "    signal.raise_signal(signal.SIGINT)", "except BaseException:"]
    install("cmrgz-slow", {"ar-slow": "slow:SPEC"}, {"slow": "\n".join([*lines, f"    {last}"])})
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        registry.get_model("ar-slow")
    assert signal.getsignal(signal.SIGINT) is before


def clash(install: Install) -> list[EntryPoint]:
    """Install two packages that register `ar-test`, with a builder of another width."""
    other = modules(module="other", build=BUILD.replace("width: int = 3", "width: int = 7"))
    one = install("cmrgz-one", {"ar-test": "toy:SPEC"}, modules(), version="1.1")
    return one + install("cmrgz-two", {"ar-test": "other:SPEC"}, other, version="2.2")


def test_one_name_of_two_packages_is_refused(install: Install) -> None:
    points = clash(install)
    entries = registry.collect(points, ModelSpec)
    error = broken(entries, "ar-test", "plugin-duplicate")
    assert "cmrgz-one 1.1" in error.line and "cmrgz-two 2.2" in error.line
    assert "write cmrgz-one:ar-test or cmrgz-two:ar-test" in error.line
    assert list(entries) == ["ar-test", "cmrgz-one:ar-test", "cmrgz-two:ar-test"]
    for allowed in ("cmrgz-two", "cmrgz-two:ar-test"):
        (entry,) = registry.collect(points, ModelSpec, allowed).values()
        assert (entry.name, entry.package, entry.error) == ("ar-test", "cmrgz-two", None)


def test_a_package_selects_one_of_a_name(install: Install) -> None:
    clash(install)
    widths = {d: registry.build_schema(registry.get_model(f"{d}:ar-test"))["width"] for d in ("cmrgz-one", "cmrgz-two")}
    assert {d: option.default for d, option in widths.items()} == {"cmrgz-one": 3, "cmrgz-two": 7}
    for name in ("cmrgz-six:ar-test", "cmrgz-one:ar-tost", ":ar-test"):
        with pytest.raises(UsageError, match="no registered model"):
            registry.get_model(name)
    spec = registry.get_model("cmrgz-two:ar-test")
    assert registry.find_entry(spec).package == "cmrgz-two"
    described = {d["name"]: d["used"] for d in registry.describe_plugins({"cmrgz-two:ar-test"})}
    assert described["cmrgz-two:ar-test"] and not described["cmrgz-one:ar-test"] and not described["ar-test"]


def test_a_package_may_be_named_where_there_is_one(install: Install) -> None:
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules())
    assert registry.get_model("cmrgz-toy:ar-test") is registry.get_model("ar-test")
    with pytest.raises(UsageError, match="not registered"):
        registry.find_entry(ModelSpec(name="ar-test", family="ar", summary="", build="a:b"))


def test_another_plugin_is_not_imported(install: Install) -> None:
    """One that would end the process does no harm to who uses another."""
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules())
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": "import os; os._exit(3)"})
    assert registry.get_model("ar-test").name == "ar-test" and "ar-bad" in registry.models()
    assert "bad" not in sys.modules


@pytest.mark.parametrize("name", ["../evil", "ar/vq", "AR", "ar_vq", "-ar", "ar\x1b[31m", "a" * 41])
def test_odd_names_are_refused(install: Install, name: str) -> None:
    (point,) = install("cmrgz-odd", {name: "toy:SPEC"}, modules())
    error = broken(registry.collect([point], ModelSpec), name, "plugin-name")
    assert error.line.isprintable()


@pytest.mark.parametrize("protocol", [0, 99])
def test_another_protocol_is_refused(install: Install, protocol: int) -> None:
    points = install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules(protocol=protocol))
    error = broken(registry.collect(points, ModelSpec), "ar-test", "plugin-protocol")
    assert ("update cmrgz" if protocol else "update cmrgz-toy") in error.line


def test_a_spec_must_have_the_type_and_the_name(install: Install) -> None:
    names = {"ar-other": "toy:SPEC", "ar-none": "none:SPEC"}
    points = install("cmrgz-toy", names, modules() | {"none": "SPEC=1"})
    entries = registry.collect(points, ModelSpec)
    assert "named 'ar-test'" in broken(entries, "ar-other", "plugin-protocol").line
    assert "got int" in broken(entries, "ar-none", "plugin-protocol").line


@pytest.mark.parametrize(
    ("source", "code", "what"),
    [
        ("def build() -> int: return 1", "plugin-protocol", "expected a Model, got int"),
        ("def build(**rest): return 1", "plugin-protocol", "hides options"),
        ("def build(): raise ValueError('heads')", "plugin-broken", "ValueError: heads"),
        ("from cmrgz.model import Model\ndef build() -> Model: return Model()", "plugin-broken", "abstract"),
    ],
)
def test_a_builder_that_breaks_the_contract_is_named(install: Install, source: str, code: str, what: str) -> None:
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules(build=source))
    with pytest.raises(PluginError, match=what) as refusal:
        registry.build_model(registry.get_model("ar-test"), None, {})
    assert refusal.value.code == code


def test_allow_list(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    points = install("cmrgz-toy", {"ar-test": "toy:SPEC"}, modules())
    assert not registry.collect(points, ModelSpec, "")
    assert not registry.collect(points, ModelSpec, "ar-vq")
    assert list(registry.collect(points, ModelSpec, "ar-vq, ar-test")) == ["ar-test"]
    monkeypatch.setenv("CMRGZ_PLUGINS", "")
    assert registry.models() == {} and registry.tokenizers() == {}


def test_strict_plugins_fail_the_start(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": "1/0"})
    monkeypatch.setenv("CMRGZ_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        registry.models()


def test_what_a_plugin_prints_at_import_does_not_reach_stdout(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": "print('hello')"})
    assert registry.models()["ar-bad"].error is not None
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("target", ["os", "os:", ":system", "os:path.join", "../x:y", "os:system()"])
def test_only_targets_of_the_form_are_imported(target: str) -> None:
    with pytest.raises(PluginError) as refusal:
        registry.resolve(target)
    assert refusal.value.code == "plugin-protocol"


def test_installed_specs_are_whole_and_light() -> None:
    code = """
import sys
from cmrgz import registry
entries = [*registry.models().values(), *registry.tokenizers().values()]
assert not [e.reason for e in entries if e.error], [e.reason for e in entries]
heavy = {"torch", "numpy", "nibabel", "diffusers"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("name", sorted(registry.models()))
def test_installed_models_declare_their_options(name: str) -> None:
    spec = registry.get_model(name)
    for schema in (registry.build_schema(spec), registry.sample_schema(spec)):
        given = {n: o.default for n, o in schema.items()}
        assert options.parse(given, schema, name) == given
