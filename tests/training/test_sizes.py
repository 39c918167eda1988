"""Presets of every family: the same names, comparable sizes, explicit options first, items of 256 x 256."""

from functools import cache
from typing import Any

import pytest
import torch

from cmrgz import checkpoint, registry
from cmrgz.errors import UsageError
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.skeletons import check_options
from cmrgz.training.extents import settled
from cmrgz.training.plan import Plan

NAMES = ("ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit", "ar-vq", "ar-maskgit", "ar-mar", "ar-var")
AR = ("ar-vq", "ar-maskgit", "ar-var")


@cache
def tokenizer(name: str) -> Tokenizer:
    return checkpoint.open_tokenizer(name)[0]


def build(name: str, **options: Any) -> Model:
    spec = registry.get_model(name)
    assert spec.tokenizer is not None
    return registry.build_model(spec, tokenizer(spec.tokenizer), options)


@cache
def parameters(name: str, size: str) -> int:
    """Return the number of trained parameters of a model of a size, built as for frames of 256 x 256."""
    options = grid_of(name, 256)
    model = check_options(lambda: build(name, size=size, **options))
    assert model is not None, "it is checked before it takes memory"
    network = model.network
    assert isinstance(network, torch.nn.Module)
    head = getattr(model, "head", None)
    return sum(p.numel() for part in (network, head) if part is not None for p in part.parameters())


def grid_of(name: str, side: int) -> dict[str, Any]:
    """Return the option `grid` that training sets for items of an edge."""
    spec = registry.get_model(name)
    assert spec.tokenizer is not None
    patch = tokenizer(spec.tokenizer).patch
    plan = settled(Plan(name=name, output=None), spec, Extent(item=(side, side)), patch)  # type: ignore[arg-type]
    return {key: value for key, value in plan.build.items() if key == "grid"}


@pytest.mark.parametrize("name", NAMES)
def test_sizes_have_the_same_names_and_grow(name: str) -> None:
    schema = registry.build_schema(registry.get_model(name))["size"]
    assert (schema.kind, schema.default) == ("tiny | reference | S | B", "reference")
    tiny, reference, small, base = (parameters(name, size) for size in ("tiny", "reference", "S", "B"))
    assert tiny < 1e6 < reference < 6e6 < 15e6 < small < 60e6 < base < 250e6, (tiny, reference, small, base)


@pytest.mark.parametrize("name", NAMES)
def test_items_of_256_are_learned_and_drawn(name: str) -> None:
    model = build(name, size="tiny", **grid_of(name, 256))
    model.extent = Extent(item=(256, 256))
    x = torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    streams = Streams(0, [("a",), ("b",)])
    model.fit(x, rng=streams)
    loss = model.loss(x, rng=streams)
    loss.backward()
    assert loss.isfinite() and any(p.grad is not None and p.grad.any() for p in model.parameters())
    known = torch.ones(1, 1, 256, 256, dtype=torch.bool)
    known[..., 128:160, 128:160] = False
    few = {"steps": 2} if "steps" in registry.sample_schema(registry.get_model(name)) else {}
    drawn = model.eval().sample(x[:1] * known, known, rng=Streams(0, [("a",)]), **few)
    assert drawn.shape == (1, 1, 256, 256) and drawn.isfinite().all()


@pytest.mark.parametrize("name", AR)
def test_an_option_that_is_given_wins_over_the_size(name: str) -> None:
    for options, width in (({"width": 64}, 64), ({}, 32)):
        model = build(name, size="tiny", **options)
        assert {p.shape[-1] for key, p in model.named_parameters() if key.endswith(".norm.weight")} >= {width}
    with pytest.raises(UsageError, match=r"range.*100 features, 6 heads"):
        build(name, size="S", width=100)


@pytest.mark.parametrize("name", AR)
def test_a_checkpoint_from_before_sizes_is_what_it_was(name: str) -> None:
    """Its meta has no size, and says all that one stands for."""
    spec = registry.get_model(name)
    stored = checkpoint.peek_model(name)
    assert "size" not in stored.options and stored.options["width"] == 192
    old, _ = checkpoint.open_model(name)
    options = {key: value for key, value in stored.options.items() if key not in SIZED}
    assert spec.tokenizer is not None
    with torch.random.fork_rng():
        new = registry.build_model(spec, tokenizer(spec.tokenizer), options)
    assert {key: value.shape for key, value in new.state_dict().items()}.items() >= {
        key: value.shape for key, value in old.state_dict().items() if "condition" not in key
    }.items()


SIZED = ("width", "heads", "inner", "layers", "local", "head_inner", "content_layers", "target_layers")
