"""torch.compile for a policy's torso: fewer, larger kernels.

Not torch's own CUDA graphs: those are bound to the thread that first used them, and `--overlap learn` acts in another;
`acting.GraphedActor` captures what is compiled here.

Only the torso is compiled, and used only for batches of sizes that were announced: another size would compile anew in
the middle of a run. What measures sees the layers as they are written (`precision.plainly`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from agents.memory import Seen
from agents.networks import Shared

FORMS = 64
"""Of one torso's code that a process may hold. Beyond its own limit of 8, torch quietly runs the layers as written;
every batch size, precision, number of threads, and every trainer after the first makes another."""


def compile_torso(
    policy: nn.Module, blank: Tensor | Seen, acting: Iterable[int], learning: Iterable[int]
) -> None:
    """Compile the torso of `policy`, and use it from now on; takes up to a minute.

    Called again it adds to the sizes. What is compiled is for the number of torch's threads and the precision of now.

    Args:
        policy: of the networks nature or impala.
        blank: [1, ...] an observation like those to come, to compile with.
        acting: rows of the batches that it will see without gradients.
        learning: likewise with gradients.

    Raises:
        ValueError: no such torso; or it can't be compiled here, and why.
    """
    if not isinstance(policy, Shared) or isinstance(blank, Seen):
        raise ValueError("compile is for the networks nature and impala: the others are too small to gain")
    torch._dynamo.config.recompile_limit = max(FORMS, torch._dynamo.config.recompile_limit)
    compiled = policy.compiled_torso
    if compiled is None:
        compiled = torch.compile(policy.torso, dynamic=False)
    without, with_gradients = frozenset(acting), frozenset(learning)
    try:
        for size in sorted(without):
            with torch.no_grad():
                policy.features(compiled, blank.expand(size, *blank.shape[1:]).contiguous())
        for size in sorted(with_gradients):
            with torch.enable_grad():
                policy.features(compiled, blank.expand(size, *blank.shape[1:]).contiguous()).sum().backward()
    except Exception as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ValueError(f"compile can't be used here: {reason}") from None
    finally:
        policy.zero_grad(set_to_none=True)
    # Not as a submodule: its parameters are the torso's.
    object.__setattr__(policy, "compiled_torso", compiled)
    policy.compiled_sizes |= without | with_gradients
