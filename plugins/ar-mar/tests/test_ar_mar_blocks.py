"""ar-mar on blocks: what its frames tell one another, that it learns, and that its hints are kept."""

from pathlib import Path

import pytest
import torch
from cmrgz_ar_mar.network import SIZES, Hourglass
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.features import SHARES
from cmrgz.hints import Hints
from cmrgz.testing.small import SmallTokenizer
from cmrgz.testing.subject import Subject, shaken, streams
from cmrgz.tokens.masked_vectors import MaskedVectorModel

C, GRID = SmallTokenizer().channels, (4, 6)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.every("ar-mar")[-1]


def inputs(t: int, z: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return vectors, what is shown of them, and hints."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(2, 1, t, z, *GRID, generator=generator) < 0.5
    hints = torch.randn(2, 2 * C + SHARES, t, z, *GRID, generator=generator)
    return torch.randn(2, C, t, z, *GRID, generator=generator) * shown, shown, hints


def network() -> Hourglass:
    torch.manual_seed(0)
    return Hourglass(C, SIZES["tiny"], "tzyx").eval()


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (12, 1), (1, 5)])
@torch.no_grad()
def test_any_number_of_frames_fits(shape: tuple[int, int]) -> None:
    assert shaken(network())(*inputs(*shape)[:2], None, inputs(*shape)[2]).shape == (2, 32, *shape, *GRID)


@torch.no_grad()
def test_training_starts_with_frames_apart_and_ends_with_them_together() -> None:
    vectors, shown, hints = inputs(3, 2)
    changed = vectors.clone()
    changed[:, :, 0, 1] += 1.0
    for model, apart in ((network(), True), (shaken(network()), False)):
        same = (model(vectors, shown, None, hints) == model(changed, shown, None, hints)).all(1)
        assert not same[:, 0, 1].any()
        others = torch.cat([same[:, 1:].flatten(1), same[:, 0, 0].flatten(1)], 1)
        assert bool(others.all()) if apart else not others.any()


@torch.no_grad()
def test_it_is_told_when_and_where_a_frame_is() -> None:
    model, (vectors, shown, hints) = shaken(network()), inputs(3, 2)
    time, height = torch.arange(3)[None, :, None] / 20, torch.arange(2)[None, None] * 10.0
    told = {"time": time.expand(2, 3, 2), "height": height.expand(2, 3, 2)}
    base = model(vectors, shown, told, hints)
    torch.testing.assert_close(model(vectors, shown, {**told, "time": told["time"] + 1}, hints), base)  # a whole cycle
    for other in ({"time": 3 * told["time"]}, {"height": 2 * told["height"]}, {"phase": told["time"]}):
        assert not torch.allclose(model(vectors, shown, {**told, **other}, hints), base)


def test_a_frame_model_has_the_tensors_it_had() -> None:
    frames, blocks = Hourglass(C, SIZES["tiny"]), network()
    added = set(blocks.state_dict()) - set(frames.state_dict())
    assert not set(frames.state_dict()) - set(blocks.state_dict()) and all(name.startswith("along") for name in added)


def test_a_little_training_helps(subject: Subject) -> None:
    def error(model: torch.nn.Module) -> float:
        assert isinstance(model, MaskedVectorModel)
        with torch.no_grad():
            return float(sum(model.loss(subject.items(seed=500 + i), rng=streams(4, i)) for i in range(4)))

    assert error(subject.trained(60)) < 0.95 * error(subject.fresh())


def test_a_checkpoint_keeps_the_hints(subject: Subject, tmp_path: Path) -> None:
    subject.save(tmp_path / "c")
    again, meta = checkpoint.open_model(tmp_path / "c")
    assert isinstance(again, MaskedVectorModel) and isinstance(again.hints, Hints) and meta.options["axes"] == "tzyx"
    assert bool((again.hints.spread != 1).any())
    x, known = subject.items(2), subject.known_part(2)
    assert torch.equal(subject.draw(x * known, known, model=again.eval()), subject.draw(x * known, known))
