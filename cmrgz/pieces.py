"""Pieces of a training step, each of which is one graph of operations, and is launched as one on a GPU.

Most of the time of a step on a GPU goes into launching its kernels, thousands of them. A piece is recorded when it is
called for the second time with tensors of the same shapes, and from then on takes one launch, and one more for its
gradients; bits stay what they are. Outside of the steps of a training `piece(function)` is the function itself.
"""

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from cmrgz.errors import UsageError
from cmrgz.graphs import RECORDERS, Recorder, Replay, can_record, recorded

MOST = 4
"""Shapes for which a piece is recorded, at most; steps of other shapes are made kernel by kernel."""
F = TypeVar("F", bound=Callable[..., Any])
Strides = Mapping[int, Sequence[int]]


def piece(function: F) -> F:
    """Return a function as a piece of the training step that is under way, else as it is.

    Args:
        function: Takes and returns tensors, in lists, tuples or mappings too, and depends on nothing else but the
            weights of the module whose method it is. It draws no random numbers, asks for no number of a tensor, and
            makes no shapes that depend on values.
    """
    used = _USED.get()
    return function if used is None else cast("F", partial(used.call, function))


class Pieces:
    """The pieces of the steps of one training, whose weights stay where they are.

    Args:
        compiled: Let `torch.compile` write kernels for them, which takes minutes and moves the last bits.
    """

    def __init__(self, compiled: bool = False) -> None:
        self.compiled = compiled
        self._pieces: dict[Callable[..., Any], _Piece] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the functions that are marked be pieces of one step."""
        for one in self._pieces.values():
            one.busy = False  # the step before may have died between loss and gradients
        token = _USED.set(self)
        try:
            yield
        finally:
            _USED.reset(token)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns of arguments on one device."""
        found = self._pieces.get(function)
        if found is None:
            found = self._pieces[function] = _Piece(function, self.compiled)
        return found(*args)


_USED: ContextVar[Pieces | None] = ContextVar("pieces", default=None)


