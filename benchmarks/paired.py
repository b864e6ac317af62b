"""A table of paired differences: the same seeds with and without, and how sure the mean is."""

import math
import statistics
from collections.abc import Mapping, Sequence

T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}  # Student's, by number of seeds


def print_table(
    what: str, found: Mapping[str, Sequence[float]], digits: int, plain: str = "unguided"
) -> None:
    """Print the mean of each way over seeds, and of its difference to `plain` with interval."""
    print(f"| | {what} | less {plain}, same seeds (95 %) |\n|---|---|---|")
    for name, values in found.items():
        pairs = [value - base for value, base in zip(values, found[plain], strict=True)]
        half = T_975[len(pairs)] * statistics.stdev(pairs) / math.sqrt(len(pairs))
        mean = statistics.mean(pairs)
        numbers = (statistics.mean(values), mean, mean - half, mean + half)
        own, less, low, high = (f"{number:.{digits}f}" for number in numbers)
        print(f"| {name} | {own} | {less} ({low} to {high}) |")
