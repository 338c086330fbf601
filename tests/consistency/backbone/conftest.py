"""Model folders with random weights, and images to encode."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.builders.models import KINDS


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model of each kind in KINDS, not to be changed."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = KINDS[kind](tmp_path_factory.mktemp("models") / "model")
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def made(folders: Callable[[str], Path]) -> Path:
    """A CLIP folder, not to be changed."""
    return folders("clip")


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A CLIP folder to change."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture(scope="session")
def photos() -> list[Image.Image]:
    """A wide and an upright photograph, and one smaller than the models' input."""
    china, flower = (Image.fromarray(array) for array in load_sample_images().images)
    return [china, flower.transpose(Image.Transpose.ROTATE_90), flower.resize((20, 17))]