class _Piece:
    """A function that is called again and again."""

    def __init__(self, function: Callable[..., Any], compiled: bool) -> None:
        self.function = _compiled(function) if compiled else function
        owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
        self.weights = [p for p in owner.parameters() if p.requires_grad] if isinstance(owner, nn.Module) else []
        self.shapes: dict[Hashable, _Shapes] = {}
        self.record: Recorder | None = None
        self.busy = False
        """Gradients are still to come, and what they are made from lies in the memory that all shapes share."""

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns."""
        leaves, spec = tree_flatten(args)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if self.busy or not can_record(tensors[0].device):
            return self.function(*args)
        key = (repr(spec), *map(_kind, leaves), torch.is_grad_enabled())
        if key not in self.shapes:
            if len(self.shapes) == MOST:
                return self.function(*args)
            self.shapes[key] = _Shapes(self, leaves, spec)
        return self.shapes[key](tensors)

    def recorder(self, device: torch.device) -> Recorder:
        """Return what records for all shapes of the piece, which are replayed in turn."""
        self.record = self.record or RECORDERS[device.type]()
        return self.record


class _Shapes:
    """A piece for tensors of given shapes.

    Args:
        of: The piece.
        leaves: Its arguments, of which those that are no tensors stay the same.
        spec: How they are put together.
    """

    def __init__(self, of: _Piece, leaves: Sequence[Any], spec: TreeSpec) -> None:
        self.of, self.spec = of, spec
        self.constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.weights = of.weights if torch.is_grad_enabled() else []
        self.calls, self.strides = 0, dict[int, tuple[int, ...]]()
        self.record: _Record | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """Return what the function returns of arguments with these tensors."""
        self.calls += 1
        if self.calls == 2:
            self.record = recorded(tensors[0].device, partial(self._recorded, tensors))
        # What is made at first use, such as the workspaces of libraries, must be there before a record begins.
        if self.record is None:
            made, spec = self.work(tensors)
            self._watch(made)
            return tree_unflatten(made, spec)
        if not self.record.wanted:
            return tree_unflatten(self.record.forward(tensors), self.record.spec)
        self.of.busy = True
        made = _Differentiated.apply(self, *tensors, *self.weights)  # type: ignore[no-untyped-call]
        return tree_unflatten(made, self.record.spec)

    def work(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], TreeSpec]:
        """Return the tensors that the function returns, and how they are put together."""
        leaves = list(self.constants)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        return tree_flatten(self.of.function(*tree_unflatten(leaves, self.spec)))

    def _recorded(self, tensors: Sequence[Tensor]) -> "_Record":
        return _Record(tensors, self.weights, self.work, self.strides, self.of.recorder(tensors[0].device))

    def _watch(self, made: Sequence[Tensor]) -> None:
        """Note how the gradients lie in memory that come to what the function made."""

        def note(number: int, gradient: Tensor) -> None:
            self.strides[number] = gradient.stride()

        for number, value in enumerate(made):
            if value.requires_grad:
                value.register_hook(partial(note, number))


class _Record:
    """What a function does with tensors of given shapes, and how their gradients and those of weights are made.

    Args:
        tensors: Its arguments.
        weights: Whose gradients are asked for.
        function: Returns the tensors that it makes, and how they are put together.
        strides: Of the gradients of what it makes, by number, where they are known.
        record: Does the recording.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        weights: Sequence[Tensor],
        function: Callable[[Sequence[Tensor]], tuple[list[Tensor], TreeSpec]],
        strides: Strides,
        record: Recorder,
    ) -> None:
        self.given = [_copied(value).requires_grad_(value.requires_grad) for value in tensors]
        (made, self.spec), self._forward = record(lambda: function(self.given))
        # Without the graph of the operations: it would hold on to the way of gradients into the weights.
        self.made = [value.detach() for value in made]
        self.sloped = [number for number, value in enumerate(made) if value.requires_grad]
        inputs = (*self.given, *weights)
        self.wanted = [value.requires_grad for value in inputs] if self.sloped else []
        self._backward: Replay | None = None
        if self.wanted:
            self.slopes = [_place_for(made[number], strides.get(number)) for number in self.sloped]
            ends, own = [made[number] for number in self.sloped], [value for value in inputs if value.requires_grad]
            # Gradients are asked for where autocast is over.
            with torch.autocast(own[0].device.type, enabled=False):
                work = partial(torch.autograd.grad, ends, own, self.slopes, allow_unused=True)
                self.gradients, self._backward = record(work)

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what the function makes of tensors."""
        with torch.no_grad():
            for place, value in zip(self.given, tensors, strict=True):
                place.copy_(value)
        self._forward()
        return tuple(map(_copied, self.made))  # the next replay writes to the same memory

    def backward(self, slopes: Sequence[Tensor]) -> Iterator[Tensor | None]:
        """Yield the gradients of tensors and weights, given those of what was made; the next call overwrites them."""
        assert self._backward is not None
        for place, number in zip(self.slopes, self.sloped, strict=True):
            place.copy_(slopes[number])
        self._backward()
        gradients = iter(self.gradients)
        for wanted in self.wanted:
            gradient = next(gradients) if wanted else None
            yield None if gradient is None else gradient.detach()


class _Differentiated(torch.autograd.Function):
    """A record as an operation of autograd."""

    @staticmethod
    def forward(ctx: Any, one: _Shapes, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the record makes of its tensors; weights are there for their gradients."""
        ctx.one = one
        assert one.record is not None
        return one.record.forward(inputs[: len(one.places)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        """Return the gradients."""
        ctx.one.of.busy = False
        return None, *ctx.one.record.backward(slopes)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Each shape is compiled for itself: what was compiled for other shapes before must not change the bits of a run
    # that was stopped in between. For the same reason there is no number of shapes after which it stops.
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = 1 << 16
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def call(*args: Any) -> Any:
        with warnings.catch_warnings():
            # Tables of positions are cached by what they depend on, so that to trace them is the same.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            # The compiler looks at arguments that other pieces have made.
            warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf")
            return compiled(*args)

    return call


def require_compiler(device: torch.device | str) -> None:
    """Refuse where `torch.compile` cannot work.

    Raises:
        UsageError: `usage`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch by torch, as it loads the compiler
            torch.compile(torch.sin, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # noqa: BLE001 - of the compiler, of Triton, or of what they call
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        hint = "install a C++ compiler and, for a GPU, Triton; or leave it out"
        raise UsageError("usage", "option --set", "'compile=true' cannot compile here", why, hint) from None


# ---------------------------------------------------------------------- tensors
def _kind(leaf: Any) -> Hashable:
    """Return all of a leaf of arguments that a record depends on: of a tensor not its values."""
    if not isinstance(leaf, Tensor):
        return cast("Hashable", leaf)
    return leaf.shape, leaf.stride(), leaf.dtype, leaf.requires_grad


def _place_for(value: Tensor, stride: Sequence[int] | None = None) -> Tensor:
    """Return an empty tensor that lies in memory as another does, or with other strides."""
    # The order in which a kernel adds may depend on how its operands lie, and with it the last bits.
    stride = stride or value.stride()
    if 0 in stride:  # of an expanded tensor many elements are one, which cannot be written one by one
        return torch.empty_like(value, memory_format=torch.contiguous_format)
    return torch.empty_strided(value.shape, stride, dtype=value.dtype, device=value.device)


def _copied(value: Tensor) -> Tensor:
    return _place_for(value).copy_(value.detach())
