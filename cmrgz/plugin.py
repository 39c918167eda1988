"""What a plugin declares. Imports neither torch nor numpy, so that listing models is fast.

A package registers a spec under the entry-point group `cmrgz.models` or `cmrgz.tokenizers`:

    [project.entry-points."cmrgz.models"]
    ar-vq = "cmrgz_ar_vq:SPEC"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Generic, Literal, TypeVar

from cmrgz.errors import PluginError

PROTOCOL = 1
Progress = Callable[[int, int], None]
"""Called with (done, total), of steps of a draw or of whatever is counted; may raise to cancel."""
Kind = Literal["model", "tokenizer"]
AXES = ("yx", "tyx", "zyx", "tzyx")
"""Axes of a scan that a model can see together, slowest first: phases, slices, rows, columns."""
SIDE, LENGTH, VOXELS = 1024, 64, 2**25
"""Most rows and columns, most phases and slices, and most voxels of an item."""
PIXEL = (0.1, 100.0)
"""Bounds of the in-plane pixel size of items in mm: that of a scan of a mouse, and one that shows no heart."""


@dataclass(frozen=True)
class Extent:
    """What one call of a model sees of a scan.

    Attributes:
        axes: The axes that it sees together, the others are looped over; one of `AXES`, letter by letter.
        item: Its length along each of them. Rows and columns are always so many; phases and slices at most, a scan
            with fewer gives shorter items.
        spacing: In-plane pixel size in mm.
    """

    axes: tuple[str, ...] = ("y", "x")
    item: tuple[int, ...] = (128, 128)
    spacing: float = 1.4

    def __post_init__(self) -> None:
        fits = len(self.axes) == len(self.item) and min(self.item, default=0) > 0
        if "".join(self.axes) not in AXES or not fits:
            what = f"axes {','.join(self.axes)} and item {','.join(map(str, self.item))} do not fit together"
            raise PluginError("plugin-protocol", "axes", what, f"axes are one of {', '.join(AXES)}")

    def out_of_bounds(self, least: int = 1) -> str:
        """Return what of it no model can have, in words, or "".

        Args:
            least: Fewest rows and columns.
        """
        for axis, length in zip(self.axes, self.item, strict=True):
            low, high = (least, SIDE) if axis in "yx" else (1, LENGTH)
            if not low <= length <= high:
                return f"'{axis}' must be {low} .. {high}, got {length}"
        if prod(self.item) > VOXELS:
            return f"must be at most {VOXELS} voxels, got {prod(self.item)}"
        if not PIXEL[0] <= self.spacing <= PIXEL[1]:
            return f"pixels must be {PIXEL[0]} .. {PIXEL[1]} mm, got {self.spacing}"
        return ""

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.item[-2], self.item[-1]

    @property
    def phases(self) -> int:
        """Phases at most; 1 where the model does not see time."""
        return self.item[self.axes.index("t")] if "t" in self.axes else 1

    @property
    def slices(self) -> int:
        """Slices at most; 1 where the model does not see through the plane."""
        return self.item[self.axes.index("z")] if "z" in self.axes else 1


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A first stage that a package provides.

    Attributes:
        name: Registered name, for example `vq`.
        summary: One line for listings.
        build: `package.module:function`; its keywords are the architecture.
        cite: The source, as `Author et al. year, arXiv id`.
        protocol: Version of the protocol that it was written for.
        checkpoint: Folder of bundled reference weights as `package:folder`, or None.
        tiny: Options of a build that is small enough for `cmrgz plugins check`, for items of 64 x 64.
    """

    kind: ClassVar[Literal["tokenizer"]] = "tokenizer"
    # What a model says beside this, so that callers need not ask which of the two a spec is.
    tokenizer: ClassVar[None] = None
    axes: ClassVar[tuple[str, ...]] = ("y", "x")
    extent: ClassVar[Extent] = Extent()

    name: str
    summary: str
    build: str
    cite: str = ""
    protocol: int = PROTOCOL
    checkpoint: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A generative model that a package provides.

    Attributes:
        name: Registered name, `<family>-<variant>`.
        family: `ar`, `ldm`, `flow` or another word of the field.
        summary: One line for listings.
        build: `package.module:function`, called as `build(tokenizer, **options)` (or `build(**options)` without a
            tokenizer); its keywords are the architecture.
        cite: The source, as `Author et al. year, arXiv id`.
        tokenizer: Registered name of the tokenizer that it is built on, or None.
        axes: Axes of a scan that it sees together, slowest first, for example ("t", "z", "y", "x").
        item: Shape of the items that it is trained on, a number for each axis; see `Extent`.
        spacing: In-plane pixel size in mm that it is trained on.
        conditions: Names of the conditions that it takes.
        protocol: Version of the protocol that it was written for.
        checkpoint: Folder of bundled reference weights as `package:folder`, or None.
        tiny: Options of a build that is small enough for `cmrgz plugins check`, for items of 64 x 64.
    """

    kind: ClassVar[Literal["model"]] = "model"

    name: str
    family: str
    summary: str
    build: str
    cite: str = ""
    tokenizer: str | None = None
    axes: tuple[str, ...] = ("y", "x")
    item: tuple[int, ...] = (128, 128)
    spacing: float = 1.4
    conditions: tuple[str, ...] = ()
    protocol: int = PROTOCOL
    checkpoint: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)

    @property
    def extent(self) -> Extent:
        """What one call sees.

        Raises:
            PluginError: `plugin-protocol`: axes that there are not, or an item of other axes.
        """
        return Extent(self.axes, self.item, self.spacing)


Spec = ModelSpec | TokenizerSpec
S = TypeVar("S", ModelSpec, TokenizerSpec)


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A registered name. What it registers is imported when its spec is first asked for, and nothing else with it.

    Attributes:
        name: What selects it: its registered name, or `package:name` where several packages register one.
        package: Name of the package that registers it.
        version: Version of that package.
        target: `module:attribute` of the spec.
        load: Imports the spec.
    """

    name: str
    package: str
    version: str
    target: str
    load: Callable[[], S] = field(repr=False, compare=False)

    @cached_property
    def _loaded(self) -> S | PluginError:
        # The error is kept as the result is: a broken plugin is imported once, not at each question.
        try:
            return self.load()
        except PluginError as error:
            return error

    @property
    def spec(self) -> S | None:
        """The spec, or None where it cannot be used."""
        return None if isinstance(self._loaded, PluginError) else self._loaded

    @property
    def error(self) -> PluginError | None:
        """Why there is no spec, or None."""
        return self._loaded if isinstance(self._loaded, PluginError) else None

    @property
    def reason(self) -> str:
        """Why it is broken, in one line, or ""."""
        return "" if self.error is None else f"{self.error.code}: {self.error.what}"

    def require(self) -> S:
        """Return the spec.

        Raises:
            PluginError: It is broken.
        """
        if isinstance(self._loaded, PluginError):
            raise self._loaded
        return self._loaded
