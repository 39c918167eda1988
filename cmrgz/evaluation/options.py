"""What a sweep is made of: the keys of its file, typed, with presets."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cmrgz import config as configs
from cmrgz import options
from cmrgz.data.masks import Mask, parse
from cmrgz.errors import UsageError, did_you_mean
from cmrgz.evaluation.crops import PLANES, Span
from cmrgz.evaluation.extractors import DEFAULT
from cmrgz.evaluation.frames import WHOLE, check_choice
from cmrgz.options import Range
from cmrgz.scans.hiding import ENDINGS

RATIOS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
MANIFEST = "manifest"
"""In place of a pattern: the masks that the column `mask` of a manifest names."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """The keys of a sweep file; the command line and the presets use the same ones.

    Cells are the product of frames, patterns x ratios, models, seeds; each draws `samples` samples.
    """

    data: Annotated[tuple[str, ...], "data sets to evaluate on; none is built-in phantoms"] = ()
    bank: Annotated[tuple[str, ...], "training data, for retrieval and memorisation; none is built-in phantoms"] = ()
    subjects: Annotated[int, "most patients of the data; how many built-in ones", Range(1, 100_000)] = 8
    bank_subjects: Annotated[int, "the same of the training data; 0 is no bank", Range(0, 100_000)] = 8
    frames: Annotated[str, "frames a case: a number, 'stack' (all slices, ED and ES) or 'cine'"] = "2"
    context: Annotated[str, "phases x slices that a mask is drawn on and a model of blocks sees, or 'all'"] = "3x3"
    patterns: Annotated[tuple[str, ...], "mask patterns, each with each ratio; mask files, 'manifest'"] = ("patch",)
    ratios: Annotated[tuple[float, ...], "shares hidden", Range(0, 1)] = (0.25, 0.75)
    mask_label: Annotated[Literal["hidden", "known"], "what 1 means in mask files"] = "hidden"
    axes: Annotated[str, "of the files, such as xyzt; empty to decide it from each header"] = ""
    labels: Annotated[str, "values of label maps, such as lv=1,myo=2,rv=3; empty for what the layout says"] = ""
    models: Annotated[tuple[str, ...], "NAME or NAME:option=value,...; none is all with bundled weights"] = ()
    baselines: Annotated[bool, "fills without a model, round trips and controls"] = True
    seeds: Annotated[tuple[int, ...], "seeds of masks and draws", Range(0, 2**63 - 1)] = (0,)
    extractors: Annotated[tuple[str, ...], "of features: a name, or NAME=FILE of local weights"] = DEFAULT
    samples: Annotated[int, "draws of each hidden frame", Range(1, 64)] = 2
    paper_like: Annotated[bool, "each model also with preset=paper_like, where it has that"] = False
    probe: Annotated[bool, "fill training frames too, to see whether a model remembers them"] = False

    def masks(self) -> list[Mask]:
        """Return the masks that patterns draw: each at every ratio; a pattern that takes no ratio stands alone.

        Raises:
            UsageError: A pattern is unknown or a word of it is.
        """
        inner = [ratio for ratio in self.ratios if 0 < ratio < 1]  # nothing or all hidden: the same for every pattern
        patterns = [pattern for pattern in self.patterns if not is_mask_file(pattern)]
        texts = [text for pattern in patterns[:1] for text in _with_ratios(pattern, self.ratios)]
        texts += [text for pattern in patterns[1:] for text in _with_ratios(pattern, inner)]
        return list(dict.fromkeys(map(parse, texts)))

    @property
    def span(self) -> Span:
        """Phases and slices of a crop."""
        return Span.of(self.context)


def is_mask_file(pattern: str) -> bool:
    """Whether a pattern is no recipe but a mask file, or the masks of a manifest."""
    return pattern == MANIFEST or pattern.lower().endswith(ENDINGS)


HALVES, PLANAR = ("half:bottom", "half:top", "heart"), ("frames:every=2", "slices:every=2")
STANDARD = SweepOptions(
    subjects=50,
    bank_subjects=50,
    frames="4",
    context="5x3",
    # Both halves: a raster order of decoding is exact for the one and wrong for the other.
    patterns=("patch", "box", *HALVES, "patch:hold=tz", *PLANAR),
    ratios=RATIOS,
    samples=4,
    paper_like=True,
    probe=True,
)
PRESETS: dict[str, SweepOptions] = {
    "smoke": SweepOptions(patterns=("patch", "frames:every=2")),
    "standard": STANDARD,
    "paper": dataclasses.replace(
        STANDARD,
        subjects=100,
        bank_subjects=100,
        patterns=("patch", "box", "irregular", *HALVES, "patch:hold=tz", "kt", *PLANAR),
        seeds=(0, 1, 2),
        samples=8,
    ),
}
"""`smoke` runs in minutes on two cores; `standard` and `paper` ask for a GPU."""


def read(preset: str, file: Path | None, given: Mapping[str, Any]) -> SweepOptions:
    """Return the options of a sweep: the preset's, then those of the YAML file, then `given` ones that are not None.

    Raises:
        UsageError: A key is unknown, of a wrong type or out of range; the file is not plain YAML.
    """
    if preset not in PRESETS:
        raise UsageError("range", "option --preset", f"no preset '{preset}'", hint=did_you_mean(preset, PRESETS))
    known = options.schema(SweepOptions)
    # Each checked by itself, so that a fault is told with the line of the file or the option that it stands in.
    values: dict[str, Any] = {}
    if file is not None:
        loaded = configs.load(file)
        values |= options.parse(loaded.values, known, loaded.where)
    values |= options.parse({name: value for name, value in given.items() if value is not None}, known, _flag)
    result = dataclasses.replace(PRESETS[preset], **values)
    check(result)
    return result


def _flag(name: str) -> str:
    """Return the option of the command line that sets a key."""
    flags = {"models": "model", "seeds": "seed", "patterns": "mask", "extractors": "extractor"}
    return "DATA" if name == "data" else f"option --{flags.get(name, name.replace('_', '-'))}"


def check(sweep: SweepOptions) -> None:
    """Refuse options that make no sweep.

    Raises:
        UsageError: A choice of frames or a mask that is none; an empty or repeated list.
    """
    check_choice(sweep.frames)
    for name, values in vars(sweep).items():
        if name in ("patterns", "ratios", "seeds") and not values:
            raise UsageError("range", name, "is an empty list")
        # A value twice would be the same cells twice, under one address.
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise UsageError("range", name, "lists a value twice", f"got {', '.join(map(str, values))}")
    span = sweep.span
    for mask in sweep.masks():
        axis = PLANES.get(mask.pattern)
        if axis is not None and span[axis] == 1 and (WHOLE.get(sweep.frames) != span._fields[axis] or span == (1, 1)):
            what = f"'{mask.pattern}' hides whole {mask.pattern} and gives others, and there is one in the context"
            raise UsageError("usage", "patterns", what, f"context is {sweep.context}", "for example context: 3x3")


def _with_ratios(pattern: str, ratios: Sequence[float]) -> list[str]:
    """Return a pattern with each ratio, or as it is if it has one or takes none."""
    try:
        parse(pattern)
    except UsageError:  # it needs a ratio, or is none at all, which `masks` tells when it parses the text with one
        name, _, rest = pattern.partition(":")
        return [f"{name}:{ratio!r}" + (f",{rest}" if rest else "") for ratio in ratios]
    return [pattern]
