"""The gradient of a step: of a batch at once, or of its shards, one after another or in several processes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cmrgz.arithmetic import autocast
from cmrgz.errors import PluginError, of_a_plugin
from cmrgz.model import Trainable
from cmrgz.rng import Streams, derive
from cmrgz.sending import device_of, sent
from cmrgz.training.frames import Batch
from cmrgz.training.ranks import Ranks
from cmrgz.training.state import trainable

ALONE = Ranks()


def own_items(size: int, shards: int, ranks: Ranks) -> list[int]:
    """Return the numbers of the items of a batch that this process makes, shard after shard."""
    length = size // shards
    return [shard * length + i for shard in ranks.own(shards) for i in range(length)]


def step_loss(
    module: Trainable, batch: Batch, seed: int, step: int, precision: str, items: range | None = None, shard: int = -1
) -> Tensor:
    """Return the loss of a step or a shard of it, a function of the weights and the numbers alone.

    Args:
        module: What is trained.
        batch: The items.
        seed: Of the run.
        step: Of the training.
        precision: `fp32` or `bf16`.
        items: Their numbers in the batch of the step; all of it if None.
        shard: Its number; none for a batch as a whole.

    Raises:
        PluginError: `plugin-output`, `plugin-broken`.
    """
    device = device_of(module)
    rng = Streams(seed, [("loss", step, i) for i in items or range(len(batch.x))])
    condition = {name: sent(value, device) for name, value in batch.condition.items()}
    # Dropout draws from the global generator. Seeded by step and shard, it has no state that a resume could restore
    # wrongly, and no process draws what another one does.
    torch.manual_seed(derive(seed, "dropout", step, *([] if shard < 0 else [shard])))
    with of_a_plugin("loss", "failed"), autocast(device, precision):
        loss = module.loss(sent(batch.x, device), condition=condition, rng=rng)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        what = "must be one number with a gradient"
        raise PluginError("plugin-output", "loss", what, f"got {type(loss).__name__}")
    return loss


def give_gradients(
    module: Trainable, batch: Batch, seed: int, step: int, precision: str, shards: int = 1, ranks: Ranks = ALONE
) -> Tensor:
    """Give the parameters the gradient of a step's mean loss, and return that loss (1,).

    Of several shards it is the mean of their losses. What a module changes in its buffers while it computes a loss,
    such as running statistics, each shard changes from where the step began; the mean of that stays.

    Args:
        module: What is trained.
        batch: The items of this process, see `own_items`.
        seed: Of the run.
        step: Of the training.
        precision: `fp32` or `bf16`.
        shards: Of the whole batch, K; the result depends on it.
        ranks: The processes; the result does not depend on them.

    Raises:
        PluginError: `plugin-output`, `plugin-broken`.
        ResourceError: `lost-process`.
    """
    # None is more than zero: AdamW leaves alone what has no gradient, while one of zeros decays.
    module.zero_grad(set_to_none=True)
    if shards == 1:
        loss = step_loss(module, batch, seed, step, precision)
        loss.backward()
        return loss.detach().reshape(1)
    made = _Made.of(module)
    own, total = ranks.own(shards), torch.zeros(0)
    length = len(batch.x) // len(own)
    for place, shard in enumerate(own):
        part = _part(batch, slice(place * length, (place + 1) * length))
        items = range(shard * length, (shard + 1) * length)
        loss = step_loss(module, part, seed, step, precision, items, shard)
        loss.backward()
        # One after another, in the order of the shards. An all_reduce adds in a tree or a ring whose shape follows from
        # the number of processes, and with it the last bits.
        for vector in ranks.gathered(made.taken(loss.detach())):
            total = total.add_(vector) if len(total) else vector.clone()
    return made.give(total.div_(shards), ranks.number == 1)


def _part(batch: Batch, items: slice) -> Batch:
    return Batch(batch.x[items], {name: value[items] for name, value in batch.condition.items()})


@dataclass(frozen=True)
class _Made:
    """What a shard makes: a loss, gradients, and changes of buffers of which a mean can be taken."""

    parameters: list[nn.Parameter]
    buffers: list[Tensor]
    before: list[Tensor]
    used: list[bool]
    """Which parameters have had a gradient in a shard of this process."""

    @classmethod
    def of(cls, module: Trainable) -> "_Made":
        """Look at a module before the first shard."""
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        parameters = list(trainable(module).values())
        return cls(parameters, buffers, [buffer.clone() for buffer in buffers], [False] * len(parameters))

    @torch.no_grad()
    def taken(self, loss: Tensor) -> Tensor:
        """Return it as one (n,), with which of it there is, and take it from the module."""
        now_used = [p.grad is not None for p in self.parameters]
        self.used[:] = [before or now for before, now in zip(self.used, now_used, strict=True)]
        used = sent(torch.tensor(now_used, dtype=loss.dtype), loss.device)
        changed = [(now != then).any().to(loss)[None] for now, then in zip(self.buffers, self.before, strict=True)]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        # One vector, so that there is one exchange a shard and not one for each parameter.
        vector = torch.cat([loss.reshape(1), used, *changed, *(x.flatten().to(loss) for x in gradients + self.buffers)])
        for p in self.parameters:
            p.grad = None
        for now, then in zip(self.buffers, self.before, strict=True):
            now.copy_(then)
        return vector

    @torch.no_grad()
    def give(self, mean: Tensor, alone: bool) -> Tensor:
        """Give the module the mean over the shards, and return that of the loss (1,)."""
        n, m = len(self.parameters), len(self.buffers)
        sizes = [1, n, m, *(x.numel() for x in (*self.parameters, *self.buffers))]
        loss, used, changed, *parts = mean.split(sizes)
        # What other processes have used must be asked for; the own ones are known, without a wait.
        known = self.used if alone else used.cpu().tolist()
        for p, part, given in zip(self.parameters, parts[:n], known, strict=True):
            p.grad = part.view_as(p).to(p) if given else None
        for x, part, given in zip(self.buffers, parts[n:], changed, strict=True):
            x.copy_(torch.where(given > 0, part.view_as(x), x))
        return loss
