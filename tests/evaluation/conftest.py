"""Small phantoms to evaluate on and to learn from, and a sweep without networks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data.phantom import Phantom
from cmrgz.data.phantom.files import write_dataset
from cmrgz.evaluation.competitors import Draws, Kind, Method, own
from cmrgz.evaluation.frames import Frame, read_frames
from cmrgz.evaluation.lineup import Lineup
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.references import references
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.sweep import Sweep
from cmrgz.rng import derive

ITEM, SPACING = (64, 64), 3.6
MakeSweep = Callable[..., Sweep]


class Noise(Method):
    """A model without a network: the mean of what is known, and noise about it."""

    kind: ClassVar[Kind] = "model"
    random: ClassVar[bool] = True

    def __init__(self, name: str = "noise", level: float = 0.1) -> None:
        super().__init__(name, {"level": level})
        self.level, self.drawn, self.family = level, 0, "test"

    def draw(self, frames: Sequence[Frame], known: Sequence[NDArray[np.bool_]], seed: int, samples: int) -> Draws:
        self.drawn += len(frames)
        result = np.empty((samples, len(frames), *frames[0].x.shape), np.float32)
        for i, (frame, seen) in enumerate(zip(frames, own(frames, known), strict=True)):
            middle = frame.unit[seen].mean() if seen.any() else 0.5
            for k in range(samples):
                rng = np.random.default_rng(derive(seed, frame.id, k))
                result[k, i] = middle + self.level * rng.standard_normal(seen.shape)
        return Draws.of(frames, result.clip(0, 1), 1.0, samples * len(frames))

    def louder(self) -> "Noise":
        """Return the same method with another option."""
        return Noise(self.name, 2 * self.level)


@pytest.fixture(scope="session")
def noise() -> type[Noise]:
    """Return the class `Noise`."""
    return Noise


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of four subjects, 64 x 64, three slices and phases, with labels."""
    folder = tmp_path_factory.mktemp("evaluated") / "phantoms"
    write_dataset(folder, (Phantom(9000 + k, size=64, nsub=1, fit_rv=False) for k in range(4)), 3, 3)
    return folder


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another data set of three subjects."""
    folder = tmp_path_factory.mktemp("learned") / "phantoms"
    write_dataset(folder, (Phantom(100 + k, size=64, nsub=1, fit_rv=False) for k in range(3)), 3, 3)
    return folder


@pytest.fixture(scope="session")
def frames(phantoms: Path) -> list[Frame]:
    from cmrgz.data import cases

    return read_frames(cases.find(phantoms), ITEM, "2", spacing=SPACING)


@pytest.fixture(scope="session")
def bank(training: Path) -> list[Frame]:
    from cmrgz.data import cases

    return read_frames(cases.find(training), ITEM, "6", spacing=SPACING)


@pytest.fixture
def make_sweep(frames: list[Frame], bank: list[Frame]) -> MakeSweep:
    """Return `make(methods=[Noise()], **options)` -> a sweep without networks."""

    def make(methods: Sequence[Method] | None = None, plain: bool = False, **options: object) -> Sweep:
        sweep = SweepOptions(**{"ratios": (0.25, 0.75), "samples": 2, **options})  # type: ignore[arg-type]
        chosen = [Noise()] if methods is None else list(methods)
        others = references([], bank) if plain else []
        return Sweep(sweep, Lineup(frames, bank, [*chosen, *others]), Scorer(shown=frozenset([frames[0].id])), batch=4)

    return make
