"""Splits are by patient and stable; what is stored shows no patient."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.cases import SPLITS, Case, builtin, find, split, split_hash
from cmrgz.errors import DataError, UsageError

subjects = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=40, unique=True)
fractions = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.05, 1)).map(
    lambda f: (f[0] / sum(f), f[1] / sum(f), 1 - (f[0] + f[1]) / sum(f))
)


def cases_of(names: Sequence[str], each: int = 2) -> list[Case]:
    return [Case(f"{s}/{i}", s, Path(f"{s}-{i}.nii")) for s in names for i in range(each)]


def of(parts: dict[str, list[Case]]) -> dict[str, str]:
    return {c.subject: name for name, cases in parts.items() for c in cases}


@settings(deadline=None)
@given(subjects, fractions, st.integers(0, 9))
def test_every_scan_is_in_one_split_with_its_patient(names: list[str], f: tuple[float, ...], seed: int) -> None:
    cases = cases_of(names)
    parts = split(cases, f, seed)
    assert sorted(c.id for c in chain(*parts.values())) == sorted(c.id for c in cases)
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {c.subject for c in parts[a]} & {c.subject for c in parts[b]}
    for name, share in zip(SPLITS, f, strict=True):
        found = len({c.subject for c in parts[name]})
        assert abs(found - share * len(names)) <= 2
        assert found or len(names) < 3


@settings(deadline=None)
@given(subjects, st.randoms(use_true_random=False), st.integers(0, 9))
def test_order_of_the_scans_does_not_matter(names: list[str], rnd: object, seed: int) -> None:
    cases = cases_of(names)
    shuffled = list(cases)
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    assert of(split(cases, seed=seed)) == of(split(shuffled, seed=seed))


@settings(deadline=None)
@given(subjects, fractions, st.integers(0, 9))
def test_one_more_patient_moves_at_most_one_across_each_border(names: list[str], f: tuple[float, ...], s: int) -> None:
    before, after = of(split(cases_of(names), f, s)), of(split(cases_of([*names, "one more"]), f, s))
    assert sum(before[name] != after[name] for name in names) <= 2


def test_another_seed_is_another_split() -> None:
    cases = cases_of([f"p{i}" for i in range(50)])
    assert of(split(cases, seed=0)) != of(split(cases, seed=1))


def test_prescribed_splits_win() -> None:
    cases = [Case(str(i), f"p{i}", Path(f"{i}.nii"), split="test" if i < 5 else None) for i in range(30)]
    cases += [Case("x", "p0", Path("x.nii"))]
    found = of(split(cases, (1, 0, 0)))
    assert [found[f"p{i}"] for i in range(30)] == ["test"] * 5 + ["train"] * 25


def test_a_patient_in_two_splits_is_refused() -> None:
    cases = [Case("a", "p", Path("a.nii"), split="train"), Case("b", "p", Path("b.nii"), split="test")]
    with pytest.raises(DataError, match=r"error\[leak\]"):
        split(cases)


@pytest.mark.parametrize("wrong", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.2, 0), (float("nan"), 0.5, 0.5)])
def test_wrong_fractions_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"error\[range\]"):
        split(cases_of(["a"]), wrong)


def test_no_scan_is_refused() -> None:
    with pytest.raises(DataError, match=r"error\[empty-dataset\]"):
        split([])


# ---------------------------------------------------------------------- split files
@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "JANE^DOE"
    root.mkdir()
    for i in range(10):
        (root / f"MRN1234{i}.nii").write_bytes(bytes([i]))
    return root


def test_ids_do_not_depend_on_the_place_but_on_the_key(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find(dataset)
    moved = dataset.rename(dataset.parent / "elsewhere")
    assert [c.id for c in find(moved)] == [c.id for c in before]
    monkeypatch.setenv("CMRGZ_ID_KEY", "secret")
    assert not {c.id for c in find(moved)} & {c.id for c in before}
    assert before[0].subject_id != [c.subject_id for c in before][1]


def test_split_hash_is_of_contents_and_membership(dataset: Path) -> None:
    parts = split(find(dataset))
    digest = split_hash(parts)
    assert split_hash({k: v[::-1] for k, v in parts.items()}) == digest
    assert split_hash({**parts, "train": parts["train"][1:]}) != digest
    parts["train"][0].image.write_bytes(b"other")
    assert split_hash(parts) != digest


# ---------------------------------------------------------------------- built-in data
def test_builtin_renders_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path))
    done: list[int] = []
    cases = builtin(2, seed=5, size=32, spacing=6.0, phases=2, progress=done.append)
    times = [c.image.stat().st_mtime_ns for c in cases]
    more = builtin(3, seed=5, size=32, spacing=6.0, phases=2)
    assert done == [1, 2] and more[:2] == cases
    assert [c.image.stat().st_mtime_ns for c in more[:2]] == times
    assert [c.subject for c in more] == ["sub-0005", "sub-0006", "sub-0007"]
    assert all(c.group and c.label and c.label.exists() and c.image.is_relative_to(tmp_path) for c in more)


def test_builtin_renders_again_what_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path))
    (case,) = builtin(1, size=32, spacing=6.0, phases=2)
    assert case.label is not None
    before = case.image.read_bytes()
    case.label.unlink()
    case.image.write_bytes(b"torn")
    builtin(1, size=32, spacing=6.0, phases=2)
    assert case.image.read_bytes() == before and case.label.exists()


def test_no_subject_is_refused() -> None:
    with pytest.raises(UsageError, match=r"error\[range\]"):
        builtin(0)
