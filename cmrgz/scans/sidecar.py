"""What an output says of itself: a JSON file beside it, without any path, name or text of the input."""

import json
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cmrgz import __version__, registry
from cmrgz.scans.choice import Chosen
from cmrgz.tasks import Drawn

NOTICE = "made by a generative model; not a medical device"


def describe(
    command: str, chosen: Chosen, seed: int, drawn: Drawn, options: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Return what a sidecar says of the run, in JSON's types.

    Args:
        command: For example `cmrgz inpaint`.
        chosen: The model.
        seed: The seed of the run.
        drawn: What was drawn.
        options: Options of the command that are not the model's.
        seconds: How long the scan took.
    """
    return {
        "command": command,
        "synthetic": True,
        "notice": NOTICE,
        "options": dict(options),
        "model": _model(chosen),
        "guide_sha256": chosen.guide_sha256,
        "sampling": dict(chosen.options),
        "precision": chosen.precision,
        "condition": chosen.asked.of(0),
        "seed": seed,
        "scale": {"low": drawn.scale.low, "high": drawn.scale.high},
        "items": drawn.items,
        "network_calls": drawn.network_calls,
        "compute_batch": drawn.compute_batch,
        "seconds": round(seconds, 3),
        "device": chosen.device,
        "software": _software(),
        "plugins": _plugins(chosen),
    }


def encode(facts: Mapping[str, Any]) -> bytes:
    """Return the bytes of a sidecar."""
    # NaN is no JSON, and other readers refuse it: what is not defined is null.
    return json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n"


def _model(chosen: Chosen) -> dict[str, Any]:
    meta, tokenizer = chosen.meta, chosen.meta.tokenizer
    return {
        "name": meta.name,
        "package": meta.package,
        "version": meta.version,
        "protocol": meta.protocol,
        "weights_sha256": meta.sha256,
        "tokenizer": tokenizer and {"name": tokenizer.name, "sha256": tokenizer.sha256},
        "axes": list(meta.axes),
        "item": list(meta.item),
        "spacing": meta.spacing,
    }


def _software() -> dict[str, str | None]:
    return {
        "cmrgz": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
    }


def _plugins(chosen: Chosen) -> list[dict[str, Any]]:
    """Return every installed plugin, used or not: one that is there may have changed what was drawn."""
    meta = chosen.meta
    used = {meta.qualified} | ({meta.tokenizer.qualified} if meta.tokenizer else set())
    return registry.describe_plugins(used)
