"""The algorithms, held against a posterior that is known exactly. The bounds are those of the samplers' own claims."""

from typing import Annotated, Any

import pytest
import torch
from torch import Tensor

from cmrgz import options
from cmrgz.diffusion import inpainting
from cmrgz.diffusion.inpainting import ALGORITHMS, Algorithm, Problem, declared
from cmrgz.diffusion.inpainting.replace import replace
from cmrgz.diffusion.levels import DiffusionPath, Level
from cmrgz.errors import UsageError
from cmrgz.rng import systematic
from cmrgz.testing.mixtures import Mixture, Score, hole, mixture_model, score

MIXTURE = Mixture.rings()
OBJECTIVES = ["v", "eps", "x0", "flow"]


def measured(objective: Any, kind: str, share: float, **options: Any) -> Score:
    return score(mixture_model(MIXTURE, objective), MIXTURE, hole(kind, share), **options)


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_default_samples_the_posterior_of_scattered_holes(objective: str, share: float) -> None:
    found = measured(objective, "scattered", share, items=16)
    assert found.energy < 1.08 and abs(found.bias) < 0.05 and 0.75 < found.variance < 1.15
    assert found.calls == 72


@pytest.mark.parametrize(("kind", "share"), [("box", 0.25), ("box", 0.5), ("bottom", 0.5), ("top", 0.5)])
def test_the_default_samples_the_posterior_of_contiguous_holes(kind: str, share: float) -> None:
    found = measured("v", kind, share, items=16)
    assert found.energy < 1.15 and 0.8 < found.variance < 1.45


@pytest.mark.parametrize("objective", ["v", "flow"])
def test_replacement_does_not(objective: str) -> None:
    """The test has power: the usual baseline fails it, with more steps as well, and it spreads too far."""
    few, many = (measured(objective, "scattered", 0.75, items=16, algorithm="replace", steps=n) for n in (50, 150))
    assert few.energy > 1.2 and many.energy > 1.2 and few.variance > 1.7 and few.bias > 0.5
    assert measured(objective, "box", 0.25, items=16, algorithm="replace").energy > 1.2


def test_other_algorithms_are_between() -> None:
    default = measured("v", "scattered", 0.75, items=16)
    bad = measured("v", "scattered", 0.75, items=16, algorithm="replace")
    for algorithm in ("repaint", "dps"):
        found = measured("v", "scattered", 0.75, items=16, algorithm=algorithm)
        assert found.energy < 1.15 < bad.energy, algorithm
    assert default.energy < bad.energy
    few, more = (measured("v", "box", 0.25, items=8, algorithm="smc", particles=k).energy for k in (2, 16))
    assert more < few


def test_pnpflow_is_near_the_truth_and_has_little_variety() -> None:
    found = measured("flow", "scattered", 0.25, items=16, algorithm="pnpflow")
    assert found.variance < 0.4 and found.bias < 0.5


def test_more_moves_close_the_gap_of_a_box() -> None:
    few, many = (measured("v", "box", 0.25, items=16, steps=10, moves=n).energy for n in (2, 20))
    assert many < few and many < 1.1


@pytest.mark.parametrize("late", [False, True])
def test_the_injected_part_has_the_level_of_the_state(late: bool) -> None:
    """Its variance before every call is 1 - ab of that call; injected late, it is that of the level before."""
    levels = DiffusionPath("linear").levels(10)
    known, y = torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.full((1, 1, 64, 64), 2.0)
    generator = torch.Generator().manual_seed(0)
    seen: list[tuple[Level, Tensor]] = []

    def denoise(z: Tensor, level: Level) -> Tensor:
        seen.append((level, z))
        return y

    def noise() -> Tensor:
        return torch.randn(1, 1, 64, 64, generator=generator)

    def spread(k: int) -> Problem:
        raise AssertionError

    problem = Problem(denoise, y, known, levels, noise, lambda n: torch.zeros(1, n), lambda: None, spread)
    assert torch.equal(replace(problem, late=late), y)
    for i, (level, z) in enumerate(seen[1:], 1):
        right = levels[i - 1] if late else level
        assert float(z.var()) == pytest.approx(1 - right.ab, rel=0.1)
        assert float(z.mean()) == pytest.approx(2 * right.signal, abs=0.06)


def restart(
    problem: Problem, *, rounds: Annotated[int, "times that each level is done"] = 3, cold: bool = True
) -> Tensor:
    return problem.y


def test_an_algorithm_declares_its_options_by_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inpainting, "ALGORITHMS", {"smc": ALGORITHMS["smc"], "restart": Algorithm(restart, steps=2)})

    @options.extended(declared("way", ()))
    def sample(*, way: str = "smc", **own: Any) -> Any:
        return own

    found = options.schema(sample)
    assert list(found) == ["way", "particles", "rounds", "cold"] and found["particles"].range is not None
    assert found["cold"].only == ("way", ("restart",)) and found["rounds"].help == "times that each level is done"
    assert sample(way="restart", rounds=2) == {"rounds": 2}
    told = options.effective({"way": "restart", "cold": False}, found, lambda every: every, "--set")
    assert told == {"way": "restart", "rounds": 3, "cold": False}
    with pytest.raises(UsageError, match="'particles' goes with way=smc, not with restart; restart has rounds, cold"):
        options.effective({"way": "restart", "particles": 8}, found, lambda every: every, "--set")


def test_a_name_means_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {"repaint": ALGORITHMS["repaint"], "restart": Algorithm(restart, steps=2)}
    monkeypatch.setattr(inpainting, "ALGORITHMS", two)
    with pytest.raises(TypeError, match="'rounds' of 'restart' is declared otherwise by 'repaint'"):
        declared("algorithm", ())


def test_systematic_resampling_keeps_the_shares() -> None:
    share = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]])
    parents = systematic(share, torch.tensor([[0.3], [0.9]]))
    assert parents.tolist() == [[0, 0, 1, 2], [2, 2, 2, 2]]
    u = torch.rand(5000, 1, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(5000, 4)
    counts = torch.nn.functional.one_hot(systematic(weights, u), 4).float().sum(1).mean(0)
    torch.testing.assert_close(counts, 4 * weights[0], rtol=0.05, atol=0.02)
