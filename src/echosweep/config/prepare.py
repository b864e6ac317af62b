"""How videos become a frame store."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from echosweep.config.base import (
    Config,
    Free,
    KeyOf,
    Positive,
    PositiveInt,
    Seed,
    split_at_commas,
)

MIN_SIDE, MAX_SIDE = 8, 1024
Fit = Literal["crop", "letterbox"]
Filter = Literal["lanczos", "bicubic", "bilinear", "box"]
SCREENS = ("doppler", "mmode", "split", "still", "other")
"""What a DICOM image can be besides a 2D video: `--keep` names those that are prepared too."""
_SPLITS = "three shares (train, val, test) that sum to 1, as 0.75,0.125,0.125"


class PrepareConfig(Config):
    """Everything that a frame store depends on, besides the files of its source."""

    size: tuple[int, int] = Field((64, 64), description="pixels: 64, or HEIGHTxWIDTH as 112x112")
    every: PositiveInt = Field(5, description="take one frame in this many")
    kind: Annotated[str, KeyOf("data", "SOURCES", ("auto",))] = Field(
        "auto", description="kind of source; auto: by the files that are there"
    )
    fit: Fit = Field(
        "crop", description="crop: the centred square; letterbox: everything, with black bars"
    )
    filter: Filter = Field("lanczos", description="antialiased resize filter")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: colour")
    max_excluded: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="stop if more than this share of the videos cannot be used"
    )

    splits: tuple[float, float, float] = Field(
        (0.75, 0.125, 0.125),
        description="shares of train, val and test, where the source has no splits of its own",
    )
    redraw_splits: bool = Field(
        False, description="draw the splits anew, also where the source has its own"
    )
    folds: str = Field(
        "0-7/8/9",
        description="EchoNet-Pediatric: which of its folds are train, val and test",
    )
    seed: Seed = Field(0, description="seed of drawn splits")

    patient_from: Literal["auto", "study", "folder", "video"] = Field(
        "auto",
        description="who is one patient: auto: what the source says (tag, table), else each video; "
        "study: a DICOM study; folder: all in one folder; video: each video",
    )
    patient_regex: str | None = Field(
        None, description="group 1 of this pattern, found in a file's path, is its patient"
    )
    allow_unmatched: bool = Field(
        False, description="files that --patient-regex does not fit are patients of their own"
    )

    folders: Literal["auto", "video", "class"] = Field(
        "auto",
        description="images: a subfolder is the frames of one video, or a class of single images",
    )
    axes: Literal["auto", "NHW", "NHWC", "NCHW", "VTHW", "VTHWC", "VTCHW"] = Field(
        "auto",
        description="axes of an array (N images, V videos of T frames, C channels); "
        "auto: by its shape",
    )
    keep: tuple[str, ...] = Field(
        (),
        description="DICOM: what to prepare besides 2D videos: "
        f"{', '.join(SCREENS)} (several with commas), or all",
    )
    anonymous: bool = Field(
        False, description="keep hashes instead of the names of files and folders (DICOM: always)"
    )
    deidentify: bool = Field(
        False,
        description="leave out what was not cropped to its tissue region: text may be burnt in",
    )

    max_megapixels: Positive = Field(64, description="leave out images of more pixels (millions)")
    max_frames: PositiveInt = Field(100_000, description="leave out videos of more frames")
    max_gigabytes: Positive = Field(
        1, description="leave out compressed files that need more memory when unpacked"
    )

    @field_validator("size", mode="before")
    @classmethod
    def _one_or_two(cls, value: Any) -> Any:
        parts = re.split("[x,]", value.lower()) if isinstance(value, str) else value
        parts = [parts] if isinstance(parts, int) else list(parts)
        try:
            height, width = (int(part) for part in (parts * 2 if len(parts) == 1 else parts))
        except ValueError:
            raise ValueError("write 64, or HEIGHTxWIDTH as 112x112") from None
        return height, width

    @field_validator("size")
    @classmethod
    def _in_range(cls, size: tuple[int, int]) -> tuple[int, int]:
        for side in size:
            if not MIN_SIDE <= side <= MAX_SIDE:
                raise ValueError(f"a side of {side} is not in {MIN_SIDE} to {MAX_SIDE} pixels")
        return size

    _lists = field_validator("keep", mode="before")(split_at_commas)

    @field_validator("splits", mode="before")
    @classmethod
    def _shares(cls, value: Any) -> Any:
        try:
            splits = tuple(float(part) for part in split_at_commas(value))
        except (TypeError, ValueError):
            splits = ()
        if len(splits) != 3 or min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
            raise ValueError(f"write {_SPLITS}")
        return splits

    @field_validator("keep")
    @classmethod
    def _known_screens(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for word in keep:
            if word not in (*SCREENS, "all"):
                raise ValueError(f"{word!r} is not one of {', '.join(SCREENS)}, all")
        return SCREENS if "all" in keep else tuple(sorted(set(keep)))


class PrepareOptions(PrepareConfig):
    """Every option of `echosweep prepare`."""

    workers: Annotated[PositiveInt | None, Free] = Field(
        None, description="decoder processes; default: every core"
    )
    preview: Annotated[Path | None, Free] = Field(
        None,
        description="folder for contact sheets of what is kept, one for each scanner model and "
        "screen layout",
    )
    name_key: Annotated[Path | None, Free] = Field(
        None,
        description="with hashed names: file for a table of which hash is which file; keep it "
        "private",
    )
