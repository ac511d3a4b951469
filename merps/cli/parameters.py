"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Argument(help="Folder of recordings.", metavar="DATA")]
StoreFolder = Annotated[
    Path, typer.Argument(help="Folder that preprocess wrote.", metavar="STORE")
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", help="YAML file, or the name of a preset."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option, as section.option=value; repeatable."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Tasks at once.")]
Backgrounds = Annotated[
    list[str] | None,
    typer.Option(help="Real recordings as the noise: file, folder or pattern."),
]
