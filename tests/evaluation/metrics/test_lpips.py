import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cmrgz.errors import CheckpointError
from cmrgz.evaluation.metrics import FRAME_METRICS
from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.lpips import metrics
from cmrgz.evaluation.metrics.lpips_network import expected


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(t.shape, generator=generator) for name, t in expected().items()}
    return {name: t.abs() if "lin" in name else t / max(t[0].numel(), 1) ** 0.5 for name, t in drawn.items()}


@pytest.fixture(scope="module")
def path(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(tensors, path)
    return path


def frame(k: int = 3, size: int = 96) -> Sampled:
    rng = np.random.default_rng(0)
    truth = rng.random((size, size))
    return Sampled(
        truth, np.zeros((size, size), dtype=bool), np.clip(truth + rng.normal(0, 0.1, (k, size, size)), 0, 1)
    )


def reference(tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the LPIPS of torchmetrics on our weights; its own come with torchvision."""
    from torchmetrics.functional.image import lpips as theirs

    conv, pool = nn.Conv2d, nn.MaxPool2d(3, 2)
    first = [conv(3, 64, 11, 4, 2), nn.ReLU(), pool, conv(64, 192, 5, padding=2), nn.ReLU(), pool]
    later = [layer for a, b in ((192, 384), (384, 256), (256, 256)) for layer in (conv(a, b, 3, padding=1), nn.ReLU())]
    alexnet = nn.Sequential(*first, *later)
    alexnet.load_state_dict({k.removeprefix("features."): v for k, v in tensors.items() if "features" in k})
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda net, pretrained: alexnet)
    found = theirs._LPIPS(pretrained=False, net="alex")
    missing = found.load_state_dict({k: v for k, v in tensors.items() if "lin" in k}, strict=False).missing_keys
    assert not [k for k in missing if k.startswith("lin") and not k.startswith("lins")]
    return found


def test_lpips_agrees_with_torchmetrics(
    path: Path, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frame()
    (metric,) = metrics(str(path))
    x, y = (torch.tensor(np.array(a), dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
            for a in (given.samples, np.broadcast_to(given.truth, given.samples.shape)))  # fmt: skip
    theirs = reference(tensors, monkeypatch)(x, y, normalize=True)
    assert metric.of(given) == pytest.approx(float(theirs.mean()), rel=1e-5)


def test_equal_frames_are_at_no_distance_and_noise_is_farther(path: Path) -> None:
    (metric,) = metrics(str(path))
    given = frame()
    assert metric.of(Sampled(given.truth, given.known, given.truth[None])) == 0
    farther = Sampled(given.truth, given.known, 2 * given.drawn - given.truth)
    assert 0 < metric.of(given) < metric.of(farther)


def test_the_smallest_frame(path: Path) -> None:
    (metric,) = metrics(str(path))
    assert metric.of(frame(1, 31)) > 0 and np.isnan(metric.of(frame(1, 30)))


def test_samples_are_judged_one_by_one(path: Path) -> None:
    (metric,) = metrics(str(path))
    given = frame(4)
    each = [metric.of(Sampled(given.truth, given.known, x[None])) for x in given.drawn]
    assert metric.of(given) == np.mean(each)


def test_it_is_in_the_table_only_where_a_file_is_named(path: Path) -> None:
    assert ("lpips-whole" in FRAME_METRICS) == bool(os.environ.get("CMRGZ_LPIPS"))
    assert metrics(None) == metrics("") == ()
    code = "import sys; from cmrgz.evaluation.metrics import FRAME_METRICS as m; assert 'lpips-whole' in m"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env={"CMRGZ_LPIPS": str(path)})


def test_files_that_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    fewer, other, pickled = tmp_path / "fewer.safetensors", tmp_path / "other.safetensors", tmp_path / "lpips.pth"
    save_file({k: v for k, v in tensors.items() if k != "lin3.model.1.weight"}, fewer)
    save_file(tensors | {"features.0.bias": torch.zeros(65)}, other)
    torch.save(tensors, pickled)
    for path, code in ((fewer, "unexpected-keys"), (other, "unexpected-keys"), (pickled, "unsafe-pickle")):
        with pytest.raises(CheckpointError, match=code):
            metrics(str(path))[0].of(frame())
    with pytest.raises(CheckpointError, match="no-checkpoint"):
        metrics(str(tmp_path / "absent"))[0].of(frame())
