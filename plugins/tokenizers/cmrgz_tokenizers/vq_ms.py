"""`vq-ms`: frozen residual k-means codes of a picture pyramid, for models that predict the next scale."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.errors import UsageError
from cmrgz.latents import patches, unpatch
from cmrgz.model import Condition
from cmrgz.options import Range
from cmrgz.rng import Streams, derive
from cmrgz.tokens.scales import ScaleTokenizer, check_strides
from cmrgz_tokenizers.closed_form import FIT_PATCHES
from cmrgz_tokenizers.decoder import ContextDecoder, mix_exact, reconstruction_loss
from cmrgz_tokenizers.kmeans import nearest, residual_kmeans
from cmrgz_tokenizers.report import code_use, psnr


class PyramidCodes(ScaleTokenizer):
    """Residual codes of a Laplacian pyramid (Burt and Adelson 1983), each scale with codebooks of its own.

    The vector of a position is its patch (64 pixel values at `patch` 8). A cell of a scale is a patch of the picture
    at 1 / stride of its resolution, so a code says as much about a large area as about a small one. Each scale codes
    what is left of the picture when the coarser ones, enlarged, are taken from it (residual codes over scales: Tian et
    al. 2024, arXiv 2404.02905). The codes are fitted in closed form, scale by scale, and frozen.
    """

    def __init__(
        self,
        patch: int,
        strides: tuple[int, ...],
        levels: tuple[int, ...],
        vocab: tuple[int, ...],
        decoder: ContextDecoder,
        lloyd: int,
    ) -> None:
        super().__init__()
        self.patch, self.channels, self.lloyd = patch, patch**2, lloyd
        self.strides, self.levels, self.vocab = strides, levels, vocab
        self.decoder = decoder
        books = [torch.zeros(depth, size, patch**2) for depth, size in zip(levels, vocab, strict=True)]
        self.codebooks = nn.ParameterList([nn.Parameter(book, requires_grad=False) for book in books])

    def encode(self, x: Tensor) -> Tensor:
        """Return the patches (b, patch**2, h, w) of items (b, 1, H, W)."""
        return patches(x, self.patch)

    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, H, W) of vectors (b, patch**2, h, w)."""
        return self.decoder(vectors)

    def pool(self, vectors: Tensor, scale: int) -> Tensor:
        """Return the patches of the picture, reduced by the stride of a scale; see `ScaleTokenizer`."""
        if self.strides[scale] == 1:
            return vectors
        # Pooled as a picture, not as vectors: a coarse cell looks like a patch of a smaller picture.
        return patches(F.avg_pool2d(unpatch(vectors, self.patch), self.strides[scale]), self.patch)

    def spread(self, cells: Tensor, scale: int) -> Tensor:
        """Return the patches of the picture that cells show, enlarged by bilinear interpolation."""
        if self.strides[scale] == 1:
            return cells
        picture = unpatch(cells, self.patch)
        large = F.interpolate(picture, scale_factor=self.strides[scale], mode="bilinear", align_corners=False)
        return patches(large, self.patch)

    @torch.no_grad()
    def quantise(self, cells: Tensor, scale: int) -> Tensor:
        """Return the codes (b, h', w', levels[scale]) of cells (b, channels, h', w')."""
        grid = cells.movedim(1, -1)
        rest, codes = grid.reshape(-1, self.channels).float(), []
        with torch.autocast(cells.device.type, enabled=False):  # the codes must not depend on the precision of a run
            for book in self.codebooks[scale]:
                codes.append(nearest(rest, book))
                rest = rest - book[codes[-1]]
        return torch.stack(codes, -1).reshape(*grid.shape[:-1], self.levels[scale])

    def embed(self, codes: Tensor, scale: int, level: int) -> Tensor:
        """Return what the codes (...) of one level add to a cell: (..., channels)."""
        return self.codebooks[scale][level][codes]

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Fit the codebooks to items (n, 1, H, W) by residual k-means, each scale on what the coarser ones leave.

        A coarse scale has few cells an item: with fewer items than codes it can only learn them by heart.
        """
        generator = torch.Generator().manual_seed(derive(rng.seed, "codebooks"))
        rest = self.encode(x.cpu().float())
        for scale, (size, depth) in enumerate(zip(self.vocab, self.levels, strict=True)):
            cells = self.pool(rest, scale)
            vectors = cells.movedim(1, -1).reshape(-1, self.channels)
            sample = vectors[torch.randperm(len(vectors), generator=generator)[:FIT_PATCHES]]
            books = residual_kmeans(sample, size, depth, self.lloyd, generator)
            self.codebooks[scale].copy_(books)
            # Finer scales learn what the codes leave, not what the cells would: in use codes are all that there is.
            drawn = self.cells(self.quantise(cells.to(x.device), scale), scale).cpu()
            rest = rest - self.spread(drawn, scale)

    def partial_sums(self, vectors: Tensor) -> list[Tensor]:
        """Return the vectors (b, channels, h, w) that the codes of vectors stand for, through 1 .. levels[-1] levels.

        Of the last scale, that is; the coarser ones are whole.
        """
        coded = self.code(vectors)
        before, last = (coded.sums[-2] if len(coded.sums) > 1 else torch.zeros_like(vectors)), len(self.strides) - 1
        depths = range(1, self.levels[-1] + 1)
        return [before + self.cells(coded.codes[-1][..., :depth], last) for depth in depths]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Reconstruction loss of the decoder at a random depth of the last scale; some positions arrive unquantised.

        The second is what inpainting gives the decoder: known positions as they are beside drawn codes.
        """
        del condition
        vectors = self.encode(x)
        sums = torch.stack(self.partial_sums(vectors))
        u = rng.uniform(3).to(x.device)
        depths = sorted({min(2, len(sums)), len(sums)})
        depth = torch.tensor(depths, device=x.device)[(u[:, 0] * len(depths)).long()] - 1
        quantised = sums[depth, torch.arange(len(x), device=x.device)]
        return reconstruction_loss(self.decode(mix_exact(vectors, quantised, u[:, 1:], rng)), x)

    @torch.no_grad()
    def metrics(self, x: Tensor) -> dict[str, float]:
        """Round-trip PSNR through each scale, trained and closed form, and the use of the codes of its first level."""
        coded = self.code(self.encode(x))
        result: dict[str, float] = {}
        for scale, (codes, vectors) in enumerate(zip(*coded, strict=True), 1):
            closed = unpatch(vectors, self.patch)
            result[f"closed_psnr_{scale}" if scale == len(coded.sums) else f"pyramid_psnr_{scale}"] = psnr(closed, x)
            used, perplexity = code_use(codes[..., 0], self.vocab[scale - 1])
            result[f"code_use_{scale}"], result[f"perplexity_{scale}"] = used, perplexity
        result[f"psnr_{len(coded.sums)}"] = psnr(self.decode(coded.sums[-1]), x)
        return result


