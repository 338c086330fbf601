"""The version of a file's format, by which a file of another version of this program is refused rather than misread."""

from pathlib import Path

from consistency.errors import ConsistencyError, InputError


def check_format(
    file: Path, found: object, expected: int, *, instead: str, kind: type[ConsistencyError] = InputError
) -> None:
    """Refuse a file whose format this version does not read.

    Parameters
    ----------
    file : Path
        The file, for the message.
    found : object
        The version that the file names.
    expected : int
        The version that this program writes and reads.
    instead : str
        What to do if the program is not upgraded, such as "train again".
    kind : type of ConsistencyError, default InputError
        The error to raise.

    Raises
    ------
    ConsistencyError
        Of `kind`, if the versions differ.
    """
    if type(found) is int and found == expected:
        return
    if type(found) is int and found > expected:
        raise kind(
            f"{file} was written by a newer version of this program (format {found}, expected {expected}): "
            f"upgrade the program, or {instead}"
        )
    raise kind(f"{file} has format {found!r:.40}, expected {expected}: {instead}")
