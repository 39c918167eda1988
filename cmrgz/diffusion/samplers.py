"""From noise to data: the solvers of the generative process, in variance-preserving variables.

Each takes `denoise(z, level) -> x0`, a state of noise z (b, c, h, w) and the levels, and calls the network once per
step, `heun` twice but for the last.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from cmrgz.diffusion.levels import Level, Levels

Denoise = Callable[[Tensor, Level], Tensor]
Noise = Callable[[], Tensor]
"""Fresh standard normal numbers of the shape of a state."""
Tick = Callable[[], None]
"""Called once per step."""


def step(z: Tensor, x0: Tensor, here: Level, there: Level, eta: float, noise: Noise) -> Tensor:
    """Return the state at a less noisy level, given the expected data (Song et al. 2021, arXiv 2010.02502, eq. 12).

    `eta` 0 is deterministic, 1 has the variance of the reversed diffusion.
    """
    if there.ab >= 1:
        return x0
    fresh = eta * math.sqrt((1 - there.ab) / (1 - here.ab) * (1 - here.ab / there.ab))
    # With eta 1 near pure noise this is a rounding error, of either sign.
    kept = math.sqrt(max(1 - there.ab - fresh**2, 0.0)) / here.noise
    z = kept * z + (there.signal - kept * here.signal) * x0
    # Without fresh noise none is drawn: a deterministic solver takes one number of each stream, its start.
    return z + fresh * noise() if fresh else z


def ddim(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """First-order steps (Song et al. 2021, arXiv 2010.02502). For a flow this is Euler's method, exactly."""
    for here, there in pairwise(levels):
        z = step(z, denoise(z, here), here, there, eta, noise)
        tick()
    return z


def ddpm(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """Ancestral steps (Ho et al. 2020, arXiv 2006.11239): `ddim` with eta 1."""
    del eta
    return ddim(denoise, z, levels, noise, tick, 1.0)


def euler(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """Euler's method for the ordinary differential equation: `ddim` with eta 0."""
    del eta
    return ddim(denoise, z, levels, noise, tick, 0.0)


def heun(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """Heun's method on the straight path (1 - s) x + s e (Karras et al. 2022, arXiv 2206.00364, alg. 1)."""
    del noise, eta
    for here, there in pairwise(levels):
        s, s_next = (level.noise / (level.signal + level.noise) for level in (here, there))
        straight = z / (here.signal + here.noise)
        slope = (straight - denoise(z, here)) / s
        moved = straight + (s_next - s) * slope
        # At the end s_next is 0, and the second slope would be divided by it: the last step is Euler's, as in alg. 1.
        if there.ab < 1:
            ahead = denoise(moved * (there.signal + there.noise), there)
            moved = straight + (s_next - s) * (slope + (moved - ahead) / s_next) / 2
        z = moved * (there.signal + there.noise)
        tick()
    return z


def dpm(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M), the last step of first order (Lu et al. 2022, arXiv 2211.01095, alg. 2)."""
    del noise, eta
    before: Tensor | None = None
    last = 0.0
    for here, there in pairwise(levels):
        x0 = denoise(z, here)
        h = there.log_snr - here.log_snr
        # First order without a step before, and in the last one, whose h is infinite (diffusers: euler_at_final).
        slope = x0 if before is None or math.isinf(h) else x0 + h / (2 * last) * (x0 - before)
        kept = there.noise / here.noise
        z = kept * z + (there.signal - kept * here.signal) * slope
        before, last = x0, h
        tick()
    return z


def trig(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """Adams-Bashforth of order 2 in the angle atan2(noise, signal) (the path of Lu and Song 2024, arXiv 2410.11081).

    There the derivative of a state is the expected v, which is 0 for standard normal data: those are solved without
    error in any number of steps, while solvers that hold the expected data narrow their spread.
    """
    del noise, eta
    before: tuple[Tensor, float] | None = None  # the expected v of the step before, and that step
    for here, there in pairwise(levels):
        turn = here.angle - there.angle
        v = (here.signal * z - denoise(z, here)) / here.noise
        # The weights 1 + r/2 and -r/2 of Adams-Bashforth for steps of unequal length, r this one over the last.
        slope = v if before is None else v + turn / (2 * before[1]) * (v - before[0])
        z = z - turn * slope
        before = v, turn
        tick()
    return z


def unipc(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise, tick: Tick, eta: float = 0.0) -> Tensor:
    """UniPC of order 2 with B(h) = exp(h) - 1, data prediction (Zhao et al. 2023, arXiv 2302.04867, alg. 1-2).

    The call that a step needs anyway first corrects the state that it is made for.
    """
    del noise, eta
    x0 = denoise(z, levels[0])
    old: tuple[Tensor, float] | None = None  # the expected data of the step before, and that step
    for here, there in pairwise(levels):
        h = there.log_snr - here.log_snr
        kept = there.noise / here.noise
        gain = there.signal - kept * here.signal
        base = kept * z + gain * x0
        # The step before lies at r < 0 in units of this one; differences are divided by it, as in the paper's D1.
        past = None if old is None else (old[0] - x0) / -(old[1] / h)
        moved = base if past is None or math.isinf(h) else base + gain * past / 2
        tick()
        if math.isinf(h):
            return moved
        ahead = denoise(moved, there)
        z = base + gain * _correction(ahead - x0, past, 0.0 if old is None else -old[1] / h, h)
        old, x0 = (x0, h), ahead
    return z


def _correction(ahead: Tensor, past: Tensor | None, r: float, h: float) -> Tensor:
    """Return the corrector's sum of differences, weights from the order conditions [[1, 1], [r, 1]] rho = b."""
    if past is None:
        return ahead / 2
    # Not exp(-h) - 1, of which the digits cancel where steps are short.
    one = math.expm1(-h)
    first = one / -h - 1
    second = first / -h - 0.5
    b1, b2 = first / one, 2 * second / one
    rho_past = (b1 - b2) / (1 - r)
    return rho_past * past + (b1 - rho_past) * ahead


Sampler = Callable[[Denoise, Tensor, Levels, Noise, Tick, float], Tensor]
SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm": dpm,
    "unipc": unipc,
    "trig": trig,
    "euler": euler,
    "heun": heun,
}
