"""What a plugin declares. Imports neither torch nor numpy, so that listing models is fast.

A distribution registers a spec under the entry-point group `cmrgz.models` or `cmrgz.tokenizers`:

    [project.entry-points."cmrgz.models"]
    ar-vq = "cmrgz_ar_vq:SPEC"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from cmrgz.errors import PluginError

PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """A first stage that a distribution provides.

    Attributes:
        name: Registered name, for example `vq`.
        summary: One line for listings.
        build: `package.module:function`; its keywords are the architecture.
        cite: The source, as `Author et al. year, arXiv id`.
        protocol: Version of the protocol that it was written for.
        checkpoint: Folder of bundled reference weights as `package:folder`, or None.
        tiny: Options of a build that is small enough for `cmrgz plugins check`, for items of 64 x 64.
    """

    name: str
    summary: str
    build: str
    cite: str = ""
    protocol: int = PROTOCOL
    checkpoint: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A generative model that a distribution provides.

    Attributes:
        name: Registered name, `<family>-<variant>`.
        family: `ar`, `ldm`, `flow` or another word of the field.
        summary: One line for listings.
        build: `package.module:function`, called as `build(tokenizer, **options)` (or `build(**options)` without a
            tokenizer); its keywords are the architecture.
        cite: The source, as `Author et al. year, arXiv id`.
        tokenizer: Registered name of the tokenizer that it is built on, or None.
        item: Shape of the items that the reference weights were trained on.
        spacing: In-plane pixel size in mm that they were trained on.
        conditions: Names of the conditions that it takes.
        protocol: Version of the protocol that it was written for.
        checkpoint: Folder of bundled reference weights as `package:folder`, or None.
        tiny: Options of a build that is small enough for `cmrgz plugins check`, for items of 64 x 64.
    """

    name: str
    family: str
    summary: str
    build: str
    cite: str = ""
    tokenizer: str | None = None
    item: tuple[int, ...] = (128, 128)
    spacing: float = 1.4
    conditions: tuple[str, ...] = ()
    protocol: int = PROTOCOL
    checkpoint: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)


S = TypeVar("S", ModelSpec, TokenizerSpec)


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A registered name. What it registers is imported when its spec is first asked for, and nothing else with it.

    Attributes:
        name: What selects it: its registered name, or `distribution:name` where several distributions register one.
        distribution: Name of the distribution that registers it.
        version: Version of that distribution.
        target: `module:attribute` of the spec.
        load: Imports the spec.
    """

    name: str
    distribution: str
    version: str
    target: str
    load: Callable[[], S] = field(repr=False, compare=False)

    @cached_property
    def _loaded(self) -> S | PluginError:
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
