"""Checks of a tokenizer: the subject is a small one, fitted."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from cmrgz import checkpoint
from cmrgz.latents import known_positions
from cmrgz.model import CodeTokenizer, Tokenizer
from cmrgz.plugin import TokenizerSpec
from cmrgz.testing.subject import FRAME, build_tokenizer, items, known_part, shaken, streams
from cmrgz.tokens.scales import ScaleTokenizer, known_cells


def nothing_hidden_reaches_a_known_position(spec: TokenizerSpec) -> None:
    """Vectors and codes at known positions are the same to the bit whatever is hidden, be it NaN."""
    tokenizer = shaken(build_tokenizer(spec))
    x, known = items(), known_part()
    known[0, :, 20:45, 7:30] = False  # off the grid
    at = known_positions(known, tokenizer.patch)
    want = _at(tokenizer, x, at)
    for fill in (torch.full_like(x, torch.nan), -x, torch.full_like(x, 1e6)):
        got = _at(tokenizer, torch.where(known, x, fill), at)
        assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True)), "hidden pixels reach known positions"


@torch.no_grad()
def _at(tokenizer: Tokenizer, x: Tensor, at: Tensor) -> list[Tensor]:
    """Return vectors, and codes where there are any, at the positions `at`."""
    vectors = tokenizer.encode(x)
    found = [vectors.movedim(1, -1)[at]]
    if isinstance(tokenizer, CodeTokenizer):
        found.append(tokenizer.quantise(vectors)[at])
    if isinstance(tokenizer, ScaleTokenizer):
        for scale, stride in enumerate(tokenizer.strides):
            cells = tokenizer.pool(vectors, scale)
            found.append(tokenizer.quantise(cells, scale)[known_cells(at, stride)])
    return found


@torch.no_grad()
def shapes_are_those_of_the_grid(spec: TokenizerSpec) -> None:
    """Vectors lie on the grid of patches, also of a rectangle, and decode to items."""
    tokenizer = build_tokenizer(spec)
    x = items(2, (64, 96))
    vectors = tokenizer.encode(x)
    grid = (64 // tokenizer.patch, 96 // tokenizer.patch)
    assert vectors.shape == (2, tokenizer.channels, *grid), tuple(vectors.shape)
    decoded = tokenizer.decode(vectors)
    assert decoded.shape == x.shape and bool(decoded.isfinite().all())


@torch.no_grad()
def codes_are_in_range(spec: TokenizerSpec) -> None:
    """Codes are int64 below `vocab`, one a level, and their embeddings add up to a vector."""
    tokenizer = build_tokenizer(spec)
    vectors = tokenizer.encode(items(2))
    if isinstance(tokenizer, ScaleTokenizer):
        _scales_are_in_range(tokenizer, vectors)
    if not isinstance(tokenizer, CodeTokenizer):
        return
    codes = tokenizer.quantise(vectors)
    assert codes.dtype == torch.int64 and codes.shape[-1] == tokenizer.levels
    assert 0 <= int(codes.min()) and int(codes.max()) < tokenizer.vocab
    total = torch.stack([tokenizer.embed(codes[..., i], i) for i in range(tokenizer.levels)]).sum(0)
    near = (total.movedim(-1, 1) - vectors).square().mean()
    assert near < vectors.var(), "the codes do not stand for the vectors"


def _scales_are_in_range(tokenizer: ScaleTokenizer, vectors: Tensor) -> None:
    """Check the codes of every scale, and that what they stand for comes nearer scale by scale."""
    errors = [float(vectors.square().mean())]
    for scale, (codes, total) in enumerate(zip(*tokenizer.code(vectors), strict=True)):
        grid = tuple(side // tokenizer.strides[scale] for side in vectors.shape[2:])
        assert codes.dtype == torch.int64, codes.dtype
        assert codes.shape == (len(vectors), *grid, tokenizer.levels[scale]), f"scale {scale}: {tuple(codes.shape)}"
        assert 0 <= int(codes.min()) and int(codes.max()) < tokenizer.vocab[scale], f"scale {scale}"
        errors.append(float((total - vectors).square().mean()))
    assert errors == sorted(errors, reverse=True), f"a scale leads away from the vectors: {errors}"
    assert errors[-1] < float(vectors.var()), "the codes do not stand for the vectors"


def loss_trains(spec: TokenizerSpec) -> None:
    """The loss is finite, a function of its streams, and falls."""
    tokenizer, x = build_tokenizer(spec).train(), items()
    weights = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        loss = tokenizer.loss(x, rng=streams(8, step % 3))
        assert bool(loss.isfinite())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < sum(losses[:3]), f"from {losses[0]:.4f} to {losses[-1]:.4f}"


@torch.no_grad()
def checkpoint_encodes_the_same(spec: TokenizerSpec) -> None:
    """Saved and loaded it gives the same bits."""
    tokenizer = shaken(build_tokenizer(spec))
    meta = checkpoint.describe(spec, spec.tiny, extent=FRAME)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "saved", tokenizer, meta)
        loaded, _ = checkpoint.open_tokenizer(Path(folder) / "saved")
    vectors = tokenizer.encode(items())
    assert torch.equal(loaded.encode(items()), vectors)
    assert torch.equal(loaded.decode(vectors), tokenizer.decode(vectors))
