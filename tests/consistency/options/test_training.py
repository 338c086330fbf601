"""What the published preset changes in the commands that train."""

from typing import Any

import pytest

from consistency.options import FinetuneOptions, HeadsOptions, SimilarityOptions, places

SHARED = {"protocol": "paper", "decode": "published"}


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        (SimilarityOptions, SHARED | {"methods": ("simple", "search")}),
        (HeadsOptions, SHARED | {"folds": 5}),
        (FinetuneOptions, SHARED),
    ],
)
def test_the_preset_is_the_published_recipe(kind: type[Any], published: dict[str, Any]) -> None:
    changed = {place.name: place.option.paper for place in places(kind) if place.option.paper is not ...}
    assert changed == published
