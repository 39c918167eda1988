"""Extractors on a device: in calls of one size, features of an image whoever comes with it."""

from typing import Any

import numpy as np
import pytest
import torch

from cmrgz.evaluation.extractors import DEFAULT, batched, open_extractor
from cmrgz.evaluation.extractors.batched import in_batches
from cmrgz.testing.card import Costs, card, on_card

SIZE = 4
NETWORKS = [name for name in DEFAULT if name != "radiomics"]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batched.SIZES["cpu"] == 1 < batched.SIZE
    monkeypatch.setattr(batched, "SIZE", SIZE)


def there(name: str, x: Any) -> tuple[Any, Costs]:
    """Return features of images that were made on the card, and what they cost."""
    with on_card():
        extractor = open_extractor(name, str(card()))
    assert extractor.identity == open_extractor(name).identity
    with on_card() as costs:
        return extractor(x), costs


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_the_cpu_whoever_comes_together(name: str) -> None:
    x = np.random.default_rng(0).random((6, 64, 64)).astype(np.float32)
    found, _ = there(name, x)
    np.testing.assert_allclose(found, open_extractor(name)(x), atol=1e-6)
    for part in (slice(0, 1), slice(0, 3), slice(0, 5)):
        assert there(name, x[part])[0].tobytes() == found[part].tobytes(), part


def test_a_call_is_of_many_images_and_the_host_waits_once() -> None:
    x = np.random.default_rng(0).random((6, 64, 64)).astype(np.float32)
    (_, one), (_, two), (_, full) = (there("random", x[:n]) for n in (1, 6, 4))
    assert one.launches.total() == full.launches.total()
    assert one.waits.total() == two.waits.total() == 1 and (one.up.total(), two.up.total()) == (1, 2)


@pytest.mark.parametrize("kind, size", [("cpu", 1), ("meta", SIZE)])
def test_calls_are_of_one_size(kind: str, size: int) -> None:
    seen, x = [], np.random.default_rng(0).random((5, 40, 40)).astype(np.float32)

    def network(part: torch.Tensor) -> torch.Tensor:
        seen.append((part.device.type, part.shape))
        return torch.ones(len(part), 2)

    assert in_batches(network, x, torch.device(kind)).shape == (5, 2)
    assert seen == [(kind, (size, 1, 40, 40))] * -(-5 // size)
