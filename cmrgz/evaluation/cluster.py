"""Sweeps on a Ray cluster: units are tasks, this process alone writes.

A worker that is lost costs only what it had in hand: its units are done again elsewhere. Every worker computes with as
many threads as this process does, so that results are those of a local run, bit for bit, on the same kind of device.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from cmrgz.errors import CmrgzError, ResourceError
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.competitors import Method
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.sweep import Compute, Computed, Sweep, attempt

RETRIES = 5
"""How often a unit is tried again whose worker was lost."""
AHEAD = 2
"""Units in flight for each worker: one at work, one waiting."""

_worker: dict[str, Any] = {}
"""What a worker process keeps between its units: the scorer, the method in hand, which methods were tested."""


def on_cluster(sweep: Sweep, address: str) -> Compute:
    """Return what computes units on a cluster, a task on a quarter of a GPU where there are some.

    Args:
        sweep: The sweep; units are sent with their frames, methods without their weights.
        address: Of a running cluster, or `auto` for the one of the environment or, where there is none, a local one.

    Raises:
        ResourceError: Ray is not installed, or the cluster does not answer.
    """
    import torch

    ray = _connected(address)
    share = 0.25 if sweep.device.startswith("cuda") else 0.0
    # Tasks, not actors: one whose worker is lost is tried again by Ray itself, wherever there is room by then.
    task = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=share)(_task)
    there = ray.cluster_resources()
    places = max(1, int(there.get("GPU", 0) / share if share else there.get("CPU", 1)))
    setting = (sweep.device, sweep.options.extractors, sweep.scorer.shown, torch.get_num_threads())

    def compute(units: Iterable[Unit]) -> Iterator[tuple[Unit, Computed | CmrgzError]]:
        waiting, running, methods = deque(units), dict[Any, Unit](), dict[str, Any]()
        while waiting or running:
            while waiting and len(running) < AHEAD * places:
                unit = waiting.popleft()
                if unit.method.key not in methods:
                    methods[unit.method.key] = ray.put(unit.method)  # once, not with each of its units
                parts = (unit.mask, unit.seed, unit.samples, unit.frames, unit.cells)
                sent = task.remote(methods[unit.method.key], parts, setting)
                running[sent] = unit
            # As they come: a slow unit must not hold up what is done, which is stored only here.
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(ready), _result(ray, ready)

    return compute


def _task(method: Method, parts: Any, setting: Any) -> Computed | CmrgzError:
    """Compute a unit in a worker, which keeps its scorer and its model for the next one."""
    import torch

    device, extractors, shown, threads = setting
    torch.set_num_threads(threads)  # Ray sets one; sums in another sweep have other bits
    scorer: Scorer = _worker.get("scorer") or Scorer.open(device, extractors)
    scorer.shown, _worker["scorer"] = shown, scorer
    # What came with the task is another copy, without weights: the one in hand may have read them for the last unit.
    held: Method | None = _worker.get("method")
    fresh = held is None or held.key != method.key
    if held is not None and not fresh:
        method = held
    elif held is not None:
        held.close()
    _worker["method"] = method
    return attempt(scorer, Unit(method, *parts), leak=fresh)


def _result(ray: Any, reference: Any) -> Computed | CmrgzError:
    """Return what a task gave; one that was lost again and again counts as failed."""
    try:
        found: Computed | CmrgzError = ray.get(reference)
    except ray.exceptions.RayError as error:
        what = f"a worker was lost {RETRIES + 1} times or could not start: {type(error).__name__}"
        return CmrgzError("cluster", "unit", what)
    return found


def _connected(address: str) -> Any:
    """Return Ray, connected to a cluster; `auto` starts a local one where none runs."""
    where = "option --cluster"
    try:
        import ray

        # Without an address Ray looks for the cluster of the environment, then of this machine, and then starts one.
        place = {"include_dashboard": False} if address == "auto" else {"address": address}
        if not ray.is_initialized():
            ray.init(**place, log_to_driver=False, logging_level="ERROR")
    except ImportError:
        hint = "pip install 'cmrgz[cluster]'"
        raise ResourceError("missing", where, "Ray is not installed", hint=hint) from None
    except ConnectionError as error:
        raise ResourceError("cluster", where, "the cluster does not answer", address, "ray start --head") from error
    return ray
