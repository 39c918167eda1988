"""Who stands on which side: training, validation, evaluation, the bank. No patient stands on two, whatever named them.

Two scans are of one patient where the names of their patients are equal, or a frame of them. A bare number such as
`001` names a patient within its data set alone, since many data sets count from 001; a data set is its folder, with
words such as `cine` or `train` left out of its name, or what the column `dataset` of a manifest says.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from cmrgz.data.cases import SPLITS, Split, split
from cmrgz.data.contents import contents
from cmrgz.data.importers import Case, keyed_hash
from cmrgz.data.importers.patients import join
from cmrgz.errors import DataError, warn

Cases = Sequence[Case]
BARE = 4
"""Most digits of a number that is taken for a count within its data set."""
CONTENT = "content"


def told_apart(groups: Sequence[Cases]) -> list[list[Case]]:
    """Return the cases of groups with equal subjects for equal patients, as far as names and data sets tell.

    Only names that are in several data sets, each of which tells its patients apart, change.
    """
    every = [case for group in groups for case in group]
    sets: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for case in every:
        sets[_key(case)].add(case.dataset if _is_local(case) else "")
        names[_key(case)].add(case.subject)
    several = {key for key, found in sets.items() if len(found) > 1 and "" not in found}
    if several:
        facts = f"{len(several)} of {len(sets)} names"
        warn("same-names", "data", "patients of one name in several data sets count as different ones", facts)
    called = _short({name for key in several for name in sets[key]})

    def told(case: Case) -> Case:
        key = _key(case)
        # One spelling for all, whichever was read first.
        name = min(names[key])
        return _renamed(case, f"{name}@{called[case.dataset]}" if key in several else name, case.told_by)

    return _with_own_ids([list(map(told, group)) for group in groups])


def _key(case: Case) -> str:
    """Return what the names of a patient have in common: `sub-P01` of one data set is `p01` of another."""
    return case.subject.casefold().removeprefix("sub-")


def _with_own_ids(groups: Sequence[Cases]) -> list[list[Case]]:
    """Return the cases with another id for each scan: in two data sets, scans of one patient may have one name."""
    images: dict[str, set[str]] = defaultdict(set)
    for case in (case for group in groups for case in group):
        images[case.id].add(str(case.image))

    def own(case: Case) -> Case:
        if len(images[case.id]) == 1:
            return case
        return dataclasses.replace(case, id=keyed_hash("case", case.subject, case.image.parent.name, case.image.name))

    return [list(map(own, group)) for group in groups]


def _short(names: set[str]) -> dict[str, str]:
    """Return the last folder of each data set where those differ: it is the same wherever the data lie."""
    short = {name: name.rpartition("/")[2] for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}


def _is_local(case: Case) -> bool:
    """Return whether the name of a patient holds within its data set alone."""
    return case.dataset_named or (case.subject.isdecimal() and len(case.subject) <= BARE)


def joined(groups: Sequence[Cases]) -> list[list[Case]]:
    """Return the cases of groups with one subject for the patients that share a frame, told in a line.

    Raises:
        DataError, ResourceError: A scan cannot be read.
    """
    every = [case for group in groups for case in group]
    at: dict[str, set[str]] = defaultdict(set)
    for case in every:
        for frame in contents(case):
            at[frame].add(case.subject)
    twins = [sorted(names) for names in at.values() if len(names) > 1]
    if not twins:
        return [list(group) for group in groups]
    names = [name for found in twins for name in found]
    of = dict(zip(names, join([found for found in twins for _ in found]), strict=True))
    facts = f"{len(of)} of {len({case.subject for case in every})} patients"
    warn("same-contents", "data", "patients whose scans are equal count as one", facts)
    return [[_renamed(case, of.get(case.subject, case.subject), CONTENT) for case in group] for group in groups]


def _renamed(case: Case, subject: str, told_by: str) -> Case:
    return case if subject == case.subject else dataclasses.replace(case, subject=subject, told_by=told_by)


def check_disjoint(sides: Mapping[str, Cases]) -> list[list[Case]]:
    """Refuse a patient who stands on two sides, by name or by content.

    Args:
        sides: The cases of each side, from whatever data sets.

    Returns:
        The cases of each side, with equal subjects for equal patients.

    Raises:
        DataError: `leak`, or a scan cannot be read.
    """
    # By contents as well as by names: the same scans are found in several public sets, under other names.
    found = joined(told_apart(list(sides.values())))
    patients = {name: {case.subject for case in cases} for name, cases in zip(sides, found, strict=True)}
    count = Counter(subject for side in patients.values() for subject in side)
    both = {subject for subject, n in count.items() if n > 1}
    if both:
        where = " and in the ".join(name for name, side in patients.items() if side & both)
        by_content = {c.subject for cases in found for c in cases if c.told_by == CONTENT} & both
        facts = f"{len(both)} of {len(count)} patients" + (f", {len(by_content)} by content" if by_content else "")
        hint = "name each on one side; if these are others, tell them apart by a manifest's column dataset"
        raise DataError("leak", "data", f"a patient is in the {where}", facts, hint)
    return found


# ---------------------------------------------------------------------- what data sets prescribe
def to_learn(cases: Cases) -> list[Case]:
    """Return what may be learned from: without what its data set prescribes for validation or test."""
    return _kept(cases, [case for case in cases if case.split in (None, "train")], "training")


def to_validate(cases: Cases) -> list[Case]:
    """Return what may be validated on: without what its data set prescribes for training or test."""
    return _kept(cases, [case for case in cases if case.split in (None, "val")], "validation")


def to_test(cases: Cases) -> list[Case]:
    """Return what may be tested on: what its data set prescribes for that; all but its training part if nothing."""
    tests = [case for case in cases if case.split == "test"]
    return _kept(cases, tests or [case for case in cases if case.split != "train"], "evaluation")


def _kept(cases: Cases, kept: list[Case], use: str) -> list[Case]:
    if cases and not kept:
        split = next(case.split for case in cases if case.split)
        hint = "a manifest without the column split prescribes nothing"
        raise DataError("split", "data", f"the data set prescribes nothing for {use}", f"all is {split}", hint)
    if len(kept) < len(cases):
        facts = f"{len(cases) - len(kept)} of {len(cases)} scans"
        warn("prescribed", "data", f"scans that the data set prescribes for another part are not used for {use}", facts)
    return kept


def split_together(groups: Sequence[Cases], fractions: Sequence[float], seed: int = 0) -> list[Split]:
    """Split each of several data sets by patient as `split` does; a patient of several is on one side of all.

    Raises:
        DataError: `leak` where data sets prescribe a patient two sides; what `split` and `joined` raise.
    """
    parts = joined(told_apart(groups))
    of: dict[str, str] = {}
    pooled = [case for part in parts for case in part if case.split]
    if pooled:
        of = {case.subject: name for name, found in split(pooled, fractions, seed).items() for case in found}
    result: dict[int, Split] = {}
    # The smallest first: of a larger one enough patients are left to fill its parts.
    for i in sorted(range(len(parts)), key=lambda i: len({case.subject for case in parts[i]})):
        settled = [dataclasses.replace(case, split=of.get(case.subject, case.split)) for case in parts[i]]
        result[i] = split(settled, fractions, seed)
        of |= {case.subject: name for name in SPLITS for case in result[i][name]}
    return [result[i] for i in range(len(parts))]
