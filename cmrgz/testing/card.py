"""A GPU without a GPU: tensors that say that they are on a card, compute on the CPU, and tell what would cost time.

    with on_card() as costs:
        model.to(card()).sample(x.to(card()), known.to(card()), rng=rng)
    print(costs)

What a GPU refuses is refused: operands on two devices, and reading a tensor of the card as an array. So is one thing
that a GPU does in silence: an index on the CPU, which it copies. Results are those of the CPU, to the bit. Neither the
numbers of its kernels, nor its memory, nor its time can be told. Attention and RMSNorm count as one kernel, as there.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from cmrgz.graphs import RECORDERS
from cmrgz.testing.card_operations import ASKS, COPIES, FREE, HOST, INDEXED, NAME, UNSTEADY
from cmrgz.testing.card_operations import Costs as Costs
from cmrgz.testing.card_operations import card as card

PACKAGES = ("cmrgz",)
"""Of whose lines costs are told: all packages whose names begin so."""
Op = Any
"""An `OpOverload` of torch, which has no public type."""


class CardTensor(Tensor):
    """A tensor of the card; `held` is what it holds, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type["CardTensor"], held: Tensor, requires_grad: bool = False) -> "CardTensor":
        """Put a tensor on the card; it is not copied."""
        made: CardTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=card(),
            requires_grad=requires_grad,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"CardTensor({self.held!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "CardTensor":
        return CardTensor(self.held.detach().clone(), self.requires_grad)

    @classmethod
    def __torch_dispatch__(cls, func: Op, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Compute an operation that takes such tensors."""
        return _Card.current().compute(func, args, kwargs or {})


def held(value: Any) -> Any:
    """Return a tensor as it is on the CPU, uncounted; what is none as it is."""
    return value.held if isinstance(value, CardTensor) else value


class _Card(TorchDispatchMode):
    """All operations while the card is in use, also those that make tensors from nothing."""

    active: "list[_Card]" = []

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs = Costs()
        self.within = False
        self.tape: list[Callable[[], None]] | None = None

    @contextmanager
    def one_kernel(self) -> Iterator[None]:
        """Count all that is done within as one kernel."""
        self.costs.launches[place()] += 1
        self.within = True
        try:
            yield
        finally:
            self.within = False

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Do work, and return with its results what does all its operations anew, in the same memory, as one kernel."""
        before, tape = self.costs, list[Callable[[], None]]()
        self.costs, self.tape = Costs(), tape
        try:
            made = work()
        finally:
            asked, self.costs, self.tape = self.costs, before, None
        # CUDA ends a capture in which the host waits or copies from its own memory.
        if asked.waits or asked.up or asked.down:
            raise RuntimeError(f"operation not permitted when stream is capturing: {asked}")

        def replay() -> None:
            _Card.current().costs.launches[place()] += 1
            for operation in tape:
                operation()

        return made, replay

    @classmethod
    def current(cls) -> "_Card":
        """Return the one in use; a tensor of the card may be computed with where none is."""
        return cls.active[-1] if cls.active else cls()

    def __torch_dispatch__(self, func: Op, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute any operation."""
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Op, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute an operation where it belongs, and count it."""
        device = kwargs.get("device")
        to_card = device is not None and torch.device(device).type == NAME
        leaves = tree_leaves((args, kwargs))
        if not to_card and not any(isinstance(leaf, CardTensor) for leaf in leaves):
            return func(*args, **kwargs)
        if func in COPIES:
            return self._copy(func, args, kwargs, to_card)
        # Made of others on a GPU as well, each of which is a kernel and is counted by itself.
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        if func in UNSTEADY and torch.are_deterministic_algorithms_enabled():
            _refuse_unsteady(func, args)
        if not to_card:
            _refuse_two_devices(func, leaves)
        if device is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        low = tree_map(held, (args, kwargs))
        made = func(*low[0], **low[1])
        self._count(func, args)
        self._note(func, low, made)
        return made if func in HOST else _raised(func, made, args)

    def _note(self, func: Op, low: Any, made: Any) -> None:
        """Put an operation on tape, if there is one; what it makes will be written where it is now."""
        if self.tape is None or func.is_view or func in FREE:
            return
        outs = [] if func._schema.is_mutable else [out for out in tree_leaves(made) if isinstance(out, Tensor)]

        def again() -> None:
            fresh = func(*low[0], **low[1])
            for out, value in zip(outs, [v for v in tree_leaves(fresh) if isinstance(v, Tensor)], strict=False):
                out.copy_(value)

        self.tape.append(again)

    def _count(self, func: Op, args: Any) -> None:
        if not func.is_view and func not in FREE and not self.within:
            self.costs.launches[place()] += 1
        if func in ASKS or (func in INDEXED and _by_mask(args)):
            self.costs.waits[place()] += 1

    def _copy(self, func: Op, args: Any, kwargs: dict[str, Any], to_card: bool) -> Any:
        """Copy between the devices, or on one of them."""
        new = func is torch.ops.aten._to_copy.default
        source = args[0] if new else args[1]
        onto = to_card or (kwargs.get("device") is None and isinstance(args[0], CardTensor))
        here = isinstance(source, CardTensor)
        way = self.costs.launches if here and onto else self.costs.down if here else self.costs.up
        way[place()] += not self.within
        waits = not (kwargs.get("non_blocking") or (not new and len(args) > 2 and args[2]))
        if here != onto and waits and (here or source.dim()):  # a number goes up with the launch
            self.costs.waits[place()] += 1
        if new and kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        low = tree_map(held, (args, kwargs))
        made = func(*low[0], **low[1])
        self._note(func, low, made)
        if not new:
            return args[0]
        fresh = made.clone() if made is source else made  # what is on two devices shares no memory
        return CardTensor(fresh) if onto else fresh


RECORDERS[NAME] = lambda: lambda work: _Card.current().record(work)  # a recorder outlives a card


def _raised(func: Op, made: Any, args: Any) -> Any:
    """Return results as tensors of the card; what an operation changed in place is the argument itself."""
    given = {id(arg.held): arg for arg in tree_leaves(args) if isinstance(arg, CardTensor)}

    def raised(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, CardTensor):
            return value
        return given[id(value)] if func._schema.is_mutable and id(value) in given else CardTensor(value)

    return tree_map(raised, made)


def _by_mask(args: Any) -> bool:
    """Return whether an index is by a mask, whose number of places the host asks for; numbers are put in without."""
    masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
    return bool(masks) and not (len(args) > 2 and args[2].numel() == 1 and len(masks) == len(args[1]) == 1)


def _refuse_unsteady(func: Op, args: Any) -> None:
    if func is not torch.ops.aten.cumsum.default or args[0].is_floating_point():  # of whole numbers it is steady
        raise RuntimeError(f"{func} does not have a deterministic implementation: at {place()}")


def _refuse_two_devices(func: Op, leaves: list[Any]) -> None:
    stray = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, CardTensor) and leaf.dim()]
    if stray:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in stray)
        raise RuntimeError(f"tensors on {NAME}:0 and cpu {shapes}: {func} at {place()}")


