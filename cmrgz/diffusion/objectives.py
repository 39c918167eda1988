"""What a network predicts, and how it becomes the one thing that samplers use: x0, the expected data.

Every formula takes factors `a` (signal) and `s` (noise) of the state z = a * x + s * e, as numbers or as tensors that
broadcast.
"""

from abc import ABC, abstractmethod

from torch import Tensor

Factor = float | Tensor


class Objective(ABC):
    """A parametrisation of the denoiser."""

    def enter(self, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the state as the network takes it."""
        del a, s
        return z

    @abstractmethod
    def target(self, x: Tensor, e: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return what the network is to predict."""

    @abstractmethod
    def to_x0(self, output: Tensor, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the expected data, given the network's output for the state z."""

    def weight(self, snr: Tensor, gamma: float) -> Tensor:
        """Return the weight of the squared error at a signal-to-noise ratio a**2 / s**2.

        Min-SNR: the error of x0 counts min(snr, gamma) (Hang et al. 2023, arXiv 2303.09556).
        """
        del gamma
        return snr.new_ones(snr.shape)

    def even_weight(self, snr: Tensor) -> Tensor:
        """Return the weight with which the squared error of standard normal data counts alike at all levels.

        That of the velocity then has the weight 1 (Karras et al. 2022, arXiv 2206.00364, table 1, for unit variance).
        """
        return snr.new_ones(snr.shape)


class Noise(Objective):
    """The noise e (Ho et al. 2020, arXiv 2006.11239)."""

    def target(self, x: Tensor, e: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return e."""
        del x, a, s
        return e

    def to_x0(self, output: Tensor, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return (z - s e) / a."""
        # a is never 0, see `levels.LEAST_AB`; near noise an error of the output is magnified by 1 / a.
        return (z - s * output) / a

    def weight(self, snr: Tensor, gamma: float) -> Tensor:
        """Return min(snr, gamma) / snr."""
        return snr.clamp(max=gamma) / snr

    def even_weight(self, snr: Tensor) -> Tensor:
        """Return (snr + 1) / snr, at most 1000."""
        # Without a bound one item near pure noise would be most of the loss of its batch.
        return (1 + 1 / snr).clamp(max=1000)


class Velocity(Objective):
    """v = a e - s x (Salimans and Ho 2022, arXiv 2202.00512, app. D)."""

    def target(self, x: Tensor, e: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return a e - s x."""
        return a * e - s * x

    def to_x0(self, output: Tensor, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return a z - s v."""
        return a * z - s * output

    def weight(self, snr: Tensor, gamma: float) -> Tensor:
        """Return min(snr, gamma) / (snr + 1)."""
        return snr.clamp(max=gamma) / (snr + 1)


class Data(Objective):
    """The data x itself."""

    def target(self, x: Tensor, e: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return x."""
        del e, a, s
        return x

    def to_x0(self, output: Tensor, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the output."""
        del z, a, s
        return output

    def weight(self, snr: Tensor, gamma: float) -> Tensor:
        """Return min(snr, gamma)."""
        return snr.clamp(max=gamma)

    def even_weight(self, snr: Tensor) -> Tensor:
        """Return snr + 1, at most 1000."""
        # Likewise near clean data.
        return (snr + 1).clamp(max=1000)


class Flow(Objective):
    """The velocity e - x of the straight path (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, 2209.03003).

    With s' = s / (a + s) the state of the straight path is z / (a + s) = (1 - s') x + s' e.
    """

    def enter(self, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the state on the straight path."""
        return z / (a + s)

    def target(self, x: Tensor, e: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return e - x."""
        del a, s
        return e - x

    def to_x0(self, output: Tensor, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return z' - s' v."""
        return (z - s * output) / (a + s)


# Flow has no weights of its own: its times of training, logit-normal, weigh the levels already.
OBJECTIVES: dict[str, Objective] = {"v": Velocity(), "eps": Noise(), "x0": Data(), "flow": Flow()}
