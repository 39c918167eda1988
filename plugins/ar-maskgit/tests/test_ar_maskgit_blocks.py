"""ar-maskgit on blocks: what its frames tell one another, that it learns, and that its hints are kept."""

from pathlib import Path

import pytest
import torch
from cmrgz_ar_maskgit.network import MaskedTransformer, build
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.features import SHARES
from cmrgz.model import Condition
from cmrgz.testing.small import SmallTokenizer
from cmrgz.testing.subject import Subject, shaken, streams
from cmrgz.tokens.masked_codes import MaskedTokenModel

C, GRID = 4, (4, 6)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.every("ar-maskgit")[-1]


def network(axes: str = "tzyx", patch: int = 2) -> MaskedTransformer:
    torch.manual_seed(0)
    model = build(
        SmallTokenizer(), GRID, width=32, heads=2, inner=48, layers=2, local=16, patch=patch, free=4, axes=axes
    )  # type: ignore[arg-type]
    assert isinstance(model.network, MaskedTransformer)
    return model.network.eval()


def inputs(t: int, z: int) -> tuple[Tensor, Tensor, Condition, Tensor]:
    """Return vectors, what is shown of them, places, and hints."""
    generator, n = torch.Generator().manual_seed(0), t * z * 24
    shown = torch.rand(2, n, generator=generator) < 0.5
    time, height = torch.arange(t)[None, :, None] / 20, torch.arange(z)[None, None] * 10.0
    told = {"time": time.expand(2, t, z), "height": height.expand(2, t, z)}
    hints = torch.randn(2, n, 2 * C + SHARES, generator=generator)
    return torch.randn(2, n, C, generator=generator), shown, told, hints


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (12, 1), (1, 5)])
@torch.no_grad()
def test_any_number_of_frames_fits(shape: tuple[int, int], patch: int) -> None:
    assert shaken(network(patch=patch))(*inputs(*shape)).shape == (2, shape[0] * shape[1] * 24, 32)


@torch.no_grad()
def test_training_starts_with_frames_apart_and_ends_with_them_together() -> None:
    vectors, shown, told, hints = inputs(3, 2)
    changed = vectors.clone()
    changed[:, 24:48] += 1.0  # the first phase of the second slice
    for model, apart in ((network(), True), (shaken(network()), False)):
        same = (model(vectors, shown, told, hints) == model(changed, shown, told, hints)).all(-1).unflatten(1, (6, 24))
        assert not same[:, 1].any()
        others = same[:, [0, 2, 3, 4, 5]]
        assert bool(others.all()) if apart else not others.any()


@torch.no_grad()
def test_what_is_not_shown_is_not_read() -> None:
    model, (vectors, shown, told, hints) = shaken(network()), inputs(3, 2)
    other = torch.where(shown[..., None], vectors, torch.nan)
    assert torch.equal(model(vectors, shown, told, hints), model(other, shown, told, hints))


@torch.no_grad()
def test_it_is_told_when_and_where_a_frame_is() -> None:
    model, (vectors, shown, told, hints) = shaken(network()), inputs(3, 2)
    base = model(vectors, shown, told, hints)
    torch.testing.assert_close(model(vectors, shown, {**told, "time": told["time"] + 1}, hints), base)  # a whole cycle
    for other in ({"time": 3 * told["time"]}, {"height": 2 * told["height"]}, {"phase": told["time"]}):
        assert not torch.allclose(model(vectors, shown, {**told, **other}, hints), base)


def test_a_frame_model_has_the_tensors_it_had() -> None:
    frames, blocks = (network(axes).state_dict() for axes in ("yx", "tzyx"))
    assert not set(frames) - set(blocks) and all(name.startswith("along") for name in set(blocks) - set(frames))


def test_a_little_training_helps(subject: Subject) -> None:
    def error(model: torch.nn.Module) -> float:
        assert isinstance(model, MaskedTokenModel)
        with torch.no_grad():
            return float(sum(model.loss(subject.items(seed=500 + i), rng=streams(4, i)) for i in range(4)))

    assert error(subject.trained(25)) < 0.98 * error(subject.fresh())


def test_a_checkpoint_keeps_the_hints(subject: Subject, tmp_path: Path) -> None:
    subject.save(tmp_path / "c")
    again, meta = checkpoint.open_model(tmp_path / "c")
    assert isinstance(again, MaskedTokenModel) and again.prior is not None and meta.options["axes"] == "tzyx"
    assert bool((again.prior.hints.spread != 1).any())
    x, known = subject.items(2), subject.known_part(2)
    assert torch.equal(subject.draw(x * known, known, model=again.eval()), subject.draw(x * known, known))
