"""What each number of a record says, which way is better, and who proposed it: one literal table.

A Fréchet distance is called fd here, whatever its exact name in the record (fid, fid768, rfd, ...).
Invariant: a name that is not in the table is shown all the same, without a meaning.
"""

import re
from typing import Literal, NamedTuple


class Meaning(NamedTuple):
    """One row: where a page shows it, what is better ("" where neither is), what it says."""

    section: Literal["metrics", "noise", "echo", "copies"]
    better: Literal["lower", "higher", "near 0", ""]
    says: str
    source: str = ""


UNKNOWN = Meaning("metrics", "", "")
_PAPER = "Reynaud & Kainz 2023"
_FIDELITY = "Kynkäänniemi et al. 2019"
_DENSITY = "Naeem et al. 2020"
_SPECKLE = "Wagner et al. 1983"

MEANINGS: dict[str, Meaning] = {
    "fd": Meaning(
        "metrics",
        "lower",
        "squared distance of two Gaussians fitted to the features of all images; its interval is "
        "of the distance at this number of images, not at infinitely many",
        "Heusel et al. 2017",
    ),
    "fd_at_floor": Meaning(
        "metrics",
        "lower",
        "generated images against one half of the reference, at as many images as the floor",
        _PAPER,
    ),
    "fd_floor": Meaning(
        "metrics",
        "",
        "the floor: the other half of the reference against that half, real against real",
        _PAPER,
    ),
    "fd_above_floor": Meaning(
        "metrics", "lower", "their difference, free of the bias by the number of images"
    ),
    "fd_infinity": Meaning(
        "metrics", "lower", "the line in 1/N, at infinitely many images", "Chong & Forsyth 2020"
    ),
    "fd_real_redrawn_mean": Meaning("noise", "", "real images redrawn, generated ones fixed"),
    "fd_real_redrawn_std": Meaning("noise", "", "real images redrawn, generated ones fixed"),
    "fd_generated_redrawn_mean": Meaning("noise", "", "generated images redrawn, real ones fixed"),
    "fd_generated_redrawn_std": Meaning("noise", "", "generated images redrawn, real ones fixed"),
    "kid": Meaning(
        "metrics",
        "lower",
        "kernel distance (squared MMD), without bias by N where images are independent",
        "Binkowski et al. 2018",
    ),
    "kid_std": Meaning("metrics", "", "spread of kid over its subsets, not its error"),
    "kid_between": Meaning(
        "metrics", "lower", "kid without pairs of one patient or video: the one to judge by"
    ),
    "precision": Meaning(
        "metrics", "higher", "share of generated images that lie among real ones", _FIDELITY
    ),
    "recall": Meaning(
        "metrics", "higher", "share of real images that lie among generated ones", _FIDELITY
    ),
    "density": Meaning(
        "metrics", "higher", "how thickly real images lie around generated ones, about 1", _DENSITY
    ),
    "coverage": Meaning(
        "metrics", "higher", "share of real images with a generated one nearby", _DENSITY
    ),
    "mean_level": Meaning("echo", "", "mean grey level in the sector, 0 to 255"),
    "zero_share": Meaning("echo", "", "share of the background that is exactly black"),
    "speckle_lateral_px": Meaning("echo", "", "width of speckle across, pixels", _SPECKLE),
    "speckle_axial_px": Meaning("echo", "", "width of speckle along, pixels", _SPECKLE),
    "speckle_snr": Meaning(
        "echo", "", "mean over deviation of grey levels in even windows", _SPECKLE
    ),
    "speckle_snr_60db": Meaning(
        "echo", "", "the same of the envelope, 60 dB assumed; full speckle has 1.91", _SPECKLE
    ),
    "pool_count": Meaning("echo", "", "dark pools (blood) an image"),
    "pool_share": Meaning("echo", "", "share of the sector that dark pools take"),
    "histogram_w1": Meaning(
        "echo", "lower", "distance of grey levels in the sector (Wasserstein-1, levels)"
    ),
    "zero_share_difference": Meaning(
        "echo", "near 0", "black background, generated less reference"
    ),
    "speckle_lateral_px_difference": Meaning(
        "echo", "near 0", "width of speckle across, generated less reference, pixels"
    ),
    "speckle_axial_px_difference": Meaning(
        "echo", "near 0", "width of speckle along, generated less reference, pixels"
    ),
    "speckle_snr_difference": Meaning("echo", "near 0", "speckle SNR, generated less reference"),
    "sector_iou": Meaning("echo", "higher", "overlap of the two sectors, intersection over union"),
    "sector_odd_share": Meaning(
        "echo", "lower", "share of generated images with an odd sector; of real ones, 0.05 at most"
    ),
    "spectrum_rms_db": Meaning("echo", "lower", "distance of the mean power spectra, dB"),
    "spectrum_high_db": Meaning(
        "echo", "near 0", "fine detail, generated less reference, dB; below 0 is blurred"
    ),
    "pool_area_w1": Meaning(
        "echo", "lower", "distance of the areas of dark pools (Wasserstein-1, of the sector)"
    ),
    "auth_pct": Meaning(
        "copies",
        "higher",
        "percentage of images farther from their nearest training image than that is from the next",
        "Alaa et al. 2022",
    ),
    "auth_pct_groups": Meaning(
        "copies", "higher", "the same, the next being of another patient or video"
    ),
    "c_t": Meaning(
        "copies",
        "near 0",
        "below about −3 images are nearer to the training set than held-out ones are, "
        "above 3 farther",
        "Meehan et al. 2020",
    ),
}

_DISTANCE = re.compile(
    r"(?P<exact>fid\d*|r?fd(_\w+?)??)"
    r"(?P<rest>_at_floor|_floor|_above_floor|_infinity|_(real|generated)_redrawn_(mean|std))?"
)
_SIDE = re.compile(r"_(generated|reference|floor)$")


def meaning(name: str) -> Meaning:
    """Return the row of a value by its name in a record, UNKNOWN for a name without one."""
    distance = _DISTANCE.fullmatch(name)
    key = "fd" + (distance["rest"] or "") if distance else name
    of_sides = MEANINGS.get(_SIDE.sub("", name), UNKNOWN)
    return MEANINGS.get(key) or (of_sides if of_sides.section == "echo" else UNKNOWN)


def exact_name(name: str) -> str | None:
    """Return fid768 of fid768, fid768_floor and so on; None for what is no Fréchet distance."""
    distance = _DISTANCE.fullmatch(name)
    return distance["exact"] if distance else None
