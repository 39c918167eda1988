"""`vq`: frozen residual k-means codes of strictly local patches, and a trained contextual decoder."""

from typing import Annotated, Literal

import torch
from torch import Tensor
from vector_quantize_pytorch import ResidualVQ

from cmrgz.latents import patches, unpatch
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.options import Range
from cmrgz.rng import Streams, derive
from cmrgz_tokenizers.closed_form import sample_patches
from cmrgz_tokenizers.decoder import ContextDecoder, mix_exact, reconstruction_loss
from cmrgz_tokenizers.kmeans import nearest, residual_kmeans
from cmrgz_tokenizers.report import code_use, psnr


class ResidualCodes(CodeTokenizer):
    """Residual codes: a patch is the sum of one code of each level, coarse to fine.

    The vector of a position is its patch itself (64 pixel values at `patch` 8), so encoding is strictly local and
    exact; only `quantise` loses something. The codes are fitted in closed form and frozen, and nested: the first m
    levels are a tokenizer by themselves. One decoder serves them all, because it is trained at random depth.
    """

    def __init__(self, patch: int, vocab: int, levels: int, decoder: ContextDecoder, lloyd: int) -> None:
        super().__init__()
        self.patch, self.channels, self.vocab, self.levels, self.lloyd = patch, patch**2, vocab, levels, lloyd
        self.decoder = decoder
        # Frozen: codes that were trained along with an encoder ended below the k-means that they started from.
        self.quantiser = ResidualVQ(
            dim=self.channels, codebook_size=vocab, num_quantizers=levels, ema_update=False, learnable_codebook=False
        )
        for layer in self.quantiser.layers:  # bookkeeping of a training that frozen codes do not have
            layer._codebook._non_persistent_buffers_set.update({"embed_avg", "cluster_size", "initted"})

    @property
    def codebooks(self) -> Tensor:
        """The codes (levels, vocab, channels)."""
        return torch.stack([layer._codebook.embed[0] for layer in self.quantiser.layers])

    def encode(self, x: Tensor) -> Tensor:
        """Return the patches (b, patch**2, h, w) of items (b, 1, H, W)."""
        return patches(x, self.patch)

    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, H, W) of vectors (b, patch**2, h, w)."""
        return self.decoder(vectors)

    @torch.no_grad()
    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the codes (b, h, w, levels) of vectors (b, channels, h, w)."""
        grid = vectors.movedim(1, -1)
        rest, codes = grid.reshape(-1, self.channels).float(), []
        with torch.autocast(vectors.device.type, enabled=False):  # the codes must not depend on the precision of a run
            for book in self.codebooks:
                codes.append(nearest(rest, book))
                rest = rest - book[codes[-1]]
        return torch.stack(codes, -1).reshape(*grid.shape[:-1], self.levels)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return what the codes (...) of one level add to the vector: (..., channels)."""
        return self.quantiser.layers[level]._codebook.embed[0][codes]

    def partial_sums(self, codes: Tensor) -> list[Tensor]:
        """Return the vectors (b, channels, h, w) that the first 1 .. levels codes (b, h, w, levels) stand for."""
        total, sums = torch.zeros(()), []
        for level in range(codes.shape[-1]):
            total = total + self.embed(codes[..., level], level)
            sums.append(total.movedim(-1, 1))
        return sums

    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Fit the codebooks to the patches of items (n, 1, H, W) by residual k-means."""
        generator = torch.Generator().manual_seed(derive(rng.seed, "codebooks"))
        sample = sample_patches(x, self.patch, generator)
        books = residual_kmeans(sample, self.vocab, self.levels, self.lloyd, generator)
        for layer, book in zip(self.quantiser.layers, books, strict=True):
            layer._codebook.embed.copy_(book[None])

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Reconstruction loss of the decoder at a random depth per item; some positions arrive unquantised.

        The second is what inpainting gives the decoder: known positions as they are beside drawn codes.
        """
        del condition
        vectors = self.encode(x)
        sums = torch.stack([vectors, *self.partial_sums(self.quantise(vectors))])
        u = rng.uniform(3).to(x.device)
        # The depths that presets draw, so that one decoder serves all of them.
        depths = [level for level in (2, 4, self.levels) if level <= self.levels]
        depth = torch.tensor(depths, device=x.device)[(u[:, 0] * len(depths)).long()]
        quantised = sums[depth, torch.arange(len(x), device=x.device)]
        return reconstruction_loss(self.decode(mix_exact(vectors, quantised, u[:, 1:], rng)), x)

    @torch.no_grad()
    def metrics(self, x: Tensor) -> dict[str, float]:
        """Round-trip PSNR per depth, trained and closed form, and the use and perplexity of each level's codes."""
        codes = self.quantise(self.encode(x))
        result: dict[str, float] = {}
        for level, vectors in enumerate(self.partial_sums(codes), 1):
            result[f"psnr_{level}"] = psnr(self.decode(vectors), x)
            result[f"closed_psnr_{level}"] = psnr(unpatch(vectors, self.patch), x)
            used, perplexity = code_use(codes[..., level - 1], self.vocab)
            result[f"code_use_{level}"], result[f"perplexity_{level}"] = used, perplexity
        return result


def build(
    # At equal bits four codes of 8 x 8 pixels are 0.7 dB better than one of 4 x 4, with a quarter of the positions.
    patch: Annotated[Literal[4, 8], "edge of a patch in pixels; 4 for thin-stroke masks"] = 8,
    vocab: Annotated[int, "codes per level", Range(2, 65536)] = 1024,
    # On unseen patients 6 levels reach 32.9 dB and 4 levels 31.2.
    levels: Annotated[int, "residual levels; 4 is the fast preset", Range(1, 32)] = 6,
    width: Annotated[int, "decoder channels on the patch grid", Range(1, 4096)] = 128,
    fine_width: Annotated[int, "decoder channels on the finer grid", Range(1, 4096)] = 64,
    blocks: Annotated[int, "residual blocks per grid", Range(0, 64)] = 2,
    lloyd: Annotated[int, "k-means iterations", Range(1, 1000)] = 15,
) -> ResidualCodes:
    """Build the tokenizer; call `fit` (the trainer does) before use."""
    return ResidualCodes(patch, vocab, levels, ContextDecoder(patch, width, fine_width, blocks), lloyd)
