"""What every section of the options is."""

from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

#: YAML has lists only; everything else is taken strictly, as written.
List: TypeAlias = Field(strict=False)


class Section(BaseModel):
    """Options of one stage; unknown ones are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
    )
