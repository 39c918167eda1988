"""ar-mar as a model: what the conformance suite does not ask."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cmrgz_ar_mar import SPEC
from cmrgz_ar_mar.head import MlpDenoiser
from cmrgz_ar_mar.network import SIZES, Hourglass, build
from torch import Tensor

from cmrgz import registry
from cmrgz.data.masks import parse
from cmrgz.diffusion.head import DiffusionHead
from cmrgz.rng import Streams
from cmrgz.tasks import Setting, inpaint
from cmrgz.testing.subject import Subject, items, known_part, scan, streams
from cmrgz.tokens.masked_vectors import MaskedVectorModel
from cmrgz.tokens.schedule import automatic_steps

ROOT = Path(__file__).resolve().parents[1]
ORDERS = [{}, {"order": "random", "solver": "ddpm", "head_steps": 4}, {"schedule": "cosine", "steps": 5}]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.of("ar-mar")


def setting(subject: Subject, **options: Any) -> Setting:
    return dataclasses.replace(subject.setting, options={"head_steps": 3, **options})


@pytest.mark.parametrize("options", ORDERS, ids=str)
@pytest.mark.parametrize("spec", ["patch:0.7", "box:0.3", "frames:0.5"])
def test_no_leak_and_known_voxels_stay(subject: Subject, options: dict[str, Any], spec: str) -> None:
    image = scan((1, 2, 72, 64) if spec != "frames:0.5" else (2, 1, 72, 64))
    known = parse(spec).draw(image.shape, seed=1)
    drawn = inpaint(subject.model, image, known, setting(subject, **options))
    assert np.array_equal(drawn.samples[0][known], image.voxels[known])
    for fill in (np.nan, 1e6):
        other = dataclasses.replace(image, stored=np.where(known, image.voxels, fill).astype(np.float32))
        assert np.array_equal(inpaint(subject.model, other, known, setting(subject, **options)).samples, drawn.samples)


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_neighbours_and_places_in_the_batch_do_not_matter(subject: Subject, options: dict[str, Any]) -> None:
    """Bit for bit, among neighbours that have more or less hidden and so take more or fewer steps."""
    x, known = items(), known_part()
    given = torch.where(known, x, 0.0)
    options = {"head_steps": 3, "steps": 0, **options}
    want = subject.draw(given, known, **options)
    for order in (torch.arange(8).flip(0), torch.tensor([3, 0, 0, 1, 1, 2, 2, 0]), torch.full((8,), 7)):
        rng = Streams(0, [("item", int(i)) for i in order])
        assert torch.equal(subject.draw(given[order], known[order], rng=rng, **options), want[order])
    few = known.clone()
    few[1:] = True  # all neighbours are done after one step
    few[1:, :, :16, :16] = False
    assert torch.equal(subject.draw(given, few, **options)[0], want[0])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batch_size_does_not_matter(subject: Subject, batch_size: int) -> None:
    image = scan((2, 2, 72, 64))
    known = parse("patch:0.5").draw(image.shape, seed=1)
    want = inpaint(subject.model, image, known, setting(subject)).samples
    other = dataclasses.replace(setting(subject), batch_size=batch_size)
    assert np.array_equal(inpaint(subject.model, image, known, other).samples, want)


def test_the_paper_like_preset_neither_leaks_nor_changes_what_is_known(subject: Subject) -> None:
    x, known = items(2), known_part(2)
    first = subject.draw(torch.where(known, x, 0.0), known, preset="paper_like")
    hidden = torch.where(known, x, torch.nan)
    assert torch.equal(subject.draw(hidden, known, preset="paper_like", temperature=0.5, order="halton"), first)
    other = subject.draw(torch.where(known, -x, 0.0), known, preset="paper_like")
    assert not torch.equal(other[~known], first[~known])


@pytest.mark.parametrize(("spec", "hidden"), [("box:0.25", None), ("0.999", 64)])
def test_calls_are_told_and_follow_what_is_hidden(subject: Subject, spec: str, hidden: int | None) -> None:
    image = scan((1, 1, 64, 64))
    known = parse(spec).draw(image.shape, seed=0)
    cells = known[0, 0].reshape(8, 8, 8, 8).all((1, 3))
    assert hidden is None or hidden == int((~cells).sum())
    drawn = inpaint(subject.model, image, known, setting(subject, steps=0))
    assert drawn.network_calls == int(automatic_steps(torch.tensor([int((~cells).sum())])))


def test_temperature_narrows_what_is_drawn(subject: Subject) -> None:
    x, known = torch.zeros(16, 1, 64, 64), torch.zeros(16, 1, 64, 64, dtype=torch.bool)
    spread = [float(subject.draw(x, known, temperature=t).std(0).mean()) for t in (0.0, 0.5, 1.0)]
    assert spread[0] < spread[1] < spread[2]


def test_gradients_reach_every_weight_but_those_of_the_tokenizer(subject: Subject) -> None:
    model = subject.fresh().train()
    for parameter in model.parameters():
        parameter.grad = None
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02)
    condition = {name: torch.tensor([0.1, torch.nan] * 4) for name in SPEC.conditions}
    model.loss(items(), condition=condition, rng=streams(8)).backward()
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        assert (grad is None) if name.startswith("tokenizer") else (grad is not None and bool(grad.any())), name


@pytest.mark.parametrize("grid", [(8, 8), (16, 16), (4, 10)])
def test_any_even_grid_fits(grid: tuple[int, int]) -> None:
    network = Hourglass(16, SIZES["tiny"])
    hints = torch.randn(2, 20, *grid)
    features = network(torch.randn(2, 16, *grid), torch.ones(2, 1, *grid, dtype=torch.bool), None, hints)
    assert features.shape == (2, 32, *grid)


def test_every_position_sees_every_other() -> None:
    network = Hourglass(16, SIZES["tiny"])
    vectors, shown, hints = (
        torch.zeros(1, 16, 8, 8),
        torch.zeros(1, 1, 8, 8, dtype=torch.bool),
        torch.zeros(1, 20, 8, 8),
    )
    base = network(vectors, shown, None, hints)
    shown[..., 0, 0], vectors[..., 0, 0] = True, 1.0
    assert ((network(vectors, shown, None, hints) - base).abs().amax(1) > 0).all()


def test_the_reference_has_the_size_of_the_other_families() -> None:
    with torch.device("meta"):
        model = build(registry.build_tokenizer(registry.get_tokenizer("kl"), {}))
    count = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("tokenizer"))
    assert 2.4e6 < count < 3.6e6


def test_two_features_learn_two_distributions() -> None:
    """The head learns what no mean can tell: of one feature a ring of two clusters, of the other a single one."""
    torch.manual_seed(0)
    head = DiffusionHead(MlpDenoiser(2, 2, 64, 2), "flow")
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3)
    features = torch.eye(2).repeat_interleave(64, 0)[None]

    def truth(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        sign = torch.randint(0, 2, (1, 128, 1), generator=generator) * 2.0 - 1
        noise = 0.2 * torch.randn(1, 128, 2, generator=generator)
        return torch.where(features[..., :1] > 0, sign * torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.5])) + noise

    for step in range(250):
        optimiser.zero_grad()
        head.loss(features, truth(step), Streams(0, [(step,)])).mean().backward()
        optimiser.step()
    with torch.no_grad():
        noise = torch.randn(1, 128, 1, 2, generator=torch.Generator().manual_seed(7))
        drawn = head.draw(features, noise)[0]
    two, one = drawn[:64], drawn[64:]
    near = torch.stack([(two - c * torch.tensor([1.0, -1.0])).norm(dim=1) < 0.7 for c in (1, -1)]).float().mean(1)
    assert near.sum() > 0.95 and 0.3 < float(near[0]) < 0.7
    assert ((one - 0.5).norm(dim=1) < 0.7).float().mean() > 0.97
    assert 0.1 < float(one.std(0).mean()) < 0.3


def test_the_readme_lists_the_options() -> None:
    text = (ROOT / "README.md").read_text()
    for schema in (registry.build_schema(SPEC), registry.sample_schema(SPEC)):
        for option in schema.values():
            default = str(option.default).replace("(", "").replace(")", "").replace(" ", "")
            assert any(f"`{option.name}` |" in line and default in line for line in text.splitlines()), option.name


def test_it_is_masked_autoregression(subject: Subject) -> None:
    assert isinstance(subject.model, MaskedVectorModel)
