"""What every diffusion family promises, tested for each that is installed."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan
from cmrgz.diffusion.inpainting import ALGORITHMS
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.model import Model, Tokenizer
from cmrgz.rng import Streams
from cmrgz.tasks import Setting, generate, inpaint

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit"]
FOLDERS = {"flow-dit": "ldm-dit"}
FAST = {"steps": 3, "moves": 1, "rounds": 2, "particles": 2}
SETTING = Setting(seed=3, item=(64, 64), options=FAST)
every = pytest.mark.parametrize("name", NAMES)


def streams(n: int, seed: int = 0) -> Streams:
    return Streams(seed, [("item", i) for i in range(n)])


@pytest.fixture(scope="module")
def items() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.nn.functional.interpolate(torch.rand(8, 1, n, n, generator=generator), 64) for n in (2, 8, 64)]
    return (torch.stack(coarse).mean(0) * 4 - 2).clamp(-1, 1)


@pytest.fixture(scope="module")
def tokenizer(items: Tensor) -> Tokenizer:
    options = {"channels": 4, "hidden": 8, "width": 8, "fine_width": 8, "blocks": 1}
    built = registry.build_tokenizer(registry.get_tokenizer("kl"), options)
    built.fit(items, rng=streams(8))
    return built.eval()


def build(name: str, tokenizer: Tokenizer, shaken: bool = True, **options: Any) -> LatentDiffusion:
    """Return a tiny model; `shaken` ones look as if they were trained, so that all of their weights matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = registry.build_model(registry.get_model(name), tokenizer, {"size": "tiny", **options})
        for parameter in model.network.parameters():
            if shaken:
                parameter.data += 0.05 * torch.randn_like(parameter)
    assert isinstance(model, LatentDiffusion)
    return model.eval()


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> LatentDiffusion:
    return build(request.param, tokenizer)


def scan(shape: tuple[int, int, int, int] = (2, 2, 72, 64)) -> Scan:
    values = np.random.default_rng(0).integers(0, 500, shape).astype(np.int16)
    return dataclasses.replace(Scan.blank(shape, (8, 1.4, 1.4), 0.04), stored=values)


def with_options(**options: Any) -> Setting:
    return dataclasses.replace(SETTING, options={**FAST, **options})


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@pytest.mark.parametrize("spec", ["patch:0.7", "box:0.3", "frames:0.5"])
def test_no_leak_and_known_voxels_stay(model: LatentDiffusion, algorithm: str, spec: str) -> None:
    image = scan()
    known = parse(spec).draw(image.shape, seed=1)
    setting = with_options(algorithm=algorithm)
    drawn = inpaint(model, image, known, setting)
    assert np.array_equal(drawn.samples[0][known], image.voxels[known])
    for fill in (np.nan, 1e6):
        other = dataclasses.replace(image, stored=np.where(known, image.voxels, fill).astype(np.float32))
        assert np.array_equal(inpaint(model, other, known, setting).samples, drawn.samples)


@pytest.mark.parametrize("algorithm", ["lanpaint", "cond", "smc"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batch_size_does_not_matter(model: LatentDiffusion, algorithm: str, batch_size: int) -> None:
    image = scan()
    known = parse("patch:0.5").draw(image.shape, seed=1)
    want = inpaint(model, image, known, with_options(algorithm=algorithm)).samples
    setting = dataclasses.replace(with_options(algorithm=algorithm), batch_size=batch_size)
    assert np.array_equal(inpaint(model, image, known, setting).samples, want)


def test_the_ends_of_the_dial(model: LatentDiffusion) -> None:
    image = scan((1, 1, 64, 64))
    same = inpaint(model, image, np.ones(image.shape, bool), SETTING)
    assert np.array_equal(same.samples[0], image.voxels) and same.network_calls == 0
    nothing = inpaint(model, image, np.zeros(image.shape, bool), SETTING)
    blank, drawn = generate(model, image.shape, SETTING)
    unit = [(d.samples - d.scale.low) / (d.scale.high - d.scale.low) for d in (nothing, drawn)]
    assert blank.shape == image.shape
    np.testing.assert_allclose(unit[0], unit[1], atol=1e-6)


def test_calls_are_told_exactly(model: LatentDiffusion) -> None:
    image = scan((1, 1, 64, 64))
    known = parse("patch:0.5").draw(image.shape, seed=1)
    assert inpaint(model, image, known, SETTING).network_calls == 6
    assert inpaint(model, image, known, with_options(algorithm="cond", sampler="heun")).network_calls == 5
    assert generate(model, (1, 1, 64, 64), SETTING)[1].network_calls == 3


@every
@torch.no_grad()
def test_any_grid_that_patches_tile(name: str, tokenizer: Tokenizer) -> None:
    model = build(name, tokenizer)
    for height, width in ((64, 96), (32, 128)):
        x = torch.zeros(2, 1, height, width)
        drawn = model.sample(x, torch.zeros_like(x, dtype=torch.bool), rng=streams(2), **FAST)
        assert drawn.shape == x.shape and bool(drawn.isfinite().all())


@every
@torch.no_grad()
def test_level_condition_and_context_matter(name: str, tokenizer: Tokenizer) -> None:
    network = build(name, tokenizer).network
    inputs, time = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 300.0])
    base = network(inputs, time, {"phase": torch.tensor([0.2, 0.2])})
    assert not torch.equal(network(inputs, time + 1, {"phase": torch.tensor([0.2, 0.2])}), base)
    assert not torch.equal(network(inputs, time, {"phase": torch.tensor([0.7, 0.2])})[0], base[0])
    assert torch.equal(network(inputs, time, {"phase": torch.tensor([0.7, 0.2])})[1], base[1])
    assert not torch.equal(network(inputs * torch.tensor([1.0] * 4 + [0.0] * 5)[:, None, None], time, None), base)
    unknown = network(inputs, time, {"phase": torch.full((2,), torch.nan)})
    torch.testing.assert_close(unknown, network(inputs, time, None))


