"""What a run tells its model of patients: which conditions, what each may be, and what is said of each scan."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cmrgz.data.cases import Case
from cmrgz.data.told import Told, told, values_of
from cmrgz.errors import DataError, UsageError, did_you_mean
from cmrgz.plugin import Spec
from cmrgz.vocabulary import LONGEST, MOST, NAMES, NUMBERS, Vocabulary, merged, number_of


@dataclass(frozen=True)
class Patients:
    """What a run tells its model of patients.

    Attributes:
        vocabulary: The conditions and their values.
        said: Scan -> what is said of its patient.
    """

    vocabulary: Vocabulary = field(default_factory=dict)
    said: Mapping[Path, Told] = field(default_factory=dict)

    def of(self, case: Case) -> dict[str, float]:
        """Return what the network is told of a scan's patient, NaN where nothing is known."""
        said = self.said.get(case.image, {})
        return {name: number_of(self.vocabulary, name, said.get(name)) for name in self.vocabulary}

    def sha256(self, cases: Iterable[Case]) -> str | None:
        """Return the hash of all that is said of cases, whatever their order; None where nothing is asked for."""
        if not self.vocabulary:
            return None
        said = sorted(json.dumps([case.id, self.said[case.image]], sort_keys=True) for case in cases)
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


def check_names(spec: Spec, names: Sequence[str]) -> None:
    """Refuse conditions that there are not, and to tell a tokenizer anything of a patient.

    Raises:
        UsageError: `unknown-key` or `usage`.
    """
    if names and spec.kind != "model":
        what = f"'{spec.name}' is a tokenizer: only models are told of patients"
        raise UsageError("usage", "option conditions", what)
    for name in names:
        if name not in NAMES:
            hint = did_you_mean(name, NAMES)
            raise UsageError("unknown-key", "option conditions", f"there is no '{name}'", hint=hint)


def read_patients(
    names: Sequence[str], train: Sequence[Case], held: Sequence[Case], earlier: Vocabulary | None = None
) -> Patients:
    """Return what is said of the patients of a run; label maps are read where no table has a volume.

    Args:
        names: Conditions that are asked for.
        train: What is trained on; its values are those of the vocabulary.
        held: What is validated on.
        earlier: The vocabulary of what training starts from, all of which stays.

    Raises:
        DataError: `empty-dataset`: the training data does not say one of them, or it has too many values to be one;
            see `cmrgz.data.told`.
    """
    wanted = list(dict.fromkeys([*(earlier or {}), *names]))
    said = {case.image: told(case, wanted) for case in [*train, *held]} if wanted else {}
    learned = [said[case.image] for case in train] if wanted else []
    # Those of the training data alone: of a word that only held-out patients have nothing is learned.
    values = {name: () if name in NUMBERS else values_of(learned, name) for name in wanted}
    for name in names:
        _check(name, values[name], learned)
    return Patients(merged(earlier or {}, values), said)


def _check(name: str, values: Sequence[str], learned: Sequence[Told]) -> None:
    where = "training data"
    if all(said[name] is None for said in learned):
        hint = "name it in a manifest's column"
        raise DataError("empty-dataset", where, f"says '{name}' of no patient", f"{len(learned)} scans", hint)
    if len(values) > MOST or any(len(value) > LONGEST for value in values):
        raise DataError(
            "range", where, f"'{name}' has too many values to be a condition", f"{len(values)}, {MOST} at most"
        )
