"""What benchmarks of a GPU are made with: a book of what is found, the models, and a watch."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.data.masks import parse
from cmrgz.model import Model
from cmrgz.testing.elsewhere import subjects
from cmrgz.testing.subject import items


class Book:
    """What is found, written line by line; and when a section has to end."""

    def __init__(self, out: Path, seconds: float, device: torch.device, tiny: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path, self.seconds, self.device, self.tiny = out / "gpu.jsonl", seconds, device, tiny
        self.start, self.end, self.section = time.monotonic(), 0.0, ""

    def begin(self, section: str, share: float) -> None:
        """Start a section, with its share of the time."""
        self.section, self.end = section, time.monotonic() + share * self.seconds

    def write(self, **row: Any) -> None:
        """Write a line."""
        line = json.dumps({"section": self.section, "at": round(time.monotonic() - self.start, 1), **row})
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")

    def each(self, names: tuple[str, ...], work: Callable[["Case"], None]) -> None:
        """Do work on models as long as there is time; one that fails does not stop the others."""
        for name in names:
            if time.monotonic() > self.end:
                self.write(model=name, left_out="no time")
                continue
            try:
                for case in cases(name, self.tiny):
                    work(case)
            except Exception as error:  # noqa: BLE001
                self.write(model=name, failed=f"{type(error).__name__}: {error}"[:300])


@dataclass(frozen=True)
class Case:
    """A model on the CPU, and what it sees."""

    name: str
    model: Model
    size: tuple[int, ...]

    def there(self, device: torch.device) -> Model:
        """Return the model on a device."""
        return self.model.to(device)

    def items(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return items of which a part is given, 0 where hidden, and what is known."""
        shape = (1,) * (4 - len(self.size)) + self.size
        drawn = [torch.from_numpy(parse("patch:0.7").draw(shape, seed=seed + i)).view(self.size) for i in range(n)]
        known = torch.stack(drawn)[:, None]
        return torch.where(known, items(n, self.size, seed), 0.0), known


def cases(name: str, tiny: bool) -> Iterator[Case]:
    """Yield the models of a name: those with bundled weights, or the tiny builds of tests."""
    if tiny:
        for subject in subjects(name)[:1]:
            yield Case(f"{name} {subject.kind}", subject.model, subject.extent.item)
    elif registry.get_model(name).checkpoint:
        model = checkpoint.open_model(name)[0]
        yield Case(name, model, tuple(model.extent.item))


def synchronised(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], object], device: torch.device, seconds: float, least: int = 3) -> tuple[float, float]:
    """Return the median seconds of a call, and those after which the host could go on."""
    call()
    synchronised(device)
    whole, host, end = [], [], time.monotonic() + seconds
    while len(whole) < least or (time.monotonic() < end and len(whole) < 50):
        start = time.perf_counter()
        call()
        host.append(time.perf_counter() - start)
        synchronised(device)
        whole.append(time.perf_counter() - start)
    return sorted(whole)[len(whole) // 2], sorted(host)[len(host) // 2]


def apart(a: Tensor, b: Tensor) -> float:
    """Return the difference of two tensors as a share of the size of the second."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))
