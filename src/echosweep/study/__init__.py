"""The study: a fold over stages, each of which keeps the best candidates for the next.

    for stage in recipe.stages:
        candidates = STAGES[stage.stage].run(stage, candidates, ...)

To add a stage, write a function in `stages.py` and name it here; to add a strategy, a generator in
`strategies.py`. Nothing here imports torch: trials run in processes of their own.
"""

from echosweep.study.strategies import Strategy, grid, halving, tpe

STRATEGIES: dict[str, Strategy] = {
    "grid": grid,
    "halving": halving,
    "tpe": tpe,
}
