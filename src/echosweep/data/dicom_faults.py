"""One reason for whatever goes wrong in a DICOM file: what is wrong, then what to do.

Invariant: a reason has one line and holds no path, and no name or identifier of a patient.
"""

import re
from pathlib import Path
from typing import Any

from echosweep.data.dicom_header import load_pydicom, text
from echosweep.data.source import Broken

_LENGTH = 200
_PACKAGES = {
    "201": "pylibjpeg pylibjpeg-openjpeg",
    "202": "pylibjpeg pylibjpeg-openjpeg",
    "203": "pylibjpeg pylibjpeg-openjpeg",
    "80": "pyjpegls",
    "81": "pyjpegls",
    "51": "pylibjpeg pylibjpeg-libjpeg",
}
"""What reads the syntaxes 1.2.840.10008.1.2.4.*, if the usual decoders do not."""
_USUAL = "python-gdcm"
_IDENTITY = ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID")


def reason(error: Exception, file: Path, data: Any = None, syntax: str = "") -> str:
    """Return why a file cannot be used.

    Args:
        error: what was raised; the text of `Broken` is kept as it is.
        file: the file, whose name stays out of the reason.
        data: its header, if that was read: names and identifiers in it stay out.
        syntax: the transfer syntax of its pixels, if known: it decides which package may help.
    """
    if isinstance(error, Broken):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return "cannot be decoded: not enough memory for one frame"
    message = _hidden(_told(str(error)), file, data)
    return f"cannot be decoded: {type(error).__name__}: {message}{_fix(syntax)}"


def check_decoder(syntax: str) -> None:
    """Raise Broken with the package to install if nothing decodes a transfer syntax.

    Args:
        syntax: the UID of the transfer syntax.
    """
    pydicom = load_pydicom()
    name = pydicom.uid.UID(syntax).name
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise Broken(f"transfer syntax {name} is not read") from None
    if not decoder.is_available:
        packages = _packages(syntax)
        raise Broken(f"{name} needs a decoder: pip install {packages}")


def _packages(syntax: str) -> str:
    return _PACKAGES.get(syntax.rpartition(".")[2], _USUAL)


def _fix(syntax: str) -> str:
    """Return the package that may decode what the installed ones did not, if it is missing."""
    if not syntax.startswith("1.2.840.10008.1.2.4."):
        return ""
    decoder = load_pydicom().pixels.get_decoder(syntax)
    packages = _packages(syntax)
    plugin = packages.split()[0].removeprefix("python-")
    return "" if plugin in decoder.available_plugins else f"; try: pip install {packages}"


def _told(message: str) -> str:
    """Return the line that tells most: of several plugins, what the last one said."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or [""]
    several = len(lines) > 1 and "plugins" in lines[0]
    return (lines[-1] if several else lines[0])[:_LENGTH]


def _hidden(message: str, file: Path, data: Any) -> str:
    """Return a message without the file's name and without what identifies the patient."""
    secrets = [str(file), file.name, file.stem, *file.parts[1:]]
    for keyword in _IDENTITY if data is not None else ():
        value = text(data, keyword)
        secrets += [value, *re.split(r"[\^=,\s]+", value)]
    for secret in sorted({each for each in secrets if len(each) > 1}, key=len, reverse=True):
        word = rf"(?<!\w){re.escape(secret)}(?!\w)"
        message = re.sub(word, "...", message, flags=re.IGNORECASE)
    return message
