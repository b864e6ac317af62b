"""A piece of work of ours beside a peer's, and beside what the machine can do at best.

Each lives in a process of its own on the same cores and waits while another works. A peer that
cannot be had leaves our share of the ceiling standing, and the note says why.
Invariant: ours runs in a process set up as the command line does, a peer as its users start it.
"""

import contextlib
import statistics
from typing import Any

import nets
from ceiling import ceiling
from pairs import Options, Row, Side, faster, last_line, medians, turns

Start = tuple[Any, ...]  # a function of a module that returns work and its `Facts`, its arguments


def beside(what: str, images: int, passes: int, options: Options, ours: Start, peer: Start) -> Row:
    """Return the row of two sides and the ceiling, asked in turn.

    images: of one call. passes: the arithmetic of a call, in forward passes of these images.
    """
    with contextlib.ExitStack() as stack:
        limit = stack.enter_context(Side(options, ceiling, options.device))
        mine = stack.enter_context(Side(options, *ours))
        theirs, alike = having(stack, options, peer)
        times = turns([mine, limit, *theirs], options.pairs)
    if theirs:
        alike = nets.alike(mine.facts, theirs[0].facts)
    flops = passes * images * mine.facts.flops
    shares = [flops / a[0] / (limit.facts.flops / a[1]) for a in times]
    seconds, best = medians(times)[:2]
    return Row(
        what=f"{what}, batch {images}",
        ours=f"{mine.facts.name}, {images / seconds:.3g} images/s",
        peer=theirs[0].facts.name if theirs else "",
        ratios=faster([(a[0], a[2]) for a in times]) if theirs else [],
        share=statistics.median(shares),
        rate=images / seconds,
        note=f"{alike}; ceiling {limit.facts.flops / best / 1e9:,.1f} GFLOP/s: {limit.facts.name}",
    )


def having(stack: contextlib.ExitStack, options: Options, peer: Start) -> tuple[list[Side], str]:
    """Return the peer's side and nothing to say, or no side and why."""
    try:
        return [stack.enter_context(Side(options, *peer))], ""
    except RuntimeError as error:
        return [], f"no peer: {last_line(error)}"
