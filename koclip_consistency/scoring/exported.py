"""The folder that `export` writes: a backbone with a head or thresholds, and how another machine checks its vectors."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from consistency.durable import check_digest, write_file, write_with_digest
from consistency.errors import InputError
from consistency.folders import refuse_pipes
from consistency.format_version import check_format
from consistency.options import Device, Encoding, ImageLimits, as_config
from consistency.runs.read import read_options
from consistency.text import to_json
from embedcache.adopt import EXACT, ROUNDED, Verdict
from embedcache.fingerprint import fingerprint
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.images import read_image

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder

FILE, REFERENCE = "export.json", "reference.safetensors"
FORMAT = 1
KEPT = ("decode", "text", "templates", "precision", "store")  # the options that decide the vectors
TEXTS = ("바다", "#여행스타그램", "#夜景 カフェ", "#OOTD", "☕🌊")

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Exported:
    """An exported system.

    Attributes
    ----------
    path : Path
        The folder.
    system : str
        Its name, for example "heads".
    encoding : Encoding
        How images and hashtags are encoded; its backbone is the folder.
    fields : mapping of str to str
        Everything that decided the vectors where the folder was written.
    """

    path: Path
    system: str
    encoding: Encoding
    fields: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the vectors."""
        return fingerprint(self.fields)

    def on(self, cache: Path, device: Device, threads: int | None) -> Encoding:
        """The encoding with this machine's cache and device."""
        return replace(self.encoding, cache=cache, device=device, threads=threads)

    def write(self) -> None:
        """Write export.json, which makes the folder an export."""
        every = as_config(self.encoding)
        content = {
            "format": FORMAT,
            "system": self.system,
            "encoding": {name: every[name] for name in KEPT},
            "fingerprint": self.fingerprint,
            "fingerprint_fields": self.fields,
        }
        write_file(self.path / FILE, to_json(content).encode())


def is_exported(path: Path) -> bool:
    """Whether `export` wrote the folder."""
    return (path / FILE).is_file()


def read_exported(path: Path) -> Exported:
    """Read what `Exported.write` wrote.

    Raises
    ------
    InputError
        If the file is damaged, or of another version.
    """
    file = path / FILE
    refuse_pipes(path, InputError)
    try:
        content = json.loads(file.read_bytes())
        check_format(file, content["format"], FORMAT, instead="export the run again")
        kept = {name: content["encoding"][name] for name in KEPT}
        encoding = read_options(file, {**kept, "backbone": str(path.absolute())}, Encoding, complete=False)
        fields = {str(name): str(value) for name, value in content["fingerprint_fields"].items()}
        found = Exported(path, str(content["system"]), encoding, fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}): export the run again") from error
    if found.fingerprint != content.get("fingerprint"):
        raise InputError(f"{file} is damaged (its fingerprint is not that of its fields): export the run again")
    return found


def write_reference(folder: Path, backbone: "Embedder") -> Arrays:
    """Write drawn images and fixed texts with their vectors, by which another installation checks its own vectors."""
    arrays: Arrays = {f"image-{n}": np.frombuffer(data, np.uint8) for n, data in enumerate(_drawn())}
    arrays |= {f"text-{n}": np.frombuffer(text.encode(), np.uint8) for n, text in enumerate(TEXTS)}
    arrays |= _vectors(arrays, backbone)
    write_with_digest(folder / REFERENCE, save_arrays(arrays))
    return arrays


def compare_reference(exported: Exported, backbone: "Embedder") -> Verdict:
    """Encode the images and texts of the reference again.

    Raises
    ------
    InputError
        If the file is damaged.
    StorageError
        If it does not match its digest.
    """
    path = exported.path / REFERENCE
    check_digest(path)
    try:
        arrays = load_arrays(path.read_bytes())
        found = _vectors(arrays, backbone)
        gaps = [float(np.nan_to_num(np.abs(found[name] - arrays[name]).max(), nan=2.0)) for name in found]
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}): export the run again") from error
    tolerance = EXACT if exported.fields.get("precision") == "fp32" else ROUNDED
    libraries, (images, texts) = exported.fields.get("libraries", ""), (len(found[name]) for name in found)
    return Verdict(exported.fingerprint, libraries, images, texts, max(gaps), tolerance)


def _vectors(arrays: Arrays, backbone: "Embedder") -> Arrays:
    """Vectors of the images and texts in `arrays`, one at a time: batches change the last bits."""
    encoder = WarmEncoder(lambda: backbone)
    images = [arrays[name].tobytes() for name in sorted(arrays) if name.startswith("image-")]
    texts = [arrays[name].tobytes().decode() for name in sorted(arrays) if name.startswith("text-")]
    return {
        "images": np.concatenate([encoder.image(read_image(data), ImageLimits()) for data in images]),
        "texts": np.concatenate([encoder.hashtags([text]) for text in texts]),
    }


def _drawn() -> list[bytes]:
    """Image files of several kinds and sizes, always the same: coloured waves with noise."""
    rng, files = np.random.default_rng(0), []
    for kind, width, height in (("PNG", 300, 200), ("JPEG", 160, 240), ("JPEG", 500, 90), ("PNG", 60, 60)):
        x, y = np.meshgrid(np.linspace(0, 7, width), np.linspace(0, 5, height))
        waves = np.stack([np.sin(x + n) * np.cos(y * (n + 1)) for n in range(3)], axis=2)
        pixels = np.clip(128 + 90 * waves + rng.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
        files.append(buffer.getvalue())
    return files
