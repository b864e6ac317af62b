"""What a search keeps of its trials: rows, the best of them, what pruning saved.

Invariant: everything here is a function of rows, in their order, so that a report can be made anew
from what a study wrote.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from echosweep.study.candidate import Candidate
from echosweep.study.strategies import Proposal, Space, combinations, outlay
from echosweep.study.trial import Trial

SearchRow = dict[str, Any]
BASELINE = "as before"


def row_of(trial: Trial, proposal: Proposal, number: int) -> SearchRow:
    """Return the row of a trial that waits."""
    return {
        "signature": trial.signature,
        "label": label(proposal.changes),
        "changes": proposal.changes,
        "budget": proposal.budget,
        "round": number,
        "state": "waiting",
        "score": None,
        "nfe": None,
        "error": None,
    }


def filled(row: SearchRow, result: Mapping[str, Any] | None, score: str) -> SearchRow:
    """Return the row with what came out of its trial, if something did yet."""
    if result is None:
        return row
    found = {"state": result["state"], "error": result.get("error")}
    if result["state"] == "complete":
        found |= {"score": result["values"].get(score), "nfe": result["nfe"]}
        if found["score"] is None:  # too few images for it
            found["error"] = f"its distances have no {score}; choose another select.score"
    return row | found


def label(changes: Mapping[str, Any]) -> str:
    """Return changes in a few words: names as they are, numbers behind their field's name."""
    words = [
        value if isinstance(value, str) else f"{path.rpartition('.')[2]} {_short(value)}"
        for path, value in changes.items()
    ]
    return ", ".join(words) or BASELINE


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def finished(rows: Sequence[SearchRow]) -> list[SearchRow]:
    """Return the rows that got the whole budget and a score, best first, a tie to the earlier."""
    whole = [row for row in rows if row["budget"] == 1 and row["score"] is not None]
    return sorted(whole, key=lambda row: float(row["score"]))


def knee(rows: Sequence[SearchRow], tolerance: float) -> list[SearchRow]:
    """Return finished rows, first the one of the fewest NFE whose score is near the best one's.

    Near: within the share `tolerance` of it. Beyond the knee of FID against NFE, more steps cost
    time and gain less than that (Reynaud & Kainz 2023, figure 1).
    """
    ranked = finished(rows)
    most = ranked[0]["score"] + tolerance * abs(ranked[0]["score"]) if ranked else 0.0
    near = [row for row in ranked if row["score"] <= most]
    first = min(near, key=lambda row: int(row["nfe"]), default=None)
    return [first, *(row for row in ranked if row is not first)] if first else []


def at_budget(candidate: Candidate, share: float) -> Candidate:
    """Return the candidate with that share of its training."""
    if share == 1:
        return candidate
    config = candidate.train
    ends = {
        "train.total_kimg": config.total_kimg and config.total_kimg * share,
        "train.budget_hours": config.budget_hours and config.budget_hours * share,
    }
    return candidate.changed({path: end for path, end in ends.items() if end})


def saved(rows: Sequence[SearchRow], space: Space, base: Candidate, eta: int) -> dict[str, Any]:
    """Return what successive halving trained, beside what training every cell would have."""
    rounds: dict[int, list[Proposal]] = {}
    for row in rows:
        if row["changes"]:
            rounds.setdefault(row["round"], []).append(Proposal(row["changes"], row["budget"]))
    done = sum(part.training for part in outlay(rounds.values()))
    cells = len(combinations(space, "halving"))
    kimg, hours = base.train.total_kimg, base.train.budget_hours
    amount, unit = (kimg, "kimg") if kimg else (hours or 0.0, "hours")
    least = min(row["budget"] for row in rows)
    return {
        "unit": unit,
        "trained": done * amount,
        "exhaustive": cells * amount,
        "share": done / cells,
        "risk": f"cells that are slow at first and best at last are lost: only the best 1 in {eta} "
        f"of those measured after {least:.0%} of the training went on; --exhaustive trains all",
    }
