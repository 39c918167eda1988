"""Checks through the training loop: a run that is broken off, and the averaged weights."""

import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmrgz.data import cases
from cmrgz.data.scan import Scan, save
from cmrgz.errors import Stopped
from cmrgz.model import Model
from cmrgz.plugin import Extent
from cmrgz.signals import StopFlag
from cmrgz.testing.checks.outcomes import Skipped
from cmrgz.testing.subject import Subject, scan, shaken
from cmrgz.training.frames import Frames
from cmrgz.training.loop import run
from cmrgz.training.options import TrainOptions
from cmrgz.training.state import State, resume, trainable

OPTIONS = TrainOptions(steps=10, batch_size=2, warmup=3, ema=0.9, validate_every=5, save_every=100)
KEY = sha256(b"check").hexdigest()


def resumed_run_is_the_unbroken_one(subject: Subject) -> None:
    """Ten steps are five, a stop, a new process and five more: the same bits of weights, average and optimiser."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        whole = _trained(subject, subject.fresh(), Path(folder) / "whole")
        try:
            _trained(subject, subject.fresh(), Path(folder) / "broken", stop_at=5)
        except Stopped:
            end = _trained(subject, shaken(subject.unfitted()), Path(folder) / "broken").tensors()
    for name, value in whole.tensors().items():
        assert torch.equal(value, end[name]), f"{name} differs"


def _trained(subject: Subject, module: Model, folder: Path, stop_at: int | None = None) -> State:
    """Train in a folder, on from what is stored there, as `cmrgz train` does."""
    folder.mkdir(exist_ok=True)
    state, stop = State.start(module, OPTIONS), StopFlag()
    resume(state, folder, KEY)

    def validate(state: State) -> dict[str, Any]:
        stop.asked = state.step == stop_at
        return {}

    run(state, module, _frames(subject.extent), OPTIONS, folder, KEY, 0, stop, validate, lambda _: None, lambda _: None)
    return state


@cache
def _frames(extent: Extent) -> Frames:
    """Return the frames or blocks of two small scans."""
    shape = (4, 3, *extent.plane) if len(extent.axes) > 2 else (2, 1, *extent.plane)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            image: Scan = scan(shape)
            save(Path(folder) / f"{name}.nii.gz", image, image.voxels.astype(np.int16))
        return Frames([cases.find(folder)], extent)


@torch.no_grad()
def averaged_weights_are_drawn_from(subject: Subject) -> None:
    """With the averaged weights of a run in it, a model draws as one that was loaded with them, and back again."""
    x, known = subject.items(2), subject.known_part(2)
    given = torch.where(known, x, 0.0)
    if not trainable(subject.model):
        raise Skipped("no weights are trained")
    model, other = subject.fresh(), shaken(subject.fresh())
    state = State.start(model, OPTIONS)
    state.average = {name: p.detach().clone() for name, p in trainable(other).items()}
    before = subject.draw(given, known, model=model)
    with state.averaged():
        averaged = subject.draw(given, known, model=model)
    assert torch.equal(averaged, subject.draw(given, known, model=other)), "the averaged weights are not what it uses"
    assert torch.equal(subject.draw(given, known, model=model), before), "its own weights do not come back"
    assert not torch.equal(averaged, before), "its weights do not matter"
