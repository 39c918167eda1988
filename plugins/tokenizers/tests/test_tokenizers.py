"""What both tokenizers promise."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.errors import CmrgzWarning, PluginError, UsageError
from cmrgz.model import CodeTokenizer
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.training.validation import _warn_below_closed_form

Built = Callable[..., CodeTokenizer]
every = pytest.mark.parametrize("name", ["vq", "fsq"])
grids = pytest.mark.parametrize("patch", [8, 4])


def streams(n: int, seed: int = 0) -> Streams:
    return Streams(seed, [("loss", i) for i in range(n)])


def summed(tokenizer: CodeTokenizer, codes: Tensor) -> Tensor:
    """Return the vectors (b, c, h, w) of codes (b, h, w, levels)."""
    parts = [tokenizer.embed(codes[..., level], level) for level in range(tokenizer.levels)]
    return torch.stack(parts).sum(0).movedim(-1, 1)


@every
@grids
@torch.no_grad()
def test_shapes(name: str, patch: int, built: Built, items: Tensor) -> None:
    tokenizer, x = built(name, patch), items[:2, :, :, :48]
    grid = (64 // patch, 48 // patch)
    vectors = tokenizer.encode(x)
    codes = tokenizer.quantise(vectors)
    assert vectors.shape == (2, tokenizer.channels, *grid)
    assert codes.shape == (2, *grid, tokenizer.levels) and codes.dtype == torch.int64
    assert 0 <= codes.min() and codes.max() < tokenizer.vocab
    assert tokenizer.embed(codes[..., 0], 0).shape == (2, *grid, tokenizer.channels)
    assert tokenizer.decode(vectors).shape == x.shape


@every
@torch.no_grad()
def test_vectors_and_codes_do_not_depend_on_the_batch(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name, shaken=True)
    alone = torch.cat([tokenizer.encode(x[None]) for x in items])
    torch.testing.assert_close(alone, tokenizer.encode(items), rtol=1e-5, atol=1e-5)
    order = torch.arange(len(items)).flip(0)
    assert torch.equal(tokenizer.encode(items[order]), tokenizer.encode(items)[order])


@every
@torch.no_grad()
def test_codes_do_not_depend_on_the_precision_of_a_run(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name, shaken=True)
    codes = tokenizer.quantise(tokenizer.encode(items))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.quantise(tokenizer.encode(items)), codes)


@every
@torch.no_grad()
def test_the_decoder_sees_the_neighbours(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name, shaken=True)
    vectors = tokenizer.encode(items[:1])
    other = vectors.clone()
    other[:, :, 3, 3] += 0.3
    changed = tokenizer.decode(other)[0, 0] != tokenizer.decode(vectors)[0, 0]
    assert changed[24:32, 32:40].any() and changed[16:24, 24:32].any(), "a neighbour beside and one above"


@every
def test_training_improves_the_decoder_and_leaves_the_codes(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name)
    frozen = {n: p.clone() for n, p in tokenizer.state_dict().items() if "quantiser" in n or "sis." in n}
    assert frozen
    trained = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    before = float(tokenizer.loss(items, rng=streams(16)).detach())
    tokenizer.train()
    for step in range(15):
        optimizer.zero_grad()
        tokenizer.loss(items, rng=streams(16, step)).backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
    after = float(tokenizer.eval().loss(items, rng=streams(16)).detach())
    assert after < 0.97 * before
    state = tokenizer.state_dict()
    assert all(torch.equal(state[n], value) for n, value in frozen.items())
    figures = tokenizer.metrics(items)
    total = "psnr_total" if name == "fsq" else f"psnr_{tokenizer.levels}"
    assert figures[total] > figures[f"closed_{total}"]


@every
def test_a_closed_form_is_the_seed_and_the_items(name: str, built: Built, items: Tensor) -> None:
    state = torch.get_rng_state()
    first, second = built(name), built(name)
    assert torch.equal(torch.get_rng_state(), state)
    for (n, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), n


@every
@torch.no_grad()
def test_the_loss_is_a_function_of_its_streams(name: str, built: Built, items: Tensor) -> None:
    tokenizer, state = built(name), torch.get_rng_state()
    losses = [float(tokenizer.loss(items, rng=streams(16, seed))) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)


@every
@grids
@torch.no_grad()
def test_metrics_agree_with_a_round_trip(name: str, patch: int, built: Built, items: Tensor) -> None:
    tokenizer = built(name, patch, shaken=True)
    figures = tokenizer.metrics(items)
    codes = tokenizer.quantise(tokenizer.encode(items))
    y = tokenizer.decode(summed(tokenizer, codes)).clamp(-1, 1)
    expected = (-10 * ((y - items) / 2).square().flatten(1).mean(1).log10()).mean()
    total = "psnr_total" if name == "fsq" else f"psnr_{tokenizer.levels}"
    assert figures[total] == pytest.approx(float(expected), abs=1e-3)
    for level in range(tokenizer.levels):
        used = len(codes[..., level].unique()) / tokenizer.vocab
        assert figures[f"code_use_{level + 1}"] == pytest.approx(used)
        assert 1 <= figures[f"perplexity_{level + 1}"] <= used * tokenizer.vocab * 1.001


@every
@torch.no_grad()
def test_a_decoder_below_its_closed_form_is_reported(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name)
    _warn_below_closed_form([tokenizer.metrics(items)])
    tokenizer.decoder.leave.bias += 0.5
    with pytest.warns(CmrgzWarning, match="below-closed-form.*held-out patient 1") as caught:
        _warn_below_closed_form([built(name).metrics(items), tokenizer.metrics(items)])
    assert len(caught) == 1


@every
@torch.no_grad()
def test_a_checkpoint_decodes_to_the_bit(name: str, built: Built, items: Tensor, tmp_path: Path) -> None:
    tokenizer = built(name, shaken=True)
    options = {"width": 16, "fine_width": 8, "blocks": 1}
    options |= {"vocab": 16, "levels": 5} if name == "vq" else {"groups": 3, "hidden": 24}
    meta = checkpoint.describe(registry.get_tokenizer(name), options, extent=Extent(item=(64, 64)))
    checkpoint.save(tmp_path / "saved", tokenizer, meta)
    loaded, again = checkpoint.open_tokenizer(tmp_path / "saved")
    assert isinstance(loaded, CodeTokenizer) and again.name == name
    vectors = tokenizer.encode(items)
    codes = tokenizer.quantise(vectors)
    assert torch.equal(loaded.encode(items), vectors)
    assert torch.equal(loaded.quantise(vectors), codes)
    assert torch.equal(summed(loaded, codes), summed(tokenizer, codes))
    assert torch.equal(loaded.decode(vectors), tokenizer.decode(vectors))


@every
def test_shapes_can_be_checked_without_memory(name: str, built: Built) -> None:
    with torch.device("meta"):
        skeleton = registry.build_tokenizer(registry.get_tokenizer(name), {})
    assert all(value.is_meta for value in skeleton.state_dict().values())


@every
@pytest.mark.parametrize("option", [{"patch": 6}, {"patch": 16}, {"width": 0}, {"blocks": -1}, {"fine_width": 1 << 20}])
def test_options_are_bounded(name: str, option: dict[str, int]) -> None:
    with pytest.raises(UsageError) as caught:
        registry.build_tokenizer(registry.get_tokenizer(name), option)
    assert caught.value.code == "range"


@every
def test_every_option_has_help(name: str) -> None:
    assert all(option.help for option in registry.build_schema(registry.get_tokenizer(name)).values())


@every
def test_the_readme_lists_the_options(name: str) -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    section = readme.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
    schema = registry.build_schema(registry.get_tokenizer(name))
    assert re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE) == [
        (o, str(schema[o].default)) for o in schema
    ]


@every
def test_the_installed_spec_is_sound(name: str) -> None:
    try:
        spec = registry.get_tokenizer(name)
    except PluginError as error:
        pytest.fail(error.line)
    assert "arXiv" in spec.cite and len(spec.summary) < 80
