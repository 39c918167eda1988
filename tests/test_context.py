"""A model of frames says that it does not use neighbours, and names one that does."""

from pathlib import Path

import pytest

from cmrgz import checkpoint
from cmrgz.errors import CheckpointError, CmrgzWarning
from cmrgz.meta import Meta
from cmrgz.scans import context
from cmrgz.scans.context import tell_of_context


@pytest.fixture
def frames(tiny_checkpoint: Path) -> Meta:
    return checkpoint.peek_model(tiny_checkpoint)


def test_a_cine_of_slices_is_told(frames: Meta) -> None:
    with pytest.warns(CmrgzWarning, match="neighbouring phases and slices are not used"):
        tell_of_context(frames, (20, 10, 8, 8))
    with pytest.warns(CmrgzWarning, match="neighbouring slices are not used"):
        tell_of_context(frames, (1, 10, 8, 8))


def test_nothing_is_said_where_nothing_is_left_out(frames: Meta, recwarn: pytest.WarningsRecorder) -> None:
    tell_of_context(frames, (1, 1, 8, 8))
    blocks = Meta(**{**vars(frames), "axes": ("t", "z", "y", "x"), "item": (5, 3, 64, 64)})
    tell_of_context(blocks, (20, 10, 8, 8))
    assert not recwarn.list


def test_a_model_with_the_axes_is_named(frames: Meta, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Meta(**{**vars(frames), "axes": ("t", "y", "x"), "item": (5, 64, 64)})

    def peek(name: str) -> Meta:
        if name != "b":
            raise CheckpointError("no-checkpoint", name, "has none")
        return blocks

    monkeypatch.setattr(context.registry, "models", lambda: dict.fromkeys("abc"))
    monkeypatch.setattr(context.checkpoint, "peek_model", peek)
    with pytest.warns(CmrgzWarning, match="--model b uses them"):
        tell_of_context(frames, (20, 1, 8, 8))
    with pytest.warns(CmrgzWarning, match="train one"):
        tell_of_context(frames, (20, 10, 8, 8))
