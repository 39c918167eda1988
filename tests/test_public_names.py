"""What programs and plugins outside this repository may import: a name that goes or an argument that changes is seen.

Whoever changes a line here changes the library for others: say so in CHANGELOG.md.
"""

import inspect
from importlib import import_module
from typing import Any

import pytest

NAMES = {
    "cmrgz.checkpoint": ("Opened", "bundled", "describe", "load", "open_model", "open_tokenizer", "peek_model", "save"),
    "cmrgz.tasks": ("Drawn", "Progress", "Setting", "generate", "inpaint"),
    "cmrgz.data.scan": ("Scan", "load", "save"),
    "cmrgz.data.masks": ("Mask", "parse"),
    "cmrgz.data.cases": ("Case", "find", "find_all"),
    "cmrgz.data.intensity": ("Scale",),
    "cmrgz.data.cines": ("Cine", "read_cine"),
    "cmrgz.model": ("CodeTokenizer", "Condition", "Model", "Progress", "Tokenizer", "Trainable"),
    "cmrgz.plugin": ("PROTOCOL", "Extent", "ModelSpec", "Progress", "TokenizerSpec"),
    "cmrgz.options": ("Axes", "OfLoss", "Range", "Sizes"),
    "cmrgz.rng": ("Streams", "derive"),
    "cmrgz.errors": ("CheckpointError", "CmrgzError", "DataError", "PluginError", "ResourceError", "UsageError"),
    "cmrgz.latents": ("framewise", "known_positions", "position_pixels", "smooth_fill", "training_known"),
    "cmrgz.conditions": ("ConditionEmbedding",),
    "cmrgz.diffusion.model": ("LatentDiffusion",),
    "cmrgz.diffusion.network": ("DenoisingNetwork", "LevelEmbedding", "input_channels"),
    "cmrgz.tokens.network": ("CausalNetwork", "Logits", "MaskedNetwork"),
    "cmrgz.tokens.causal": ("TokenModel",),
    "cmrgz.tokens.masked_codes": ("MaskedTokenModel",),
    "cmrgz.tokens.masked_vectors": ("MaskedVectorModel", "VectorNetwork"),
    "cmrgz.tokens.scales": ("ScaleTokenizer",),
    "cmrgz.registry": ("get_model", "get_tokenizer", "models", "tokenizers"),
    "cmrgz.testing.conformance": ("parametrize_with_checks",),
}

ARGUMENTS = {
    "cmrgz.checkpoint.load": "path device",
    "cmrgz.checkpoint.open_model": "target device",
    "cmrgz.checkpoint.open_tokenizer": "target device",
    "cmrgz.checkpoint.save": "path module meta tokenizer dtype overwrite",
    "cmrgz.checkpoint.Opened": "module meta",
    "cmrgz.tasks.inpaint": "model scan known setting report",
    "cmrgz.tasks.Setting": "seed samples options condition batch_size first antithetic precision",
    "cmrgz.tasks.generate": "model shape setting frame_time report",
    "cmrgz.data.scan.load": "path nonfinite orientation axes",
    "cmrgz.data.scan.save": "path scan voxels hidden_fraction overwrite",
    "cmrgz.data.masks.parse": "spec",
    "cmrgz.model.Trainable.loss": "self x condition rng",
    "cmrgz.model.Model.sample": "self x known condition rng progress",
    "cmrgz.plugin.Extent": "axes item spacing",
    "cmrgz.plugin.ModelSpec": "name family summary build cite tokenizer axes item spacing conditions "
    "protocol checkpoint tiny",
    "cmrgz.plugin.TokenizerSpec": "name summary build cite protocol checkpoint tiny",
}


def found(name: str) -> Any:
    """Return what a dotted name is of."""
    parts = name.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            value = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            value = getattr(value, part)
        return value
    raise AssertionError(name)


@pytest.mark.parametrize("module", NAMES)
def test_a_module_has_its_public_names(module: str) -> None:
    missing = [name for name in NAMES[module] if not hasattr(import_module(module), name)]
    assert not missing


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_public_function_has_its_arguments(name: str) -> None:
    assert " ".join(inspect.signature(found(name)).parameters) == ARGUMENTS[name]
