"""Checks of what a model draws."""

import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cmrgz.conditions import learn
from cmrgz.data.masks import parse
from cmrgz.errors import UsageError
from cmrgz.rng import Streams
from cmrgz.tasks import generate, inpaint
from cmrgz.testing.checks.outcomes import Skipped
from cmrgz.testing.subject import Subject


def _case(subject: Subject) -> tuple[Tensor, Tensor]:
    """Return given values, 0 where hidden, and what is known."""
    x, known = subject.items(), subject.known_part()
    return torch.where(known, x, 0.0), known


def output_is_an_item(subject: Subject) -> None:
    """What is drawn has the shape of the items, is float32 and finite."""
    x, known = _case(subject)
    drawn = subject.draw(x, known)
    assert isinstance(drawn, Tensor), f"sample returns {type(drawn).__name__}"
    assert drawn.shape == x.shape and drawn.dtype == torch.float32, f"{tuple(drawn.shape)} {drawn.dtype}"
    assert bool(drawn.isfinite().all()), "values are not finite"


def seeds_repeat_and_differ(subject: Subject) -> None:
    """The same seed gives the same bits, another seed another draw, and no two items are one draw."""
    x, known = _case(subject)
    first, again, other = (subject.draw(x, known, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again), "the same seed gave another draw"
    hidden = ~known
    assert not torch.equal(first[hidden], other[hidden]), "another seed gave the same draw"
    same = x[:1].repeat_interleave(2, 0), known[:1].repeat_interleave(2, 0)
    pair = subject.draw(*same)
    assert not torch.equal(pair[0], pair[1]), "two items with streams of their own are one draw"


def global_state_is_untouched(subject: Subject) -> None:
    """Neither Python's, numpy's nor torch's global random numbers are drawn from or seeded."""
    x, known = _case(subject)
    torch.rand(3)  # else a seed that an earlier draw has set would look untouched
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    subject.draw(x, known)
    after = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0], "python's random"
    assert before[1] == after[1], "numpy's random"
    assert torch.equal(before[2], after[2]), "torch's random numbers"


def inputs_are_left_alone(subject: Subject) -> None:
    """What is given is neither changed nor returned."""
    x, known = _case(subject)
    values, mask = x.clone(), known.clone()
    drawn = subject.draw(x, known)
    assert torch.equal(x, values) and torch.equal(known, mask), "the input was changed"
    assert drawn.untyped_storage().data_ptr() != x.untyped_storage().data_ptr(), "the result is the input's memory"


def batch_invariance(subject: Subject) -> None:
    """An item is the same alone and among others, in any order, up to rounding."""
    x, known = _case(subject)
    together = subject.draw(x, known)
    for i in (0, len(x) - 1):
        alone = subject.draw(x[i : i + 1], known[i : i + 1], rng=Streams(0, [("item", i)]))
        assert torch.allclose(alone[0], together[i], atol=1e-3), f"item {i} depends on its neighbours"
    backwards = Streams(0, [("item", i) for i in reversed(range(len(x)))])
    flipped = subject.draw(x.flip(0), known.flip(0), rng=backwards)
    assert torch.allclose(flipped.flip(0), together, atol=1e-3), "an item depends on its place in the batch"


def no_peek(subject: Subject) -> None:
    """Whatever stands in hidden pixels, noise or NaN, not a bit of the result changes."""
    x, known = subject.items(), subject.known_part()
    scaled = torch.where(known, x, 0.0)
    want = subject.draw(scaled, known)
    image = subject.scan()
    mask = parse("patch:0.5").draw(image.shape, seed=0)
    whole = inpaint(subject.model, image, mask, subject.setting).samples
    other = np.where(mask, image.voxels, np.nan).astype(np.float32)
    got = inpaint(subject.model, replace(image, stored=other), mask, subject.setting).samples
    assert np.array_equal(whole, got), "hidden voxels reach the result"
    assert torch.equal(subject.draw(x, known), want), "hidden values of the input are read"


def known_part_matters(subject: Subject) -> None:
    """What is drawn depends on what is given: True in `known` means given."""
    x, known = _case(subject)
    first = slice(0, 1)
    base = subject.draw(x[first], known[first])
    other = subject.draw(torch.where(known, -x, 0.0)[first], known[first])
    hidden = ~known[first]
    assert not torch.equal(base[hidden], other[hidden]), "the known part does not matter"


