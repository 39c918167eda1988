"""The head for single vectors against distributions that are known exactly."""

import pytest
import torch
from torch import Tensor

from cmrgz.diffusion.head import DiffusionHead, Solver, VectorDenoiser
from cmrgz.rng import Streams

SOLVERS: tuple[Solver, ...] = ("dpm", "unipc", "heun", "ddim", "ddpm")
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.5], [0.6, -0.4]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, -0.05], [-0.05, 0.2]]], dtype=torch.float64)


class Planar(VectorDenoiser):
    """The exact denoiser of a mixture of two Gaussians in the plane, moved by the features (..., 2)."""

    def prepare(self, features: Tensor) -> Tensor:
        return features

    def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
        level = self.head.path.level(float(time.flatten()[0]))
        a, s = level.signal, level.noise
        z = state.double() / float(self.head.objective.enter(torch.ones(()), a, s))
        off = (z - a * told)[..., None, :] - a * MEANS
        inverse = torch.linalg.inv(a**2 * COVARIANCES + s**2 * torch.eye(2, dtype=torch.float64))
        pulled = torch.einsum("...ki,kij->...kj", off, inverse)
        share = (WEIGHTS.log() + torch.logdet(inverse) / 2 - (off * pulled).sum(-1) / 2).softmax(-1)
        own = told[..., None, :] + MEANS + a * torch.einsum("...ki,kij->...kj", pulled, COVARIANCES)
        x0 = (share[..., None] * own).sum(-2)
        return self.head.objective.target(x0, (z - a * x0) / s, a, s)


def planar(objective: str = "flow") -> DiffusionHead:
    network = Planar()
    head = DiffusionHead(network, objective)  # type: ignore[arg-type]
    object.__setattr__(network, "head", head)
    return head


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(n: int) -> Tensor:
    """Return exact draws (n, 2)."""
    which = torch.multinomial(WEIGHTS, n, replacement=True, generator=torch.Generator().manual_seed(1))
    return MEANS[which] + (torch.linalg.cholesky(COVARIANCES)[which] @ normal(n, 2, 1, seed=2))[..., 0]


def distance(x: Tensor, y: Tensor) -> float:
    """Return the largest of the 1-D Wasserstein distances along eight directions, of as many points (n, 2) each."""
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 8
    along = torch.stack([angle.cos(), angle.sin()])
    return float(((x @ along).sort(0)[0] - (y @ along).sort(0)[0]).abs().mean(0).max())


@pytest.mark.parametrize("objective", ["flow", "v", "eps", "x0"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_solvers_draw_a_mixture_that_is_told(objective: str, solver: Solver) -> None:
    """Two Gaussians in the plane, moved by the features: the error of the default steps is small beside the spread."""
    n, head = 8000, planar(objective)
    moved = torch.tensor([0.5, -1.0], dtype=torch.float64)
    truth = mixture(n) + moved
    steps = {"ddim": 60, "ddpm": 60}.get(solver, 20)
    drawn = head.draw(moved.expand(n, 2), normal(n, head.noises(steps, solver), 2), steps, 1.0, solver).double()
    assert distance(truth, mixture(n)) > 0.4
    assert distance(drawn, truth) < 0.06


def test_more_steps_are_nearer() -> None:
    n, head = 8000, planar()
    errors = [distance(head.draw(torch.zeros(n, 2), normal(n, 1, 2), steps), mixture(n)) for steps in (3, 8, 20)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


class Gaussian(VectorDenoiser):
    """The exact denoiser of N(features, 0.5**2)."""

    def prepare(self, features: Tensor) -> Tensor:
        return features

    def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
        s = time[..., None] / 1000  # a flow: state (1 - s) x + s e
        a = 1 - s
        gain = a * 0.25 / (a**2 * 0.25 + s**2)
        x0 = told + gain * (state - a * told)
        return (state - x0) / s


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_temperature_multiplies_the_spread_of_a_gaussian(temperature: float, solver: Solver) -> None:
    n, steps, head = 4000, 40, DiffusionHead(Gaussian(), "flow")
    noise = normal(n, head.noises(steps, solver), 1)
    full = head.draw(torch.full((n, 1), 0.7).double(), noise, steps, 1.0, solver)
    drawn = head.draw(torch.full((n, 1), 0.7).double(), noise, steps, temperature, solver)
    torch.testing.assert_close(drawn - 0.7, temperature * (full - 0.7), rtol=0, atol=3e-3)
    assert float(full.std()) == pytest.approx(0.5, rel=0.1 if solver == "ddpm" else 0.05)


def test_the_loss_is_least_for_the_exact_denoiser() -> None:
    """At all levels at once: any other scale or shift of what is predicted is worse."""

    class Worse(Gaussian):
        factor, shift = 1.0, 0.0

        def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
            return self.factor * super().forward(state, time, told) + self.shift

    network = Worse()
    head, rng = DiffusionHead(network, "flow", draws=8), [(i,) for i in range(64)]
    features = normal(64, 50, 1)
    x = features + 0.5 * normal(64, 50, 1, seed=1)
    best = head.loss(features, x, Streams(0, rng)).mean()
    for network.factor, network.shift in ((1.05, 0.0), (0.95, 0.0), (1.0, 0.05), (1.0, -0.05)):
        assert head.loss(features, x, Streams(0, rng)).mean() > best


def test_levels_are_spread_evenly_over_the_draws() -> None:
    """Of four draws of an item one is in each quarter, so that every item sees noise of every size."""
    seen: list[Tensor] = []

    class Recorder(Gaussian):
        def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
            seen.append(time)
            return super().forward(state, time + 1e-3, told)

    head = DiffusionHead(Recorder(), "v", draws=4)
    head.loss(torch.zeros(32, 5, 1), torch.zeros(32, 5, 1), Streams(0, [(i,) for i in range(32)]))
    assert torch.equal((seen[0][..., 0] / 250).long(), torch.arange(4).expand(32, 4))


def test_a_vector_does_not_see_its_neighbours() -> None:
    head, noise = planar(), normal(6, 1, 2)
    features = normal(6, 2, seed=3)
    base = head.draw(features, noise)
    changed = features.clone()
    changed[3:] += 1
    assert torch.equal(head.draw(changed, noise)[:3], base[:3])
    assert not torch.equal(head.draw(changed, noise)[3:], base[3:])
