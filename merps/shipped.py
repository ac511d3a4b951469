"""The files that come with merps beside its source."""

from pathlib import Path


def shipped(name: str) -> Path:
    """Return where a file or folder is that comes with merps.

    Parameters
    ----------
    name : str
        Such as ``configs`` or ``data_manifest.yaml``.

    Returns
    -------
    Path
        In the package, where a wheel or a submission has it, or else beside the
        package, where a checkout has it.
    """
    package = Path(__file__).parent
    packed = package / name
    return packed if packed.exists() else package.parent / name
