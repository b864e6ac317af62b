"""Every row of the table, in the order in which it is printed."""

from . import attacks, damage, fuzz, kills, limits, numbers, scale, signals, soak, studies, together
from .row import Row

ROWS: dict[str, tuple[str, Row]] = {
    "kill": ("SIGKILL at each change of the file system, and again", kills.at_each_change),
    "resume": ("stop at a random step and resume", signals.resumed),
    "signal": ("SIGTERM, SIGINT, SIGUSR1, SIGHUP", signals.each_signal),
    "random": ("SIGKILL at random moments", kills.at_random),
    "study": ("SIGKILL at random: two runners of a study, and workers", studies.killed_at_random),
    "damage": ("flipped bits, cut, deleted, swapped, zeroed files", damage.every_kind),
    "attack": ("hostile files, names, configs, weights, stores, databases", attacks.corpus),
    "number": ("NaN and infinity injected", numbers.injected),
    "limit": ("full disks, quota, read-only, 20 descriptors", limits.taken_away),
    "together": ("two processes of every command on one output", together.two_at_once),
    "broken": ("one broken video in a hundred", fuzz.broken_videos),
    "fuzz": ("files with random faults", fuzz.each_reader),
    "soak": ("train, sample and evaluate in one process", soak.for_hours),
    "scale": ("many videos, images and trials", scale.largest),
}
LONG_ONLY = ("study",)
"""Rows without a quick form: tests/study kills studies."""
