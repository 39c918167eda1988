import json
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz import options
from cmrgz.errors import PluginError, UsageError
from cmrgz.options import Range


def build(
    tokenizer: object,
    width: Annotated[int, "channels", Range(8, 4096)] = 256,
    rate: float = 0.1,
    causal: bool = False,
    norm: Literal["layer", "rms"] = "layer",
    note: str = "",
    depth: int | None = None,
    scales: tuple[int, ...] = (1, 2),
    levels: Literal[1, 2] = 1,
    grid: tuple[int, int] = (16, 16),
) -> object:
    return tokenizer


SCHEMA = options.schema(build, skip=("tokenizer",))


def test_schema_reads_types_defaults_help_and_range() -> None:
    assert list(SCHEMA) == ["width", "rate", "causal", "norm", "note", "depth", "scales", "levels", "grid"]
    assert SCHEMA["width"].describe() == {
        "name": "width",
        "type": "int",
        "default": 256,
        "range": "8 .. 4096",
        "help": "channels",
    }
    kinds = [o.kind for o in SCHEMA.values()]
    assert kinds == ["int", "float", "bool", "layer | rms", "str", "int or automatic", "int,...", "1 | 2", "int,int"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("width=512", 512),
        ("width=+512", 512),
        ("rate=1e-4", 1e-4),
        ("rate=3", 3.0),
        ("causal=true", True),
        ("causal=False", False),
        ("norm=rms", "rms"),
        ("note=a=b", "a=b"),
        ("note=", ""),
        ("depth=none", None),
        ("depth=automatic", None),
        ("depth=3", 3),
        ("scales=1,2,4", (1, 2, 4)),
        ("scales=8", (8,)),
        ("levels=2", 2),
        ("grid=8,4", (8, 4)),
    ],
)
def test_text_is_typed(text: str, value: object) -> None:
    (read,) = options.parse([text], SCHEMA, "--set").values()
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("widht=512", "unknown-key"),
        ("width", "usage"),
        ("width=1.5", "type"),
        ("width=1e3", "type"),
        ("width=0x10", "type"),
        ("width=1_000", "type"),
        ("width=", "type"),
        ("width=4", "range"),
        ("width=9999", "range"),
        ("rate=nan", "range"),
        ("rate=-inf", "range"),
        ("rate=1e999", "range"),
        ("rate=" + "9" * 20_000, "range"),
        ("depth=" + "9" * 20_000, "range"),
        ("depth=" + "9" * 19, "range"),
        ("rate=fast", "type"),
        ("causal=yes", "type"),
        ("norm=group", "range"),
        ("scales=1,x", "type"),
        ("levels=3", "range"),
        ("grid=8", "type"),
        ("grid=8,4,2", "type"),
    ],
)
def test_wrong_text_is_refused(text: str, code: str) -> None:
    with pytest.raises(UsageError) as refusal:
        options.parse([text], SCHEMA, "--set")
    assert refusal.value.code == code and refusal.value.where == "--set"


def test_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'width'"):
        options.parse(["widht=512"], SCHEMA, "--set")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        options.parse(["width=64", "width=128"], SCHEMA, "--set")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"width": True}, "type"),
        ({"width": "512"}, "type"),
        ({"width": 512.0}, "type"),
        ({"width": None}, "type"),
        ({"rate": float("nan")}, "range"),
        ({"rate": 10**400}, "range"),
        ({"depth": -(10**18)}, "range"),
        ({"rate": "1:30"}, "type"),
        ({"causal": 1}, "type"),
        ({"scales": 3}, "type"),
        ({"scales": [1, True]}, "type"),
        ({"levels": True}, "range"),
        ({"nope": 1}, "unknown-key"),
    ],
)
def test_typed_values_are_checked_too(values: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as refusal:
        options.parse(values, SCHEMA, lambda name: f"c.yaml:{name}")
    assert refusal.value.code == code and refusal.value.where == f"c.yaml:{next(iter(values))}"


def test_complete_adds_the_defaults() -> None:
    assert options.complete({"width": 64}, SCHEMA)["width"] == 64
    assert options.complete({}, SCHEMA)["scales"] == (1, 2)


@given(
    st.fixed_dictionaries(
        {
            "width": st.integers(8, 4096),
            "rate": st.floats(allow_nan=False, allow_infinity=False),
            "causal": st.booleans(),
            "norm": st.sampled_from(["layer", "rms"]),
            "note": st.text(),
            "depth": st.none() | st.integers(-(10**17), 10**17),
            "scales": st.lists(st.integers(0, 99)).map(tuple),
        }
    )
)
@settings(deadline=None)
def test_values_survive_json_and_text(values: dict[str, object]) -> None:
    assert options.parse(json.loads(json.dumps(values)), SCHEMA, "meta.json") == values
    texts = [f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in values.items()]
    assert options.parse(texts, SCHEMA, "--set") == values


def test_what_hides_options_is_refused() -> None:
    def keywords(**options: int) -> None: ...
    def positional(*options: int) -> None: ...
    def bare(width=1) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
    def required(width: int) -> None: ...
    def odd(width: dict[str, int] | None = None) -> None: ...
    def either(width: int | str = 1) -> None: ...
    def dangling(width: "Nowhere" = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (keywords, positional, bare, required, odd, either, dangling):
        with pytest.raises(PluginError) as refusal:
            options.schema(function)
        assert refusal.value.code == "plugin-protocol"


def test_what_is_annotated_beside_none_is_read() -> None:
    def pattern(every: Annotated[int, "one in so many", Range(2, 9)] | None = None) -> None: ...

    known = options.schema(pattern)
    assert (known["every"].kind, known["every"].help) == ("int or automatic", "one in so many")
    assert options.parse(["every=3"], known, "--set") == {"every": 3}
    with pytest.raises(UsageError, match="must be 2 .. 9"):
        options.parse(["every=1"], known, "--set")
