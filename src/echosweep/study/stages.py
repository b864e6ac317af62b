"""The stages of a study: each takes candidates, has trials done, and keeps the best for the next.

A stage is a function of its options, the candidates and the results; it never looks back at an
earlier stage, and asking again for what is done costs nothing. Invariant: what chooses is measured
as `select` says, what is reported as `report` says, and no stage uses the one for the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from echosweep.config import (
    Config,
    FeatureConfig,
    FloorOptions,
    KeyOf,
    ShiftOptions,
    registered,
)
from echosweep.config.copies import Rate
from echosweep.config.evaluate import Metrics
from echosweep.errors import EchoSweepError
from echosweep.study.candidate import Candidate
from echosweep.study.recipe import Dimension, Recipe
from echosweep.study.search import SearchRow, at_budget, filled, finished, knee, row_of, saved
from echosweep.study.strategies import Proposal, Strategy, StrategyOptions
from echosweep.study.trial import Trial

Result = dict[str, Any]


class StageContext(NamedTuple):
    """What a stage works with: the recipe, and what has trials done.

    do: returns results in the order of the trials, {"state": "complete" or "failed", ...}; where
    some are not there yet, it calls its second argument at first and whenever one has come in.
    peek: the result of a trial by its signature, if it is there. note: keeps the stage's record.
    """

    recipe: Recipe
    do: Callable[[Sequence[Trial], Callable[[], None]], list[Result]]
    peek: Callable[[str], Result | None]
    note: Callable[[dict[str, Any]], None]


class Outcome(NamedTuple):
    """What a stage leaves: the candidates for the next, and its record."""

    candidates: list[Candidate]
    record: dict[str, Any]


class SearchOptions(StrategyOptions):
    """A search over fields of the candidates."""

    space: dict[str, Dimension] = Field(min_length=1)
    set: dict[str, Any] = Field({}, description="values that every proposal has")
    strategy: Annotated[str, KeyOf("study", "STRATEGIES")] = "grid"
    choose: Literal["best", "knee"] = "best"
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.02, description="knee: the fewest NFE within this share of the best"
    )
    baseline: bool = Field(False, description="also what came in: kept if nothing beats it")


class FinalOptions(Config):
    """What is measured of the winner."""

    metrics: Metrics = registered("evaluation", "METRICS")
    rate: Rate = 0.01


def search(options: SearchOptions, candidates: list[Candidate], context: StageContext) -> Outcome:
    """Measure proposals round by round; keep the best, or the cheapest that is nearly as good."""
    rows: list[SearchRow] = []
    tried: dict[str, Candidate] = {}
    record = _begun(options, context)
    for proposals, scores in _rounds(options, candidates, context.recipe.seed):
        made = [_proposed(candidates, options, proposal) for proposal in proposals]
        trials = [_measured(context.recipe, candidate) for candidate in made]
        number = 1 + max((row["round"] for row in rows), default=-1)
        new = [row_of(t, p, number) for t, p in zip(trials, proposals, strict=True)]
        results = context.do(trials, partial(_note, context, record, rows, new))
        new = _filled(context, new, results)
        tried |= {trial.signature: one for trial, one in zip(trials, made, strict=True)}
        rows = _once([*rows, *new])
        scores[:] = [row["score"] for row in new]
        record["metric"] = next((r["metric"] for r in results if "metric" in r), record["metric"])
    ranked = knee(rows, options.tolerance) if options.choose == "knee" else finished(rows)
    if not ranked:
        errors = "; ".join(sorted({str(row["error"]) for row in rows if row["error"]}))
        raise EchoSweepError(f"every trial failed: {errors}")
    kept = ranked[: options.keep]
    record |= {
        "trials": rows,
        "selected": [
            {"signature": row["signature"], "candidate": tried[row["signature"]].task()}
            for row in kept
        ],
        "why": _why(options, ranked, rows),
    }
    if options.strategy == "halving":
        record["saved"] = saved(rows, _space(options, candidates), candidates[0], options.eta)
    return Outcome([tried[row["signature"]] for row in kept], record)


def _note(
    context: StageContext, record: dict[str, Any], before: list[SearchRow], new: list[SearchRow]
) -> None:
    """Keep the record of a search as it is now."""
    so_far = [context.peek(row["signature"]) for row in new]
    context.note(record | {"trials": _once([*before, *_filled(context, new, so_far)])})


def _filled(
    context: StageContext, rows: Sequence[SearchRow], results: Sequence[Result | None]
) -> list[SearchRow]:
    score = context.recipe.select.score
    return [filled(row, result, score) for row, result in zip(rows, results, strict=True)]


def _begun(options: SearchOptions, context: StageContext) -> dict[str, Any]:
    return {
        "options": options.model_dump(mode="json"),
        "score": context.recipe.select.score,
        "metric": None,
        "trials": [],
        "selected": [],
        "why": "",
        "saved": None,
    }


def _rounds(
    options: SearchOptions, candidates: Sequence[Candidate], seed: int
) -> Iterator[tuple[list[Proposal], list[float | None]]]:
    """Yield each round of proposals, and a list to be filled with their scores.

    The baseline goes before the first round; the strategy does not hear of it.
    """
    from echosweep.study import STRATEGIES  # here, not above: it names this module

    strategy: Strategy = STRATEGIES[options.strategy]
    rounds = strategy(_space(options, candidates), options, seed)
    scores: list[float | None] = []
    if options.baseline:
        yield [Proposal({})], []
    proposals = next(rounds)
    while True:
        yield proposals, scores
        try:
            proposals = rounds.send(scores)
        except StopIteration:
            return


def _space(options: SearchOptions, candidates: Sequence[Candidate]) -> Mapping[str, Dimension]:
    """Return the space, with which of several candidates to change as a dimension of its own."""
    several = {"candidate": tuple(range(len(candidates)))} if len(candidates) > 1 else {}
    return several | options.space


def _proposed(
    candidates: Sequence[Candidate], options: SearchOptions, proposal: Proposal
) -> Candidate:
    changes = dict(proposal.changes)
    base = candidates[int(changes.pop("candidate", 0))]
    if not proposal.changes:
        return base
    return at_budget(base.changed(options.set | changes), proposal.budget)


def _measured(recipe: Recipe, candidate: Candidate) -> Trial:
    chooses = recipe.select
    params = {"num": chooses.num, "seed": chooses.seed, "split": chooses.split}
    return Trial("measure", {"candidate": candidate.task(), **params})


def _once(rows: Sequence[SearchRow]) -> list[SearchRow]:
    """Return the rows, one a trial: what was proposed twice stands where it was proposed first."""
    return list({row["signature"]: row for row in reversed(rows)}.values())[::-1]


def _why(options: SearchOptions, ranked: Sequence[SearchRow], rows: Sequence[SearchRow]) -> str:
    best, lost = ranked[0], sum(row["state"] == "failed" for row in rows)
    lowest, *others = sorted(ranked, key=lambda row: float(row["score"]))
    text = f"{best['label']} has the lowest distance, {best['score']:.4g}"
    if best is not lowest:  # the knee
        text = (
            f"{best['label']} has the fewest evaluations ({best['nfe']}) within "
            f"{options.tolerance:.0%} of the lowest distance: {best['score']:.4g}, the lowest is "
            f"{lowest['score']:.4g} ({lowest['label']})"
        )
    elif others:
        text += f"; the next is {others[0]['score']:.4g}"
    return text + (f"; {lost} trials failed" if lost else "")


def floor(options: FloorOptions, candidates: list[Candidate], context: StageContext) -> Outcome:
    """Measure real against real images: what no candidate can beat."""
    params = given_in_stage(options) | {"seed": context.recipe.seed}
    return _single([Trial("floor", params)], candidates, context, options)


def shift(options: ShiftOptions, candidates: list[Candidate], context: StageContext) -> Outcome:
    """Ask classifiers whether the best candidate's images can be told from real ones."""
    reported = context.recipe.report
    params = given_in_stage(options) | {
        "candidate": candidates[0].task(),
        "num": options.num or reported.num,
        "split": options.split or reported.split,
        "seed": reported.seed,
    }
    return _single([Trial("shift", params)], candidates, context, options)


