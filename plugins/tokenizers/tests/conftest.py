"""Items like scans, smooth with fine detail, and small tokenizers fitted to them."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_tokenizers import fsq, vq
from torch import Tensor
from torch.nn.functional import interpolate

from cmrgz.model import CodeTokenizer
from cmrgz.rng import Streams

Built = Callable[..., CodeTokenizer]
SMALL = {"width": 16, "fine_width": 8, "blocks": 1}


@pytest.fixture(scope="session")
def items() -> Tensor:
    """Return 16 items (16, 1, 64, 64) in [-1, 1]: noise of three scales."""
    generator = torch.Generator().manual_seed(0)
    scales = [(8, 0.6), (32, 0.2), (64, 0.05)]
    noise = [a * interpolate(torch.randn(16, 1, n, n, generator=generator), 64, mode="bilinear") for n, a in scales]
    return torch.stack(noise).sum(0).clamp(-1, 1)


@pytest.fixture(scope="session")
def built(items: Tensor) -> Built:
    """Return `built(name, patch=8, shaken=False)` -> a fitted tokenizer; `shaken` ones look as if they were trained."""

    def build(name: str, patch: int = 8, shaken: bool = False) -> CodeTokenizer:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            if name == "vq":
                tokenizer: CodeTokenizer = vq.build(patch, vocab=16, levels=5, lloyd=4, **SMALL)
            else:
                tokenizer = fsq.build(patch, groups=3, hidden=24, **SMALL)
            tokenizer.fit(items, rng=Streams(0, [("fit",)]))
            for parameter in (p for p in tokenizer.parameters() if shaken and p.requires_grad):
                parameter.data += 0.05 * torch.randn_like(parameter)
        return tokenizer.eval()

    return build
