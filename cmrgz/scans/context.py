"""Which axes of a scan a model leaves out, told in one line with the name of a model that uses them."""

from contextlib import suppress

from cmrgz import checkpoint, registry
from cmrgz.errors import CmrgzError, warn
from cmrgz.meta import Meta

WORDS = {"t": "phases", "z": "slices"}


def tell_of_context(meta: Meta, shape: tuple[int, int, int, int]) -> None:
    """Warn once where a model draws frames alone of which a scan (t, z, y, x) has several."""
    missing = [axis for axis, n in zip("tz", shape, strict=False) if n > 1 and axis not in meta.axes]
    if not missing:
        return
    names = " and ".join(WORDS[axis] for axis in missing)
    other = with_axes(missing)
    hint = f"--model {other} uses them" if other else f"train one: cmrgz train {meta.name} DATA --set item=5,3,128,128"
    warn("no-context", meta.name, f"draws each frame alone: neighbouring {names} are not used", "", hint)


def with_axes(axes: list[str]) -> str:
    """Return the first model with bundled weights that see these axes, or ""."""
    for name in sorted(registry.models()):
        # A broken plugin, or one without weights, is no answer to the question and no reason to fail.
        with suppress(CmrgzError):
            if set(axes) <= set(checkpoint.peek_model(name).axes):
                return name
    return ""
