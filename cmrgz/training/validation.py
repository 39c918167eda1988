"""How good the weights of a run are on patients that are held out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from cmrgz.data.cases import Case
from cmrgz.data.cines import read_cine
from cmrgz.errors import of_a_plugin, warn
from cmrgz.model import Trainable
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.training.frames import Batch, held_out
from cmrgz.training.patients import Patients
from cmrgz.training.plan import Plan
from cmrgz.training.state import State


class Validation:
    """Loss and figures of merit on held-out patients, patient by patient; warns where training made things worse."""

    def __init__(self, module: Trainable, held: Sequence[Case], extent: Extent, plan: Plan, patients: Patients) -> None:
        self.module, self.plan = module, plan
        read = (read_cine(case, spacing=extent.spacing) for case in held)
        cines = (replace(cine, patient=patients.of(case)) for cine, case in zip(read, held, strict=True))
        self.batches = [held_out(cine, extent, plan.train.validation_items) for cine in cines]

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, Any]:
        """Return the figures of the averaged weights."""
        self.module.eval()
        with state.averaged():
            rows = [self._row(batch) for batch in self.batches]
        names = rows[0] if rows else {}
        _warn_below_closed_form(rows)
        # A mean over patients, not over frames: who was scanned for longer does not count for more.
        return {"validation": {name: sum(row[name] for row in rows) / len(rows) for name in names}, "patients": rows}

    def _row(self, batch: Batch) -> dict[str, float]:
        x = batch.x.to(self.plan.device)
        condition = {name: value.to(self.plan.device) for name, value in batch.condition.items()}
        # The same noise each time: two validations differ by the weights alone.
        rng = Streams(self.plan.seed, [("validation", i) for i in range(len(x))])
        with of_a_plugin("validation", "failed"):
            return {"loss": float(self.module.loss(x, condition=condition, rng=rng)), **self.module.metrics(x)}


def _warn_below_closed_form(rows: Sequence[Mapping[str, float]]) -> None:
    """Warn where a trained round trip is worse than the closed form that it started from."""
    for number, row in enumerate(rows):
        worse = [name for name in row if f"closed_{name}" in row and row[name] < row[f"closed_{name}"] - 0.005]
        if worse:
            facts = ", ".join(f"{name} {row[name]:.2f} < {row[f'closed_{name}']:.2f} dB" for name in worse[:2])
            warn("below-closed-form", f"held-out patient {number}", "the trained decoder is worse", facts)
