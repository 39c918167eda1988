import json
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmrgz import config, options
from cmrgz.errors import UsageError


def refused(data: bytes | str, code: str) -> UsageError:
    with pytest.raises(UsageError) as refusal:
        config.parse(data.encode() if isinstance(data, str) else data, "c.yaml")
    assert refusal.value.code == code
    assert len(refusal.value.line) <= 240 and refusal.value.line.isprintable()
    return refusal.value


def read(text: str) -> dict[str, Any]:
    return config.parse(text.encode(), "c.yaml").values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("010", "010"),
        ("0o10", "0o10"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ('"true"', "true"),
        ("${HOME}", "${HOME}"),
        ("$(rm -rf x)", "$(rm -rf x)"),
        ("-.inf", float("-inf")),
        ("[1, a, {b: 2.0}]", [1, "a", {"b": 2.0}]),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    result = read(f"key: {text}")["key"]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("", "empty", ""),
        ("# only a comment\n", "empty", ""),
        ("---\n", "empty", ""),
        ("- a\n- b\n", "type", ":1:1"),
        ("word\n", "type", ":1:1"),
        ("a: [1, 2\n", "syntax", ":2:1"),
        ("a:\n\tb: 1\n", "syntax", ":2:1"),
        ("a: 1\x00\n", "syntax", ""),
        ("a: 1\n---\nb: 2\n", "syntax", ":2:1"),
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", ":3:1"),
        ("a: {b: 1, b: 2}\n", "duplicate-key", ":1:11"),
        ("1: a\n", "type", ":1:1"),
        ("? [a, b]\n: 1\n", "type", ":1:3"),
        ("x: !!python/object/apply:os.mkdir [evil]\n", "unsafe-tag", ":1:4"),
        ("x: !include other.yaml\n", "unsafe-tag", ":1:4"),
        ("x: !!str 1\n", "unsafe-tag", ":1:4"),
        ("!!python/name:os.system x: 1\n", "unsafe-tag", ":1:1"),
        ("a: &a [*a]\n", "alias", ":1:8"),
        ("a: &a 1\nb: [" + "*a," * 101 + "]\n", "alias", ""),
        ("a: " + "[" * 40 + "]" * 40, "depth", ":1:35"),
        ("a: " + "[" * 100_000, "depth", ":1:35"),
        ("a: " + "x" * (1 << 20), "range", ""),
        ("a: [" + "1," * 200_000 + "]", "range", ""),
        ("a: 1\nb: " + "9" * 20_000, "range", ":2:4"),
        ("x0: &x0 1\n" + "".join(f"x{n}: &x{n} [*x{n - 1}]\n" for n in range(1, 90)), "depth", ":32:"),
        ("a: [-" + "9" * 500 + "]\n", "range", ":1:5"),
        ("<<: 3\na: 1\n", "type", ":1:5"),
    ],
)
def test_faults_are_named_with_line_and_column(text: str, code: str, place: str) -> None:
    start = time.process_time()
    error = refused(text, code)
    assert error.where.startswith("c.yaml" + place)
    assert time.process_time() - start < 2


def test_latin_1_is_refused_where_it_stands() -> None:
    assert refused(b"a: 1\nnote: caf\xe9\n", "encoding").where == "c.yaml:2:10"


def test_anchors_and_merge_keys_are_read() -> None:
    values = read("base: &b {lr: 0.1, steps: 3}\nrun:\n  <<: *b\n  steps: 9\ncopy: *b\n")
    assert values["run"] == {"lr": 0.1, "steps": 9} and values["copy"] == values["base"]
    values["copy"]["lr"] = 7
    assert values["base"]["lr"] == 0.1, "an alias is a copy"
    assert read("a: &a 1\nb: *a\nc: &a 2\nd: *a\n") == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert read("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n")["c"] == {"x": 1, "y": 2}


def test_byte_order_mark_and_crlf_are_fine() -> None:
    assert config.parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n", "c.yaml").values == {"a": 1, "b": {"c": 2}}


def test_where_names_the_place_of_a_value() -> None:
    loaded = config.parse(b"a: 1\ntrain:\n  steps: 0\n  tags: [x, y]\n", "c.yaml")
    assert loaded.where("train", "steps") == "c.yaml:3:10"
    assert loaded.where("train", "tags", 1) == "c.yaml:4:13"
    assert loaded.where("train", "absent") == "c.yaml:3:3"


# JSON writes other planes as surrogate pairs, which YAML does not know.
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",)), max_size=100)  # a key has < 1024
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, PLAIN, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_json_is_read_as_written(values: dict[str, Any]) -> None:
    assert read(json.dumps(values)) == values


@given(st.binary(max_size=200) | st.text("a:[]{}&*!|>-'\"#\n\t 01e.<", max_size=60).map(str.encode))
@example(b"a: !<tag:yaml.org,2002:python/object:x> 1")
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert isinstance(config.parse(data, "c.yaml").values, dict)
    except UsageError as error:
        assert error.line.isprintable()


def settings_of_a_run(seed: Annotated[int, options.Range(0)] = 0) -> None: ...
def settings_of_training(lr: Annotated[float, options.Range(0)] = 1e-3, steps: int = 1, batch: int = 1) -> None: ...


def checked(path: Path) -> dict[str, Any]:
    """Read a file of the collection of bad inputs as a command would: each block against its schema."""
    loaded = config.load(path)
    blocks = {"model", "train", "run"}
    for block, keys in loaded.values.items():
        if block == "train":
            schema = options.schema(settings_of_training)
            options.parse(keys, schema, lambda name: loaded.where("train", name))
        elif block not in blocks:
            options.parse({block: keys}, options.schema(settings_of_a_run), loaded.where(block))
    return loaded.values


def test_collection_of_bad_configs(bad_inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = json.loads((bad_inputs / "manifest.json").read_text())
    entries = [
        e for e in manifest["entries"] if e["kind"] == "yaml" and e["reason"] != "name"
    ]  # no option is a name of a file
    assert len(entries) > 10
    for entry in entries:
        path = bad_inputs / entry["file"]
        if entry["expect"] == "accept":
            values = checked(path)
            assert entry.get("check", {}).get("train.lr", values["train"]["lr"]) == values["train"]["lr"]
            continue
        with pytest.raises(UsageError) as refusal:
            checked(path)
        assert refusal.value.code == entry["reason"], entry
    assert not list(tmp_path.iterdir()), "nothing was run"


def test_faults_of_pyyaml_stay_ours() -> None:
    with pytest.raises(UsageError) as refusal:
        config.parse(b"a: b: c\n", "c.yaml")
    assert isinstance(refusal.value.__cause__, yaml.YAMLError)