def build(
    patch: Annotated[Literal[4, 8], "edge of a patch in pixels; 4 for thin-stroke masks"] = 8,
    # The paper's 1, 2, 3, 4, 5, 6, 8, 10, 13 and 16 cells a side do not nest, so that most cells straddle the edge of
    # a mask.
    strides: Annotated[tuple[int, ...], "edge of a cell in positions, one a scale, coarse to fine"] = (16, 8, 4, 2, 1),
    levels: Annotated[tuple[int, ...], "residual codes of a cell, one number a scale"] = (2, 2, 2, 4, 5),
    vocab: Annotated[tuple[int, ...], "codes per level, one number a scale"] = (256, 512, 1024, 1024, 1024),
    width: Annotated[int, "decoder channels on the patch grid", Range(1, 4096)] = 128,
    fine_width: Annotated[int, "decoder channels on the finer grid", Range(1, 4096)] = 64,
    blocks: Annotated[int, "residual blocks per grid", Range(0, 64)] = 2,
    lloyd: Annotated[int, "k-means iterations", Range(1, 1000)] = 15,
) -> PyramidCodes:
    """Build the tokenizer; call `fit` (the trainer does) before use.

    Raises:
        UsageError: `range`: scales that do not nest, or not one number for each.
    """
    check_strides(strides)
    for name, values in (("levels", levels), ("vocab", vocab)):
        if len(values) != len(strides) or min(values) < (2 if name == "vocab" else 1):
            facts = f"{len(strides)} strides, got {','.join(map(str, values))}"
            raise UsageError("range", name, "must be one positive number for each stride", facts)
    decoder = ContextDecoder(patch, width, fine_width, blocks)
    return PyramidCodes(patch, strides, levels, vocab, decoder, lloyd)