def known_voxels_are_exact(subject: Subject) -> None:
    """Known voxels of a scan come back bit for bit."""
    image = subject.scan()
    known = parse("patch:0.5").draw(image.shape, seed=0)
    drawn = inpaint(subject.model, image, known, subject.setting)
    assert np.array_equal(drawn.samples[0][known], image.voxels[known])


def ends_of_the_dial(subject: Subject) -> None:
    """With nothing hidden the scan comes back without a call; with nothing known it is what `generate` draws."""
    image = subject.scan()
    same = inpaint(subject.model, image, np.ones(image.shape, bool), subject.setting)
    assert np.array_equal(same.samples[0], image.voxels) and same.network_calls == 0, "nothing hidden"
    nothing = inpaint(subject.model, image, np.zeros(image.shape, bool), subject.setting)
    _, drawn = generate(subject.model, image.shape, subject.setting)
    unit = [(d.samples - d.scale.low) / (d.scale.high - d.scale.low) for d in (nothing, drawn)]
    assert np.allclose(unit[0], unit[1], atol=1e-6), "nothing known is not generation"


def odd_sizes(subject: Subject) -> None:
    """Scans of any size and pixel spacing are drawn."""
    for plane in ((65, 63), (50, 90), (17, 19)):
        image = subject.scan(plane)
        known = parse("box:0.4").draw(image.shape, seed=0)
        drawn = inpaint(subject.model, image, known, subject.setting).samples
        assert drawn.shape[1:] == image.shape and np.isfinite(drawn).all(), plane


def conditions_may_be_missing(subject: Subject) -> None:
    """A condition may be absent or NaN for some items; a declared one changes what is drawn."""
    x, known = _case(subject)
    n, absent = len(x), torch.full((len(x),), torch.nan)
    plain = subject.draw(x, known)
    for name in subject.spec.conditions:
        unknown = subject.draw(x, known, condition={name: absent})
        assert torch.allclose(unknown, plain, atol=1e-5), f"'{name}' unknown differs from '{name}' absent"
        given = subject.draw(x, known, condition={name: torch.linspace(0.1, 0.9, n)})
        assert bool(given.isfinite().all()) and not torch.equal(given, plain), f"'{name}' does not matter"


def patients_may_be_told(subject: Subject) -> None:
    """Conditions of patients change nothing until they are trained; then they matter, and may be left out."""
    x, known = subject.items(2), subject.known_part(2)
    x, told = torch.where(known, x, 0.0), {"group": torch.tensor([0.0, 2.0]), "ef": torch.tensor([0.3, 0.6])}
    model, generator = deepcopy(subject.model), torch.Generator().manual_seed(3)
    before = {id(parameter) for parameter in model.parameters()}
    try:
        learn(model, {"group": ("A", "B", "C"), "ef": ()})
    except UsageError:
        raise Skipped("nothing of the kit that takes conditions") from None
    plain, early = subject.draw(x, known), subject.draw(x, known, model=model, condition=told)
    assert torch.equal(early, plain), "what is not trained matters"
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if id(p) not in before):
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    plain = subject.draw(x, known, model=model)
    unknown = subject.draw(x, known, model=model, condition={name: torch.full((2,), torch.nan) for name in told})
    assert torch.equal(unknown, plain), "unknown differs from absent"
    given = {name: subject.draw(x, known, model=model, condition={name: value}) for name, value in told.items()}
    for name, drawn in given.items():
        assert bool(drawn.isfinite().all()) and not torch.equal(drawn, plain), f"'{name}' does not matter"
    rng, last = Streams(0, [("item", 1)]), {"ef": told["ef"][1:]}
    alone = subject.draw(x[1:], known[1:], model=model, condition=last, rng=rng)
    assert torch.allclose(alone[0], given["ef"][1], atol=1e-3), "an item that is told depends on its neighbours"


def progress_and_cancel(subject: Subject) -> None:
    """Progress never falls and ends at its total; what it raises ends the draw."""
    x = subject.items(2)
    known = torch.zeros_like(x, dtype=torch.bool)
    told: list[tuple[int, int]] = []
    subject.draw(x * 0, known, progress=lambda done, total: told.append((done, total)))
    done = [d for d, _ in told]
    assert told and done == sorted(done) and told[-1][0] == told[-1][1], f"told {told[:3]} ... {told[-1:]}"

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    try:
        subject.draw(x * 0, known, progress=cancel)
    except KeyboardInterrupt:
        return
    raise AssertionError("what progress raises is swallowed")
