from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from cmrgz.errors import CheckpointError
from cmrgz.evaluation.extractors import LOCAL, open_extractor
from cmrgz.evaluation.extractors.inception import Inception
from cmrgz.evaluation.extractors.resnet import ResNet50
from cmrgz.evaluation.extractors.vision_transformer import DinoV2


def by_formula(made: Any) -> Any:
    """Fill a network with waves of the size that keeps activations alive."""
    for key, value in [*made.named_parameters(), *made.named_buffers()]:
        if value.is_floating_point():
            wave = torch.sin(0.7 * torch.arange(value.numel(), dtype=torch.float64) ** 1.1 + sum(map(ord, key)))
            fan = value[0].numel() if value.ndim > 1 else 0
            one = key.endswith(("var", "lambda1")) or (value.ndim == 1 and key.endswith("weight"))
            values = wave * (2 / fan) ** 0.5 if fan else one + 0.1 * wave
            value.data = values.reshape(value.shape).float()
    return made.eval()


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
NETWORKS = {"dinov2": lambda: DinoV2(64, 2), "resnet50": ResNet50, "inception": Inception}
PARAMETERS = {DinoV2: 22_056_576 - 384, ResNet50: 25_557_032 - 2_049_000, Inception: 23_834_568 - 2_049_000}
"""Published, less what only classifies or trains. Against torchvision, pytorch-fid and transformers with weights drawn
at random the features were equal to the last bit."""


PINNED = {
    "dinov2": [-1.0559, -0.70376, -0.45155, 1.1888, 0.78831],
    "resnet50": [0.0, 0.015058, 0.0, 0.27058, 0.13111],
    "inception": [0.0, 0.0, 0.0, 0.056669, 0.035407],
}


def network(name: str) -> Any:
    torch.manual_seed(0)
    made = NETWORKS[name]()
    for key, value in [*made.named_parameters(), *made.named_buffers()]:
        if value.is_floating_point() and not key.endswith("running_var"):
            value.data += 0.02 * torch.randn_like(value)
        if value.ndim == 4:  # as it is drawn first, Inception gives all images the same features
            torch.nn.init.kaiming_normal_(value)
    return made.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    heads = {"dinov2": "embeddings.mask_token", "resnet50": "fc.weight", "inception": "AuxLogits.fc.bias"}
    for name in LOCAL:
        state = {k: v.contiguous() for k, v in network(name).state_dict().items()} | {heads[name]: torch.zeros(2)}
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in LOCAL}


def images(n: int = 2) -> Any:
    return np.random.default_rng(0).random((n, 64, 64)).astype(np.float32)


@pytest.mark.parametrize("kind", PARAMETERS)
def test_networks_have_the_published_number_of_parameters(kind: Any) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in kind().parameters()) == PARAMETERS[kind]


@pytest.mark.parametrize("name", LOCAL)
def test_features_are_those_when_compared_with_the_reference(name: str) -> None:
    """Values of when the networks were equal to those of torchvision, pytorch-fid and transformers."""
    y, x = torch.meshgrid(torch.arange(224.0) / 70, torch.arange(224.0) / 40, indexing="ij")
    image = torch.sin(3 * x + torch.tensor([0.0, 1, 2])[:, None, None]) * torch.cos(5 * y + x * y)
    with torch.no_grad():
        features = by_formula(NETWORKS[name]())(image[None])[0]
    found = [float(features[i]) for i in (0, 7, 21, -1)] + [float(features.abs().mean())]
    assert found == pytest.approx(PINNED[name], rel=5e-3, abs=1e-4)


@pytest.mark.parametrize("name", LOCAL)
def test_features_are_those_of_the_weights_in_the_file(name: str, weights: dict[str, Path]) -> None:
    extractor = open_extractor(f"{name}={weights[name]}")
    x = torch.from_numpy(images())[:, None]
    side, mean, spread = (299, [0.5] * 3, [0.5] * 3) if name == "inception" else (224, *IMAGENET)
    x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear").expand(-1, 3, -1, -1)
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(spread).view(3, 1, 1)
    with torch.no_grad():
        expected = network(name)(x).numpy()
    features = extractor(images())
    assert features.shape == (2, 64 if name == "dinov2" else 2048)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-4
    assert features[:1].tobytes() == extractor(images()[:1]).tobytes()
    assert len(extractor.identity) == 64


def test_half_precision_and_missing_counters_are_taken(weights: dict[str, Path], tmp_path: Path) -> None:
    state = safetensors.torch.load_file(weights["resnet50"])
    state = {k: v.half() for k, v in state.items() if "num_batches_tracked" not in k}
    safetensors.torch.save_file(state, tmp_path / "half.safetensors")
    half, full = (open_extractor(f"resnet50={p}") for p in (tmp_path / "half.safetensors", weights["resnet50"]))
    found = full(images(1))
    np.testing.assert_allclose(half(images(1)), found, atol=0.01 * found.max())
    assert half.identity != full.identity


def test_a_file_that_is_missing_or_of_another_network_is_refused(weights: dict[str, Path], tmp_path: Path) -> None:
    for name, path, code in (
        ("resnet50", tmp_path / "none.safetensors", "no-checkpoint"),
        ("resnet50", weights["inception"], "unexpected-keys"),
        ("inception", weights["dinov2"], "unexpected-keys"),
        ("dinov2", weights["resnet50"], "unexpected-keys.*no class token"),
        ("dinov2", tmp_path, "path.*folder"),
    ):
        with pytest.raises(CheckpointError, match=code):
            open_extractor(f"{name}={path}")


def test_what_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "renamed.safetensors").write_bytes((tmp_path / "weights.pt").read_bytes())
    for name in ("weights.pt", "renamed.safetensors"):
        with pytest.raises(CheckpointError, match="unsafe-pickle"):
            open_extractor(f"resnet50={tmp_path / name}")


def test_a_damaged_file_is_refused(weights: dict[str, Path], tmp_path: Path) -> None:
    data = weights["dinov2"].read_bytes()
    for name, damaged, code in (("cut", data[:-8], "truncated"), ("empty", b"", "empty"), ("odd", b"x" * 9, "unsafe")):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=code):
            open_extractor(f"dinov2={tmp_path / name}")
