"""The commands that look at folders of any kind, and write such."""

from pathlib import Path
from typing import Annotated

import typer

from merps.cli.parameters import ConfigFile, Data, Jobs, Overrides, StoreFolder
from merps.cli.session import Session, command


@command
def init(
    session: Session,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The YAML file to write.")] = Path(
        "merps.yaml"
    ),
) -> None:
    """Look at any folder and write a configuration for it."""
    from merps.datasets.looking import counted
    from merps.proposal import init_config

    proposal = init_config(data, out)
    files, people = counted(proposal.files, "recording"), proposal.people
    session.say(f"{files} of {counted(people, 'person')}")
    for finding in proposal.findings:
        session.say(f"  {finding}")
    for warning in proposal.warnings:
        session.warn(f"warning: {warning}")
    session.say(
        f"written to {out}; read it through, then: merps check {data} --config {out}"
    )
    session.result(proposal.as_dict())


@command
def export(
    session: Session,
    store: StoreFolder,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    file_format: Annotated[
        str, typer.Option("--format", help="npy, hdf5, or bids for whole signals.")
    ] = "npy",
    modality: Annotated[str, typer.Option(help="eeg, fnirs or both.")] = "both",
    config: ConfigFile = None,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> None:
    """Write windows or signals of a store as files."""
    if file_format == "bids":
        _export_bids(session, store, out)
        return
    from merps.config import load_config
    from merps.export import export_windows

    options = load_config(config, overrides or ())
    with session.progress("export") as steps:
        done = export_windows(
            store,
            out,
            file_format=file_format,
            modalities=["eeg", "fnirs"] if modality == "both" else [modality],
            config=options,
            jobs=jobs,
            progress=steps,
        )
    there = f", {done.skipped} of them there before" if done.skipped else ""
    session.say(
        f"{done.windows} windows in {done.files} files{there}, "
        f"{done.bytes / 1e6:.0f} MB, in {out} after {done.seconds:.1f} s; the terms of "
        "the data, in README.txt, hold for them too"
    )
    session.result(done.as_dict())


def _export_bids(session: Session, store: Path, out: Path) -> None:
    """Write the signals of a store as a BIDS derivative."""
    from merps.derivatives import export_bids

    with session.progress("export") as steps:
        derived = export_bids(store, out, progress=steps)
    session.say(
        f"{derived.files} recordings of {derived.people} people as a BIDS derivative "
        f"in {out}, {derived.bytes / 1e6:.0f} MB; the terms of the data, in README, "
        "hold for them too"
    )
    session.result(derived.as_dict())