def place() -> str:
    """Return the innermost line of the project that is at work."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(PACKAGES) and not name.startswith(__name__):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"


_TENSOR, _ATTENTION, _RMS_NORM = torch.tensor, F.scaled_dot_product_attention, F.rms_norm


def _tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """Make a tensor as `torch.tensor`, which copies to a device out of sight."""
    made = _TENSOR(data, *args, **kwargs)
    return made if device is None else made.to(device)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, *args: Any, **how: Any
) -> Tensor:
    """Attend as the CPU does, by one kernel where it has one: torch does not ask it for tensors of the card."""
    low: Any = tree_map(held, (q, k, v, attn_mask))
    if not isinstance(q, CardTensor) or torch._fused_sdp_choice(*low, dropout_p, *args, **how) != 1:  # type: ignore[call-arg]
        return _ATTENTION(q, k, v, attn_mask, dropout_p, *args, **how)
    causal = args[0] if args else how.get("is_causal", False)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill_(~attn_mask, -torch.inf)
    out: Tensor = kernel(q, k, v, dropout_p, causal, attn_mask=attn_mask, scale=how.get("scale"))[0]
    return out


def _rms_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Normalise as the CPU does, which has no one kernel for it."""
    if not isinstance(x, CardTensor):
        return _RMS_NORM(x, *args, **kwargs)
    with _Card.current().one_kernel():
        return _RMS_NORM(x, *args, **kwargs)


_PATCHES: list[tuple[Any, str, Callable[..., Any]]] = [
    (torch, "tensor", _tensor),
    (torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else torch.enable_grad()),  # lives not in it
    (F, "scaled_dot_product_attention", _attention),
    (F, "rms_norm", _rms_norm),
]


@contextmanager
def on_card() -> Iterator[Costs]:
    """Let the card be in use, and tell what it is asked for."""
    card()
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _PATCHES]
    mode = _Card()
    _Card.active.append(mode)
    for owner, name, function in _PATCHES:
        setattr(owner, name, function)
    try:
        with torch.autograd.set_multithreading_enabled(False), mode:  # it has no threads for devices that come late
            yield mode.costs
    finally:
        _Card.active.pop()
        for owner, name, function in before:
            setattr(owner, name, function)
