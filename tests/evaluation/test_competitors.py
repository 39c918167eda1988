"""Methods look at known pixels only, draw the same whatever shares a call, and say what they are."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.errors import UsageError
from cmrgz.evaluation import competitors
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.competitors import Method, ModelMethod, own
from cmrgz.evaluation.drawing import items_of
from cmrgz.evaluation.frames import Frame
from cmrgz.evaluation.gaussian import Gaussian
from cmrgz.evaluation.lineup import _model, choose_models, common_frame
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.references import RoundTrip, other_patient, references
from cmrgz.evaluation.scoring import check_leak
from cmrgz.plugin import Extent
from cmrgz.testing.subject import Subject

MASK = "patch:0.5,size=8"


def known_of(frames: Sequence[Frame]) -> list[NDArray[np.bool_]]:
    return competitors.known_of(frames, MASK, 0)


def drawn(method: Method, frames: Sequence[Frame], seed: int = 0, samples: int = 1) -> NDArray[np.float32]:
    """Return what a method draws of frames, (k, n, h, w)."""
    return method.draw(frames, known_of(frames), seed, samples).samples(frames)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> ModelMethod:
    return _model(f"{tiny_checkpoint}", "cpu", None)


@pytest.fixture(scope="module")
def methods(model: ModelMethod, bank: list[Frame]) -> dict[str, Method]:
    return {method.name: method for method in [model, *references([model], bank)]}


NAMES = (
    "mean", "harmonic", "biharmonic", "nearest-neighbour", "neighbours-mean", "atlas", "gaussian-mean",
    "gaussian-sample", "control: other patient", "temporal-copy", "round-trip vq", "control: blurred truth",
)  # fmt: skip


def test_every_baseline_bound_and_control_takes_part(methods: dict[str, Method]) -> None:
    assert set(NAMES) < set(methods)


@pytest.mark.parametrize("name", [*NAMES, "model"])
def test_shapes_ranges_and_independence_of_a_frame(methods: dict[str, Method], frames: list[Frame], name: str) -> None:
    method = next(iter(methods.values())) if name == "model" else methods[name]
    samples = 2 if method.random else 1
    together = drawn(method, frames[:3], 0, samples)
    assert together.shape == (samples, 3, 64, 64)
    assert together.min() >= 0 and together.max() <= 1 and np.isfinite(together).all()
    alone = drawn(method, frames[1:2])
    if name.startswith("gaussian") or "monic" in name:  # float64 sums in another order, below the float32 they end in
        np.testing.assert_allclose(alone[0, 0], together[0, 1], atol=1e-6)
    else:
        assert np.array_equal(alone[0, 0], together[0, 1])


@pytest.mark.parametrize("name", [*NAMES, "model"])
def test_no_method_looks_at_hidden_pixels(methods: dict[str, Method], frames: list[Frame], name: str) -> None:
    method = next(iter(methods.values())) if name == "model" else methods[name]
    if method.sees_truth:
        assert method.kind in ("bound", "control", "real")
        return
    unit = Unit(method, MASK, 0, 1, frames[:2], ["a", "b"])
    check_leak(unit, known_of(frames[:2]), method.draw(frames[:2], known_of(frames[:2]), 0, 1))


def test_seeds_and_samples_are_streams_of_their_own(model: ModelMethod, frames: list[Frame]) -> None:
    first, other = (drawn(model, frames[:1], seed, 2) for seed in (0, 1))
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first, other)
    assert np.array_equal(first, drawn(model, frames[:1], 0, 2))


def test_network_calls_are_those_of_one_draw(model: ModelMethod, frames: list[Frame]) -> None:
    one, many = (model.draw(frames[:n], known_of(frames[:n]), 0, 4) for n in (1, 8))
    assert one.calls == many.calls > 1 and (one.items, many.items) == (4, 32)


def test_a_round_trip_is_that_of_the_tokenizer(model: ModelMethod, frames: list[Frame]) -> None:
    import torch

    found = drawn(RoundTrip(model.chosen), frames[:1])[0, 0]
    with torch.inference_mode():
        direct = model.loaded.tokenizer.reconstruct(torch.from_numpy(frames[0].x[None, None]))
    np.testing.assert_allclose(found, (direct[0, 0].clamp(-1, 1) + 1) / 2, atol=1e-6)


def test_another_patient_is_pasted_whole(bank: list[Frame], frames: list[Frame]) -> None:
    pasted = drawn(other_patient(np.stack([f.unit for f in bank]), ""), frames)[0]
    assert all(any(np.array_equal(x, f.unit) for f in bank) for x in pasted)


def test_a_closed_model_is_loaded_again(model: ModelMethod, frames: list[Frame]) -> None:
    before = drawn(model, frames[:1])
    model.close()
    assert np.array_equal(drawn(model, frames[:1]), before)


def test_options_are_part_of_what_a_result_depends_on(tiny_checkpoint: Path) -> None:
    plain, cold = (_model(name, "cpu", None) for name in ("ar-vq", "ar-vq:temperature=0.5"))
    assert plain.key != cold.key and cold.name == "ar-vq:temperature=0.5"
    assert plain.fingerprint["weights"] == cold.fingerprint["weights"]
    with pytest.raises(UsageError, match="temperature"):
        _model("ar-vq:temprature=0.5", "cpu", None)


def test_models_of_other_shapes_are_not_compared(tiny_checkpoint: Path) -> None:
    models = [_model(str(tiny_checkpoint), "cpu", None), _model("ar-vq", "cpu", None)]
    assert common_frame(models[:1]).item == (64, 64) and common_frame(models[1:]).spacing == 1.4
    with pytest.raises(UsageError, match="64x64 at 1.4 mm, 128x128 at 1.4 mm"):
        common_frame(models)


def test_without_a_name_all_models_with_weights_take_part() -> None:
    names = [method.name for method in choose_models(SweepOptions())]
    assert {"ar-vq", "ldm-unet"} <= set(names)
    assert not any(":" in name for name in names)
    both = [method.name for method in choose_models(SweepOptions(paper_like=True))]
    assert "ldm-unet:preset=paper_like" in both


def test_a_model_with_options_has_a_twin_like_the_paper_too(tmp_path: Path) -> None:
    Subject.every("ldm-dit")[0].save(tmp_path / "checkpoint")
    chosen = ("ldm-unet:steps=5", str(tmp_path / "checkpoint"), "ar-vq:temperature=0.5,preset=paper_like")
    names = [method.name for method in choose_models(SweepOptions(paper_like=True, models=chosen))]
    assert names[0] == "ldm-unet:steps=5" and "ldm-unet:steps=5,preset=paper_like" in names
    assert names[3:] == ["ldm-unet:steps=5,preset=paper_like", f"{names[1]}:preset=paper_like"]


# ---------------------------------------------------------------------- models of blocks
@pytest.fixture(scope="module")
def on_blocks(tmp_path_factory: pytest.TempPathFactory) -> ModelMethod:
    """Return a small ldm-dit that sees three phases of two slices together."""
    folder = tmp_path_factory.mktemp("blocks") / "checkpoint"
    Subject.every("ldm-dit")[1].save(folder)
    return _model(f"{folder}:steps=1,algorithm=replace", "cpu", None)


def test_a_model_of_blocks_draws_single_frames(on_blocks: ModelMethod, frames: list[Frame]) -> None:
    assert on_blocks.chosen.meta.extent.item == (3, 2, 64, 64)
    together = drawn(on_blocks, frames[:3], 0, 2)
    assert together.shape == (2, 3, 64, 64) and np.isfinite(together).all()
    assert np.array_equal(drawn(on_blocks, frames[1:2])[0, 0], together[0, 1])
    unit = Unit(on_blocks, MASK, 0, 1, frames[:2], ["a", "b"])
    check_leak(unit, known_of(frames[:2]), on_blocks.draw(frames[:2], known_of(frames[:2]), 0, 1))


def test_a_model_of_frames_is_told_what_it_was_always_told(frames: list[Frame]) -> None:
    items = items_of(frames[:3], own(frames[:3], known_of(frames[:3])), 2)
    assert items.x.shape == (6, 64, 64) and np.array_equal(items.x[3:], np.stack([f.x for f in frames[:3]]))
    assert {name: values.shape for name, values in items.condition.items()} == dict.fromkeys(
        ("phase", "slice", "row", "column"), (6,)
    )


def test_models_of_frames_and_of_blocks_are_compared_on_the_same_frames(
    on_blocks: ModelMethod, model: ModelMethod
) -> None:
    assert common_frame([on_blocks, model]) == Extent(("y", "x"), (64, 64), 1.4)


def test_models_of_other_pixel_sizes_are_not_compared(model: ModelMethod) -> None:
    meta = dataclasses.replace(model.chosen.meta, spacing=1.0)
    finer = ModelMethod("finer", dataclasses.replace(model.chosen, meta=meta))
    with pytest.raises(UsageError, match="64x64 at 1 mm, 64x64 at 1.4 mm"):
        common_frame([model, finer])


# ---------------------------------------------------------------------- the Gaussian baseline
def correlated(n: int, seed: int) -> NDArray[np.float64]:
    """Return frames (n, 8, 8) of three smooth components and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8] / 8
    basis = np.stack([np.sin(3 * x), np.cos(2 * y), x * y]) * 0.1
    return 0.5 + np.einsum("nc,chw->nhw", rng.standard_normal((n, 3)), basis) + 0.02 * rng.standard_normal((n, 8, 8))


def test_the_gaussian_fit_finds_the_noise_and_the_conditional_mean() -> None:
    gaussian = Gaussian(correlated(400, 0))
    assert gaussian.noise == pytest.approx(0.02**2, rel=0.2)
    test, known = correlated(100, 1), np.zeros((100, 8, 8), bool)
    known[:, :, :4] = True
    error = (gaussian.posterior_mean(np.where(known, test, 0), known) - test)[~known]
    assert float(np.sqrt((error**2).mean())) < 1.3 * 0.02  # next to the noise that no one can tell


def test_gaussian_samples_have_the_spread_of_their_error() -> None:
    gaussian = Gaussian(correlated(400, 0))
    test, known = correlated(60, 1), np.zeros((60, 8, 8), bool)
    known[:, :2] = True
    keys = [str(i) for i in range(60)]
    drawn = gaussian.samples(np.where(known, test, 0), known, keys, 8, seed=0)
    hidden = ~known
    variance = drawn.var(0, ddof=1)[hidden].mean()
    error = ((drawn.mean(0) - test)[hidden] ** 2).mean() - variance / 8
    assert variance / error == pytest.approx(1, abs=0.2)
