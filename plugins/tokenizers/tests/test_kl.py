"""What `kl` promises: local, standardised, never below its closed form."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cmrgz_tokenizers import kl
from cmrgz_tokenizers.closed_form import sample_patches
from cmrgz_tokenizers.kl import LocalAutoencoder
from torch import Tensor, nn

from cmrgz import checkpoint, registry
from cmrgz.errors import UsageError
from cmrgz.latents import known_positions
from cmrgz.plugin import Extent
from cmrgz.rng import Streams

Holes = Callable[[torch.Size, torch.Generator], Tensor]
SMALL = {"hidden": 24, "width": 16, "fine_width": 8, "blocks": 1}
patches_of = pytest.mark.parametrize("patch", [8, 4])


def streams(n: int, seed: int = 0) -> Streams:
    return Streams(seed, [("loss", i) for i in range(n)])


def built(items: Tensor, patch: int = 8, shaken: bool = False) -> LocalAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = kl.build(patch, channels=6, **SMALL)
        tokenizer.fit(items, rng=Streams(0, [("fit",)]))
        for parameter in (p for p in tokenizer.parameters() if shaken and p.requires_grad):
            parameter.data += 0.05 * torch.randn_like(parameter)
    return tokenizer.eval()


def boxes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    known = torch.ones(shape, dtype=torch.bool)
    for item in known:
        top, left = torch.randint(0, shape[-1] // 2, (2,), generator=generator).tolist()
        height, width = torch.randint(5, shape[-1] // 2, (2,), generator=generator).tolist()
        item[:, top : top + height, left : left + width] = False
    return known


def leaking(tokenizer: LocalAutoencoder, x: Tensor, known: Tensor, generator: torch.Generator) -> float:
    """Return the share of known positions whose vectors change with what is hidden."""
    fills = [torch.where(known, x, torch.rand(x.shape, generator=generator) * 2 - 1) for _ in range(2)]
    at = known_positions(known, tokenizer.patch)
    a, b = (tokenizer.encode(fill).movedim(1, -1)[at] for fill in fills)
    return float((a != b).any(-1).float().mean())


@patches_of
@torch.no_grad()
def test_nothing_hidden_reaches_a_known_position(patch: int, items: Tensor) -> None:
    tokenizer = built(items, patch, shaken=True)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        assert leaking(tokenizer, items, boxes(items.shape, generator), generator) == 0
    known = boxes(items.shape, torch.Generator().manual_seed(9))
    at = known_positions(known, patch)
    wrong = tokenizer.encode(items.masked_fill(~known, torch.nan)).movedim(1, -1)[at]
    assert torch.equal(wrong, tokenizer.encode(items).movedim(1, -1)[at])


@torch.no_grad()
def test_the_leak_test_catches_normalisation_over_an_item(items: Tensor) -> None:
    class Contextual(LocalAutoencoder):
        def encode(self, x: Tensor) -> Tensor:
            return nn.functional.group_norm(super().encode(x), 2)

    control = Contextual(8, 6, 24, built(items).decoder)
    control.load_state_dict(built(items).state_dict())
    generator = torch.Generator().manual_seed(0)
    assert leaking(control, items, boxes(items.shape, generator), generator) > 0.3


@patches_of
@torch.no_grad()
def test_it_starts_at_the_principal_components(patch: int, items: Tensor) -> None:
    """Step 0 is the best linear round trip through as many numbers (Eckart and Young 1936)."""
    tokenizer = built(items, patch)
    sample = sample_patches(items, patch, torch.Generator().manual_seed(0))
    values = torch.linalg.eigvalsh(torch.cov(sample.T))
    lost = float(values[:-6].sum()) / patch**2
    error = float((tokenizer.decode(tokenizer.encode(items)) - items).square().mean())
    assert error == pytest.approx(lost, rel=0.02)
    figures = tokenizer.metrics(items)
    assert figures["psnr_total"] == pytest.approx(figures["closed_psnr_total"], abs=1e-3)
    assert 0.9 < figures["std_least"] <= figures["std_most"] < 1.1


def test_training_improves_it_and_follows_the_statistics(items: Tensor) -> None:
    tokenizer = built(items)
    with torch.no_grad():
        tokenizer.mean += 1.0
        tokenizer.std *= 3.0
    trained = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    before = float(tokenizer.loss(items, rng=streams(16)).detach())
    tokenizer.train()
    for step in range(20):
        optimizer.zero_grad()
        tokenizer.loss(items, rng=streams(16, step)).backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
    assert tokenizer.mean.abs().max() < 0.95 and tokenizer.std.max() < 2.7
    after = float(tokenizer.eval().loss(items, rng=streams(16)).detach())
    assert after < 0.97 * before
    kept = tokenizer.mean.clone()
    tokenizer.loss(items, rng=streams(16))
    assert torch.equal(tokenizer.mean, kept), "evaluation leaves the statistics"
    figures = tokenizer.metrics(items)
    assert figures["psnr_total"] > figures["closed_psnr_total"]


@torch.no_grad()
def test_vectors_do_not_depend_on_batch_or_precision(items: Tensor) -> None:
    tokenizer = built(items, shaken=True)
    vectors = tokenizer.encode(items)
    assert vectors.shape == (16, 6, 8, 8)
    torch.testing.assert_close(torch.cat([tokenizer.encode(x[None]) for x in items]), vectors, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(items), vectors)


@torch.no_grad()
def test_a_checkpoint_keeps_the_statistics(items: Tensor, tmp_path: Path) -> None:
    tokenizer = built(items, shaken=True)
    tokenizer.mean += 0.3
    tokenizer.std *= 1.7
    meta = checkpoint.describe(registry.get_tokenizer("kl"), {"channels": 6, **SMALL}, extent=Extent(item=(64, 64)))
    checkpoint.save(tmp_path / "saved", tokenizer, meta)
    loaded, _ = checkpoint.open_tokenizer(tmp_path / "saved")
    vectors = tokenizer.encode(items)
    assert torch.equal(loaded.encode(items), vectors) and torch.equal(loaded.decode(vectors), tokenizer.decode(vectors))


def test_options(items: Tensor) -> None:
    with pytest.raises(UsageError, match="at most 16 at patch 4"):
        registry.build_tokenizer(registry.get_tokenizer("kl"), {"patch": 4, "channels": 17})
    schema = registry.build_schema(registry.get_tokenizer("kl"))
    assert all(option.help for option in schema.values())
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    section = readme.split("\n## `kl`\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    assert listed == [(name, str(schema[name].default)) for name in schema]


@torch.no_grad()
def test_the_bundled_weights_are_standardised_and_better_than_closed_form() -> None:
    """On phantoms that it has not seen; the figures of the real patient are in its meta."""
    _, meta = checkpoint.open_tokenizer("kl")
    for patient in meta.training["patients"]:
        assert patient["psnr_total"] > patient["closed_psnr_total"] + 1
    assert meta.training["patients"][0]["psnr_total"] > 34
