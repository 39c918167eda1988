"""The conformance suite, and the posterior against that of the same Gaussian written out in full."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_gaussian.model import build

from cmrgz.rng import Streams
from cmrgz.testing.checks.calibration import draws_are_its_posterior
from cmrgz.testing.checks.outcomes import Shown
from cmrgz.testing.conformance import parametrize_with_checks
from cmrgz.testing.ranks import rank
from cmrgz.testing.subject import Subject, known_part


@parametrize_with_checks("gaussian")
def test_it_conforms(check: Callable[[], None]) -> None:
    check()


def test_it_is_shown_to_be_a_posterior_sampler() -> None:
    """Of its own distribution, as the suite asks; and of the data, whose distribution it can have."""
    subject = Subject.of("gaussian")
    with pytest.raises(Shown, match="^posterior sampler: "):
        draws_are_its_posterior(subject)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(4, 64 * 64, generator=generator)

    def draw(n: int) -> torch.Tensor:
        z, noise = torch.randn(n, 4, generator=generator), torch.randn(n, 64 * 64, generator=generator)
        return (z @ factors + noise).view(n, 1, 64, 64)

    model = build((64, 64), 4)
    model.fit(draw(1000), rng=Streams(0, [("fit",)]))
    truth = draw(96)
    found = rank(lambda x, known, rng: model.sample(x, known, rng=rng), truth, known_part(96))
    assert found.verdict == "posterior sampler", found.line
    wide = rank(lambda x, known, rng: model.sample(x, known, rng=rng, temperature=1.3), truth, known_part(96))
    assert wide.verdict == "heuristic", wide.line


@torch.no_grad()
def test_draws_are_those_of_the_posterior() -> None:
    torch.manual_seed(0)
    model, n, item = build((4, 5), 3), 20_000, torch.randn(1, 1, 4, 5)
    model.factors.data = torch.randn(20, 3)
    known = torch.rand(1, 1, 4, 5) < 0.4
    seen = known.flatten()
    covariance = model.factors @ model.factors.T + model.variance * torch.eye(20)
    gain = covariance[~seen][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = model.mean[~seen] + gain @ (item.flatten() - model.mean)[seen]
    rest = covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]
    rng = Streams(0, [(i,) for i in range(n)])
    drawn = model.sample(item.where(known, 0.0).expand(n, -1, -1, -1), known.expand(n, -1, -1, -1), rng=rng)
    hidden = drawn.flatten(1)[:, ~seen]
    torch.testing.assert_close(hidden.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(hidden.T), rest, atol=0.1, rtol=0.05)


@torch.no_grad()
def test_the_loss_is_the_likelihood() -> None:
    torch.manual_seed(0)
    model, x = build((4, 5), 3), torch.randn(6, 1, 4, 5)
    covariance = model.factors @ model.factors.T + model.variance * torch.eye(20)
    rng = Streams(0, [(i,) for i in range(6)])
    seen = Streams(0, [(i,) for i in range(6)]).uniform(20) < 0.9
    total = 0.0
    for row, mask in zip(x.flatten(1), seen, strict=True):
        part = torch.distributions.MultivariateNormal(model.mean[mask], covariance[mask][:, mask])
        total -= float(part.log_prob(row[mask])) / int(mask.sum())
    assert float(model.loss(x, rng=rng).detach()) == pytest.approx(total / 6, rel=1e-4)
