"""Layers of token networks."""

import torch

from cmrgz.tokens.layers import Whitening


def test_whitening_gives_components_of_about_equal_size() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator) * torch.tensor([10.0, 3.0, 1.0, 0.3, 0.01, 0.0])[:, None]
    vectors = torch.randn(5000, 6, generator=generator) @ mixing + 4
    whitening = Whitening(6)
    whitening.fit(vectors)
    white = whitening(vectors).double()
    variance = torch.linalg.eigvalsh(torch.cov(vectors.T.double()))
    torch.testing.assert_close(white.mean(0), torch.zeros(6, dtype=torch.float64), atol=1e-3, rtol=0)
    expected = torch.diag(variance / (variance + 0.01 * variance.mean()))
    torch.testing.assert_close(torch.cov(white.T), expected, atol=2e-3, rtol=0)
    assert expected[-1, -1] > 0.99 and expected[0, 0] < 0.01


def test_whitening_changes_nothing_before_it_is_fitted() -> None:
    vectors = torch.randn(3, 4)
    assert torch.equal(Whitening(4)(vectors), vectors)
