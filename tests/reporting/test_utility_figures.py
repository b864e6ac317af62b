from typing import Any

from echosweep.reporting.utility_figures import plot_utility


def record(worth: float | None) -> dict[str, Any]:
    def arm(score: float) -> dict[str, Any]:
        interval = [score - 0.1, score + 0.1] if worth is not None else None
        return {"score": score, "interval": interval, "repeats": [score - 0.02, score + 0.02]}

    return {
        "worth": worth,
        "worth_interval": None if worth is None else [0.5, 1.1],
        "label": "EF",
        "score": "R^2",
        "chance": 0.0,
        "arms": {"real": arm(0.6), "generated": arm(0.48), "both": arm(0.7)},
        "n_test": {"images": 80, "videos": 20, "groups": 10},
    }


def lines(figure: Any) -> list[list[float]]:
    return [[float(x) for x in line.get_xdata()] for line in figure.axes[0].lines]


def test_every_arm_has_its_score_repeats_interval_and_chance() -> None:
    figure = plot_utility(record(0.8))
    assert lines(figure)[3:6] == [[0.48 - 0.1, 0.48 + 0.1], [0.48 - 0.02, 0.48 + 0.02], [0.48]]
    assert lines(figure)[-1] == [0.0, 0.0]
    assert figure.axes[0].get_title(loc="left") == "worth 0.80 of real images (0.50 to 1.10)"
    assert "10 patients" in figure.axes[0].get_xlabel()


def test_without_intervals_no_bar_and_no_worth() -> None:
    figure = plot_utility(record(None))
    assert len(lines(figure)) == 7  # repeats and score of three arms, chance
    assert "nothing can be said" in figure.axes[0].get_title(loc="left")
