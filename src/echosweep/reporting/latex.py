r"""LaTeX of a study's two tables, ready to \input: booktabs, every name escaped.

Invariant: what the page shows as a number has the same digits here.
"""

from collections.abc import Sequence

from echosweep.reporting.page import MISSING, interval, number
from echosweep.reporting.shift_figures import NAMES
from echosweep.reporting.study_tables import ShiftRow, StudyRow
from echosweep.text import printable

_ESCAPED = {
    **{char: rf"\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"[": "{[}", "*": "{*}"},  # behind the end of a row they would be arguments of it
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{MISSING: "--", "−": "$-$", "±": r"$\pm$"},
}


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it as it is."""
    return "".join(_ESCAPED.get(char, char) for char in printable(text))


def latex_table1(rows: Sequence[StudyRow]) -> str:
    """Return networks and frameworks with their distances and costs; what was chosen is bold."""
    metrics = ", ".join(dict.fromkeys(row.metric for row in rows))
    head = [
        *("Network", "Framework", metrics, "95 %", "kimg", "Parameters (M)", "Hours", "Images/s"),
        "Share of budget",
    ]
    return tabular(head, [_cells(row) for row in rows], words=2)


def latex_table2(rows: Sequence[ShiftRow]) -> str:
    """Return the accuracy (%) of each classifier, a column each set, with what chance leaves."""
    columns = dict.fromkeys(row.column for row in rows)
    found = {(row.classifier, row.column): f"{100 * row.accuracy:.1f}" for row in rows}
    chance = {row.column: f"50 ± {100 * row.accuracy_margin:.1f}" for row in rows}
    lines = [
        [escape(text) for text in (name, *(found[name, column] for column in columns))]
        for name in dict.fromkeys(row.classifier for row in rows)
    ]
    lines += [[escape(text) for text in ("chance", *chance.values())]] if rows else []
    return tabular(["Classifier", *(NAMES[column] for column in columns)], lines, words=1)


def tabular(head: Sequence[str], lines: Sequence[Sequence[str]], words: int) -> str:
    """Return a tabular of escaped cells; the first `words` columns are aligned left."""
    columns = "l" * words + "r" * (len(head) - words)
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _line([escape(text) for text in head]),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(row: StudyRow) -> list[str]:
    distance = escape(number(row.distance))
    millions = None if row.parameters is None else row.parameters / 1e6
    numbers = (row.kimg, millions, row.hours, row.train_images_per_second)
    return [
        escape(row.network or row.label),
        escape(row.framework or MISSING),
        rf"\textbf{{{distance}}}" if row.chosen else distance,
        escape(interval(row.interval)),
        *(escape(number(value)) for value in numbers),
        escape(f"{100 * row.share:.0f} %"),
    ]
