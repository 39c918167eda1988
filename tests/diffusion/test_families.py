"""What every diffusion family promises beyond the conformance suite, tested for each that is installed."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmrgz import checkpoint, registry
from cmrgz.data.masks import parse
from cmrgz.diffusion.inpainting import ALGORITHMS
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.model import Model
from cmrgz.tasks import Setting, generate, inpaint
from cmrgz.testing.subject import Subject, scan, streams

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit"]
FOLDERS = {"flow-dit": "ldm-dit"}
every = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", params=NAMES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject.of(request.param)


def with_options(subject: Subject, **options: Any) -> Setting:
    return dataclasses.replace(subject.setting, options={**subject.options, **options})


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@pytest.mark.parametrize("spec", ["patch:0.7", "box:0.3", "frames:0.5"])
def test_no_leak_and_known_voxels_stay(subject: Subject, algorithm: str, spec: str) -> None:
    image = scan((2, 2, 72, 64))
    known = parse(spec).draw(image.shape, seed=1)
    setting = with_options(subject, algorithm=algorithm)
    drawn = inpaint(subject.model, image, known, setting)
    assert np.array_equal(drawn.samples[0][known], image.voxels[known])
    for fill in (np.nan, 1e6):
        other = dataclasses.replace(image, stored=np.where(known, image.voxels, fill).astype(np.float32))
        assert np.array_equal(inpaint(subject.model, other, known, setting).samples, drawn.samples)


@pytest.mark.parametrize("algorithm", ["lanpaint", "cond", "smc"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batch_size_does_not_matter(subject: Subject, algorithm: str, batch_size: int) -> None:
    image = scan((2, 2, 72, 64))
    known = parse("patch:0.5").draw(image.shape, seed=1)
    setting = with_options(subject, algorithm=algorithm)
    want = inpaint(subject.model, image, known, setting).samples
    setting = dataclasses.replace(setting, batch_size=batch_size)
    assert np.array_equal(inpaint(subject.model, image, known, setting).samples, want)


def test_calls_are_told_exactly(subject: Subject) -> None:
    image = scan((1, 1, 64, 64))
    known = parse("patch:0.5").draw(image.shape, seed=1)
    assert inpaint(subject.model, image, known, subject.setting).network_calls == 6
    solver = with_options(subject, algorithm="cond", sampler="heun")
    assert inpaint(subject.model, image, known, solver).network_calls == 5
    assert generate(subject.model, (1, 1, 64, 64), subject.setting)[1].network_calls == 3


@torch.no_grad()
def test_any_grid_that_patches_tile(subject: Subject) -> None:
    for height, width in ((64, 96), (32, 128)):
        x = torch.zeros(2, 1, height, width)
        drawn = subject.draw(x, torch.zeros_like(x, dtype=torch.bool))
        assert drawn.shape == x.shape and bool(drawn.isfinite().all())


@torch.no_grad()
def test_level_condition_and_context_matter(subject: Subject) -> None:
    network = subject.model.network
    assert isinstance(network, torch.nn.Module)
    inputs, time = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0, 300.0])
    base = network(inputs, time, {"phase": torch.tensor([0.2, 0.2])})
    assert not torch.equal(network(inputs, time + 1, {"phase": torch.tensor([0.2, 0.2])}), base)
    other = network(inputs, time, {"phase": torch.tensor([0.7, 0.2])})
    assert not torch.equal(other[0], base[0]) and torch.allclose(other[1], base[1], atol=1e-6)
    without = inputs * torch.tensor([1.0] * 4 + [0.0] * 5)[:, None, None]
    assert not torch.equal(network(without, time, {"phase": torch.tensor([0.2, 0.2])}), base)


@pytest.mark.gpu
@torch.no_grad()
def test_cuda_draws_what_the_cpu_draws(subject: Subject) -> None:
    image, known = scan((1, 1, 64, 64)), parse("patch:0.5").draw((1, 1, 64, 64), seed=1)
    on_cpu = inpaint(subject.model, image, known, subject.setting).samples
    on_gpu = inpaint(subject.model.to("cuda"), image, known, subject.setting).samples
    np.testing.assert_allclose(on_gpu, on_cpu, atol=2.0)
    network = subject.model.network
    assert isinstance(network, torch.nn.Module)
    inputs, time = torch.randn(4, 9, 8, 8, device="cuda"), torch.full((4,), 500.0, device="cuda")
    exact = network(inputs, time, None)
    with torch.autocast("cuda", torch.bfloat16):
        rough = network(inputs, time, None).float()
    assert (rough - exact).norm() < 0.03 * exact.norm()
    subject.model.to("cpu")


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
def test_the_readme_lists_the_options(name: str) -> None:
    spec = registry.get_model(name)
    build, sample = registry.build_schema(spec), registry.sample_schema(spec)
    readme = (ROOT / "plugins" / FOLDERS.get(name, name) / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", readme, re.MULTILINE))
    assert {o: str(build[o].default) for o in build} == {o: rows.get(o) for o in build}
    kit = (ROOT / "cmrgz" / "diffusion" / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", kit, re.MULTILINE)
    assert {o: str(sample[o].default) for o in sample}.items() <= set(listed)
    assert "arXiv" in spec.cite


@pytest.mark.parametrize("name", [n for n in NAMES if registry.get_model(n).checkpoint])
@torch.no_grad()
def test_the_bundled_weights_draw_pictures(name: str) -> None:
    """Dark air and a bright body, not noise: neighbours are alike, and the values spread as those of scans do."""
    model, meta = checkpoint.open_model(name)
    assert isinstance(model, LatentDiffusion) and meta.extent.plane == (128, 128)
    assert meta.tokenizer is not None and meta.tokenizer.bundled
    x = torch.zeros(2, 1, *meta.item)
    drawn = model.sample(x, torch.zeros_like(x, dtype=torch.bool), rng=streams(2), steps=10)
    assert -1 < drawn.mean() < -0.3 and 0.1 < drawn.std() < 0.6
    assert drawn.diff(dim=-1).square().mean() < 0.2 * drawn.var()