@pytest.mark.gpu
@every
@torch.no_grad()
def test_cuda_agrees_with_the_cpu(name: str, tokenizer: Tokenizer) -> None:
    model = build(name, tokenizer)
    image, known = scan((1, 1, 64, 64)), parse("patch:0.5").draw((1, 1, 64, 64), seed=1)
    on_cpu = inpaint(model, image, known, SETTING).samples
    on_gpu = inpaint(model.to("cuda"), image, known, SETTING).samples
    np.testing.assert_allclose(on_gpu, on_cpu, atol=2.0)
    network = model.network
    inputs, time = torch.randn(4, 9, 8, 8, device="cuda"), torch.full((4,), 500.0, device="cuda")
    exact = network(inputs, time, None)
    with torch.autocast("cuda", torch.bfloat16):
        rough = network(inputs, time, None).float()
    assert (rough - exact).norm() < 0.03 * exact.norm()
    model.to("cpu")


# ---------------------------------------------------------------------- what is shipped
def parameters(model: Model) -> int:
    network = model.network
    assert isinstance(network, torch.nn.Module)
    return sum(p.numel() for p in network.parameters())


@every
def test_the_reference_size_is_that_of_ar_vq(name: str) -> None:
    """Within 20 %, so that families are compared at equal size."""
    with torch.device("meta"):
        tokenizer = registry.build_tokenizer(registry.get_tokenizer("kl"), {})
        ours = registry.build_model(registry.get_model(name), tokenizer, {})
        codes = registry.build_tokenizer(registry.get_tokenizer("vq"), {})
        theirs = registry.build_model(registry.get_model("ar-vq"), codes, {})
    assert parameters(ours) == pytest.approx(parameters(theirs), rel=0.2)


@every
@pytest.mark.parametrize("size", ["S", "B"])
def test_the_named_sizes_grow(name: str, size: str) -> None:
    with torch.device("meta"):
        tokenizer = registry.build_tokenizer(registry.get_tokenizer("kl"), {})
        counts = [
            parameters(registry.build_model(registry.get_model(name), tokenizer, {"size": s}))
            for s in ("tiny", "reference", size)
        ]
    assert counts[0] < counts[1] < counts[2] and counts[2] > 15e6


@every
def test_options_have_help_and_the_readme_lists_them(name: str) -> None:
    spec = registry.get_model(name)
    build, sample = registry.model_schema(spec), registry.sample_schema(spec)
    assert all(option.help for option in (*build.values(), *sample.values()))
    readme = (ROOT / "plugins" / FOLDERS.get(name, name) / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", readme, re.MULTILINE))
    assert {o: str(build[o].default) for o in build} == {o: rows.get(o) for o in build}
    kit = (ROOT / "cmrgz" / "diffusion" / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", kit, re.MULTILINE)
    assert {o: str(sample[o].default) for o in sample}.items() <= set(listed)
    assert "arXiv" in spec.cite


@every
def test_the_bundled_weights_open_and_name_their_data(name: str) -> None:
    model, meta = checkpoint.open_model(name)
    assert isinstance(model, LatentDiffusion) and meta.item == (128, 128)
    assert meta.training["validation"]["loss"] < 1 and meta.tokenizer is not None and meta.tokenizer.bundled