def final(options: FinalOptions, candidates: list[Candidate], context: StageContext) -> Outcome:
    """Report the best candidate, and the same without guidance, by images that chose nothing."""
    winner, reported = candidates[0], context.recipe.report
    shared = options.model_dump(mode="json") | reported.model_dump(mode="json")
    reported_ones = [winner, *([winner.unguided()] if winner.sample.guidance else [])]
    trials = [Trial("final", {"candidate": one.task(), **shared}) for one in reported_ones]
    outcome = _single(trials, candidates, context, options)
    results = outcome.record.pop("results")
    winner_result, control = [*results, None][:2]
    return outcome._replace(
        record=outcome.record | {"result": {"winner": winner_result, "control": control}}
    )


def _single(
    trials: Sequence[Trial], candidates: list[Candidate], context: StageContext, options: Config
) -> Outcome:
    """Have trials done that choose nothing; one that fails leaves None, and the rest go on."""
    names = (trials[0].task, "without guidance")
    rows = [
        row_of(trial, Proposal({}), 0) | {"label": name}
        for trial, name in zip(trials, names, strict=False)
    ]
    record = {"options": given_in_stage(options), "trials": rows}

    def seen() -> list[SearchRow]:
        states = (context.peek(row["signature"]) or row for row in rows)
        return [
            row | {"state": now["state"], "error": now.get("error")}
            for row, now in zip(rows, states, strict=True)
        ]

    results = context.do(trials, lambda: context.note(record | {"trials": seen()}))
    good = [result if result["state"] == "complete" else None for result in results]
    state = "done" if all(good) else "failed"
    found = {"trials": seen(), "state": state, "result": good[0], "results": good}
    return Outcome(candidates, record | found)


def given_in_stage(options: Config) -> dict[str, Any]:
    """Return the options of a stage as JSON, without those that only the command has."""
    return options.model_dump(mode="json", exclude=set(of_command(type(options))))


def of_command(kind: type[Config]) -> list[str]:
    """Return the options of a command that no stage has: where, by which features, which seed."""
    beside = {*kind.free(), *FeatureConfig.model_fields, "seed"}
    return [name for name in kind.model_fields if name in beside]


class StageKind(NamedTuple):
    """A kind of stage: its options, and what runs it."""

    options: type[Config]
    run: Callable[[Any, list[Candidate], StageContext], Outcome]
