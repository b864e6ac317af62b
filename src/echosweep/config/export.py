"""What of a study is exported."""

from typing import Annotated

from pydantic import Field, field_validator

from echosweep.config.base import Config, Count, KeyOf, split_at_commas


class ExportOptions(Config):
    """Every option of `echosweep export`."""

    formats: Annotated[tuple[str, ...], KeyOf("export", "FORMATS")] = Field(
        ("store",), description="how to write the images, several with commas", min_length=1
    )
    num: Count = Field(
        None, description="images, the first of those that may be given away; default: all"
    )

    _lists = field_validator("formats", mode="before")(split_at_commas)
