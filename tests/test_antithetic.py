"""Pairs of opposite draws: the mean of a pair, whatever the batch, and estimates that know which are independent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.errors import UsageError
from cmrgz.evaluation.regions import energy_score_frames
from cmrgz.model import Model
from cmrgz.plugin import Extent
from cmrgz.tasks import Drawn, Setting, inpaint

SETTING = Setting(seed=3, samples=5, antithetic=True)
Floats = NDArray[np.float32]


class Linear(Model):
    """A normal law: half the mean of an item, and noise with a part that all pixels share."""

    extent = Extent(item=(64, 64))

    def loss(self, x: Tensor, *, condition: Any = None, rng: Any) -> Tensor:
        raise NotImplementedError

    def mean(self, x: Tensor) -> Tensor:
        return 0.5 * x.mean((2, 3), keepdim=True).expand_as(x)

    def sample(self, x: Tensor, known: Tensor, *, condition: Any = None, rng: Any, progress: Any = None) -> Tensor:
        level = rng.uniform(1, 1, 1) - 0.5 + 2**-25  # its mirror image is its negative
        return self.mean(x) + 0.02 * rng.child("noise").normal(*x.shape[1:]) + 0.1 * level


def scan_and_known() -> tuple[Scan, NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    blank = Scan.blank((2, 1, 64, 64), (8, 1.4, 1.4), 0.04)
    return replace(blank, stored=rng.integers(0, 600, blank.shape).astype(np.int16)), rng.random(blank.shape) < 0.4


def test_the_mean_of_a_pair_is_the_mean_of_a_linear_model() -> None:
    scan, known = scan_and_known()
    drawn = inpaint(Linear(), scan, known, SETTING)
    unit = torch.from_numpy(np.where(known, drawn.scale.to_unit(scan.voxels), 0).astype(np.float32))
    exact = drawn.scale.from_unit(Linear().mean(unit).numpy())
    for k in (0, 2):
        first, second = drawn.samples[k : k + 2]
        assert np.abs(first - exact)[~known].mean() > 1
        assert np.allclose((first + second)[~known] / 2, exact[~known], atol=0.01)
    plain = inpaint(Linear(), scan, known, replace(SETTING, antithetic=False))
    assert np.array_equal(drawn.samples[::2], plain.samples[::2])  # the fifth has no partner
    assert not np.array_equal(drawn.samples[1], plain.samples[1])
    assert (drawn.pairs, plain.pairs) == ((0, 0, 1, 1, 2), (0, 1, 2, 3, 4))


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Model:
    return checkpoint.open_model(tiny_checkpoint)[0]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_does_not_show(model: Model, batch_size: int) -> None:
    scan, known = scan_and_known()
    wanted = inpaint(model, scan, known, replace(SETTING, samples=3)).samples
    got = inpaint(model, scan, known, replace(SETTING, samples=3, batch_size=batch_size)).samples
    assert np.array_equal(got, wanted) and len({part.tobytes() for part in wanted}) == 3


def test_pairs_go_by_the_number_of_the_sample(model: Model) -> None:
    scan, known = scan_and_known()
    five, late = (inpaint(model, scan, known, replace(SETTING, first=f, samples=5 - f)) for f in (0, 1))
    assert np.array_equal(five.samples[1:], late.samples) and late.pairs == (0, 1, 1, 2)


def test_hidden_voxels_do_not_matter(model: Model) -> None:
    scan, known = scan_and_known()
    other = replace(scan, stored=np.where(known, scan.stored, 7).astype(np.int16))
    wanted = inpaint(model, scan, known, replace(SETTING, samples=2))
    got = inpaint(model, other, known, replace(SETTING, samples=2))
    assert np.array_equal(got.samples, wanted.samples)
    assert np.array_equal(got.samples[:, known], np.broadcast_to(scan.voxels[known], got.samples[:, known].shape))


# ---------------------------------------------------------------------- estimates
def test_nothing_known_has_a_spread() -> None:
    """Five equal numbers have a mean that is none of them, in float32."""
    scan, known = scan_and_known()
    scan = replace(scan, slope=1.37, inter=-3.3)
    std = inpaint(Linear(), scan, known, SETTING).std
    assert (std[known] == 0).all() and (std[~known] > 0).all()


def opposed(
    samples: int, correlation: float, count: int, first: int = 0
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Return standard normal draws (samples, count), two of a pair correlated, and their pairs."""
    setting = Setting(samples=samples, first=first, antithetic=True)
    rng, numbers = np.random.default_rng(5), range(first, first + samples)
    z = rng.standard_normal((samples + 1, 2, count))
    second = correlation * z[:, 0] + np.sqrt(1 - correlation**2) * z[:, 1]
    draws = [(second if n % 2 else z[:, 0])[n // 2 - first // 2] for n in numbers]
    return np.stack(draws).astype(np.float32), setting.pairs


def spread(samples: Floats, pairs: tuple[int, ...]) -> Floats:
    scan = Scan.blank((1, 1, 1, samples.shape[1]), (8.0, 1.4, 1.4))
    known = np.zeros(scan.shape, dtype=bool)
    return Drawn(scan, known, {(0, 0): samples}, len(samples), 0, 0, Scale(0, 1), 1, pairs).std[0, 0, 0]


@pytest.mark.parametrize("correlation", [-1.0, -0.4])
@pytest.mark.parametrize(("samples", "first"), [(3, 0), (4, 0), (5, 1), (2, 1)])
def test_the_variance_has_no_bias(samples: int, first: int, correlation: float) -> None:
    draws, pairs = opposed(samples, correlation, 60_000, first)
    found = spread(draws, pairs)
    assert float(np.square(found).mean()) == pytest.approx(1, abs=0.03)
    apart = [(i, j) for i in range(samples) for j in range(i) if pairs[i] != pairs[j]]
    exact = np.mean([np.square(draws[i] - draws[j]) / 2 for i, j in apart], axis=0)
    assert np.allclose(found, np.sqrt(exact), atol=1e-4)


def test_the_spread_of_one_pair_is_that_about_its_mean() -> None:
    draws, pairs = opposed(2, -1.0, 20_000)
    assert np.allclose(spread(draws, pairs), np.abs(draws[0]), atol=1e-6)
    assert float(np.square(spread(*opposed(2, -0.4, 60_000))).mean()) == pytest.approx(0.7, abs=0.02)


def test_equal_draws_have_no_spread() -> None:
    assert (spread(np.full((4, 9), 0.3, np.float32), (0, 0, 1, 1)) == 0).all()
    assert (spread(np.full((1, 9), 0.3, np.float32), (0,)) == 0).all()


def test_the_energy_score_takes_no_pair_for_independent() -> None:
    rng, frames = np.random.default_rng(0), 4000
    truth, hole = rng.standard_normal((frames, 3, 3)), np.ones((frames, 3, 3), bool)
    z = rng.standard_normal((2, frames, 3, 3))
    draws = np.stack([z[0], -z[0], z[1], -z[1]])
    wanted = energy_score_frames(rng.standard_normal((4, frames, 3, 3)), truth, hole).mean()
    assert energy_score_frames(draws, truth, hole, (0, 0, 1, 1)).mean() == pytest.approx(wanted, abs=0.02)
    assert energy_score_frames(draws, truth, hole).mean() < wanted - 0.05
    with pytest.raises(UsageError, match="independent"):
        energy_score_frames(draws[:2], truth, hole, (0, 0))
