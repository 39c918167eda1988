"""`fsq`: product FSQ codes of strictly local patches, trained end to end with a contextual decoder."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vector_quantize_pytorch import FSQ

from cmrgz.errors import UsageError
from cmrgz.latents import patches, unpatch
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.options import Range
from cmrgz.rng import Streams, derive
from cmrgz_tokenizers.closed_form import least_squares, principal_axes, sample_patches
from cmrgz_tokenizers.decoder import ContextDecoder, mix_exact, reconstruction_loss
from cmrgz_tokenizers.report import code_use, psnr

LEVELS = (8, 5, 5, 5)
"""Quantisation levels of the channels of a group: 1000 codes (Mentzer et al. 2023, arXiv 2309.15505, table 1)."""
GAINS = torch.logspace(-2.5, 0.5, 19, base=2)
"""Candidates for how far one standard deviation of a principal component reaches into the tanh."""


class ProductCodes(CodeTokenizer):
    """Product codes: the channels of a position are bounded, rounded to a few levels each, and grouped into codes.

    A group of four channels with 8, 5, 5 and 5 levels is one code of 1000, so a position has `groups` codes that add up
    in disjoint channels. There is no codebook to learn or to collapse.

    Encoder and decoder are each a linear map in closed form, frozen, plus a trained part that starts at zero: step 0 is
    principal components, rounded and put back by least squares, which stays at hand to compare with. The encoder sees
    one patch at a time and has no normalisation, hence nothing outside a patch reaches its vector.
    """

    shift: Tensor
    reach: Tensor
    offset: Tensor
    half_width: Tensor
    highest: Tensor

    def __init__(self, patch: int, groups: int, hidden: int, decoder: ContextDecoder) -> None:
        super().__init__()
        self.patch, self.levels, self.channels = patch, groups, groups * len(LEVELS)
        with torch.device("cpu"):  # its tables are computed from values, which the meta device has not
            self.quantiser = FSQ(list(LEVELS))
        self.vocab = int(self.quantiser.codebook_size)
        self._register_spans(groups)
        self.analysis = nn.Linear(patch**2, self.channels).requires_grad_(False)
        self.synthesis = nn.Linear(self.channels, patch**2).requires_grad_(False)
        last = nn.Linear(hidden, self.channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.encoder = nn.Sequential(nn.Linear(patch**2, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
        self.decoder = decoder

    def _register_spans(self, groups: int) -> None:
        """Keep the constants of FSQ's bound per channel; an even number of levels is not symmetric about zero."""
        steps = torch.tensor(LEVELS * groups)
        # A little more than the span, as in FSQ: tanh comes to its ends at infinity, and the outermost levels must be
        # reached.
        reach = (steps - 1) * 1.001 / 2
        offset = (1 - steps % 2) / 2
        constants = {
            "reach": reach,
            "offset": offset,
            "shift": torch.atanh(offset / reach),
            "half_width": (steps // 2).float(),
            "highest": (steps - 1 - steps // 2).float(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def _bound(self, h: Tensor) -> Tensor:
        """Squash (..., channels) into the span of the levels, as FSQ does before it rounds."""
        return (torch.tanh(h + self.shift) * self.reach - self.offset) / self.half_width

    def _round(self, vectors: Tensor) -> Tensor:
        """Round bounded vectors (..., channels) to the nearest levels; the gradient goes straight through."""
        level = torch.clamp((vectors * self.half_width).round(), -self.half_width, self.highest)
        return vectors - vectors.detach() + (level / self.half_width).detach()

    def encode(self, x: Tensor) -> Tensor:
        """Return the bounded, unquantised vectors (b, channels, h, w) of items (b, 1, H, W)."""
        with torch.autocast(x.device.type, enabled=False):  # the codes must not depend on the precision of a run
            grid = patches(x.float(), self.patch).movedim(1, -1)
            return self._bound(self.analysis(grid) + self.encoder(grid)).movedim(-1, 1)

    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, H, W) of vectors (b, channels, h, w)."""
        return self.decoder(self._linear_patches(vectors))

    def _linear_patches(self, vectors: Tensor) -> Tensor:
        """Return patches (b, patch**2, h, w) of vectors (b, channels, h, w) by the linear map alone."""
        return self.synthesis(vectors.movedim(1, -1)).movedim(-1, 1)

    @torch.no_grad()
    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the codes (b, h, w, groups) of vectors (b, channels, h, w)."""
        rounded = self._round(vectors.movedim(1, -1).float())
        codes: Tensor = self.quantiser.codes_to_indices(rounded.unflatten(-1, (self.levels, len(LEVELS))))
        return codes.long()

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return what the codes (...) of one group add to the vector: (..., channels), zero in the other groups."""
        own: Tensor = self.quantiser.implicit_codebook[codes]
        before = level * len(LEVELS)
        return F.pad(own, (before, self.channels - before - len(LEVELS)))

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Set the linear maps from items (n, 1, H, W): principal components in, least squares out.

        The strongest components go to the channels with the most levels.
        """
        sample = sample_patches(x, self.patch, torch.Generator().manual_seed(derive(rng.seed, "codebooks")))
        axes = principal_axes(sample, self.channels)
        axes = axes.unflatten(0, (len(LEVELS), self.levels)).transpose(0, 1).flatten(0, 1)
        components = (sample - sample.mean(0)) @ axes.T
        scale = 1 / components.std(0).clamp(min=1e-6)
        scale *= self._gains(components * scale)
        self.analysis.weight.copy_(scale[:, None] * axes)
        self.analysis.bias.copy_(-scale * (axes @ sample.mean(0)))
        weight, bias = least_squares(self._on_cpu(components * scale), sample)
        self.synthesis.weight.copy_(weight)
        self.synthesis.bias.copy_(bias)

    def _on_cpu(self, h: Tensor) -> Tensor:
        """Return the rounded vectors of (n, channels) on the CPU, where all closed forms are computed."""
        return self._round(self._bound(h.to(self.reach.device))).cpu()

    def _gains(self, components: Tensor) -> Tensor:
        """Return the gain of each channel that keeps most of components (n, channels) of unit variance when rounded."""
        kept = []
        for gain in GAINS:
            rounded = self._on_cpu(gain * components)
            rounded = rounded - rounded.mean(0)
            # The share of the variance that the best linear map of the rounded numbers explains.
            kept.append((rounded * components).mean(0).square() / rounded.square().mean(0).clamp(min=1e-12))
        return GAINS[torch.stack(kept).argmax(0)]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Reconstruction loss, straight through the rounding; some positions arrive unquantised, as in inpainting."""
        del condition
        vectors = self.encode(x)
        rounded = self._round(vectors.movedim(1, -1)).movedim(-1, 1)
        return reconstruction_loss(self.decode(mix_exact(vectors, rounded, rng.uniform(2), rng)), x)

    @torch.no_grad()
    def metrics(self, x: Tensor) -> dict[str, float]:
        """Round-trip PSNR, trained and of the closed form, and the use and perplexity of each group's codes."""
        codes = self.quantise(self.encode(x))
        vectors = torch.stack([self.embed(codes[..., level], level) for level in range(self.levels)]).sum(0)
        result = {
            "psnr_total": psnr(self.decode(vectors.movedim(-1, 1)), x),
            "closed_psnr_total": psnr(self._closed_form(x), x),
        }
        for level in range(self.levels):
            used, perplexity = code_use(codes[..., level], self.vocab)
            result[f"code_use_{level + 1}"], result[f"perplexity_{level + 1}"] = used, perplexity
        return result

    def _closed_form(self, x: Tensor) -> Tensor:
        """Return the round trip of items by the linear maps alone: what training started from."""
        components = self.analysis(patches(x, self.patch).movedim(1, -1))
        return unpatch(self._linear_patches(self._round(self._bound(components)).movedim(-1, 1)), self.patch)


def build(
    patch: Annotated[Literal[4, 8], "edge of a patch in pixels; 4 for thin-stroke masks"] = 8,
    # Slower than `vq`, and by an estimate better on real scans after a quarter of an hour of one core.
    groups: Annotated[int, "codes of a position, 1000 values each; at most patch**2 / 4", Range(1, 16)] = 4,
    hidden: Annotated[int, "encoder channels", Range(1, 4096)] = 256,
    width: Annotated[int, "decoder channels on the patch grid", Range(1, 4096)] = 128,
    fine_width: Annotated[int, "decoder channels on the finer grid", Range(1, 4096)] = 64,
    blocks: Annotated[int, "residual blocks per grid", Range(0, 64)] = 2,
) -> ProductCodes:
    """Build the tokenizer; call `fit` (the trainer does) before use.

    Raises:
        UsageError: `range`: more channels than a patch has pixels.
    """
    if groups * len(LEVELS) > patch**2:
        most = f"at most {patch**2 // len(LEVELS)} at patch {patch}"
        raise UsageError("range", "fsq", f"'groups' must be {most}, got {groups}")
    return ProductCodes(patch, groups, hidden, ContextDecoder(patch, width, fine_width, blocks))
