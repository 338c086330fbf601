"""A text recipe says as which texts a hashtag is put to the model, and how their vectors become one."""

import numpy as np
import pytest

from consistency.backbone.text_recipe import TextRecipe, mean_vectors
from consistency.errors import InputError


def test_texts_of_a_hashtag() -> None:
    assert TextRecipe().texts("#Cafe \u200b") == ("#Cafe \u200b",)
    assert not TextRecipe().changes
    assert TextRecipe("plain").texts("＃Ｃafe\u200b") == ("Cafe",)
    both = TextRecipe("plain", ("{}의 사진", "a photo of {}, {}!"))
    assert both.texts("#바다") == ("바다의 사진", "a photo of 바다, 바다!")
    assert both.all_texts(["#바다", "바다", "#산"]) == [*both.texts("바다"), *both.texts("산")]
    assert both.changes
    assert TextRecipe("raw", ("{0} {}",)).texts("{}") == ("{0} {}",)  # braces in texts stay


@pytest.mark.parametrize(
    ("templates", "message"),
    [(("사진",), "template '사진' has no place for the hashtag: write {}"), (("{}", "{}"), "is given twice")],
)
def test_templates_that_cannot_be_used(templates: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextRecipe("raw", templates)


def test_the_mean_has_unit_norm() -> None:
    rng = np.random.default_rng(0)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 5, 7)).astype(np.float32))
    found = mean_vectors([a, b])
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    for row in range(5):  # the bisector of two unit vectors has the same angle to both
        assert found[row] @ a[row] == pytest.approx(found[row] @ b[row], abs=1e-6)
        assert found[row] @ a[row] == pytest.approx(np.sqrt((1 + a[row] @ b[row]) / 2), abs=1e-6)
    assert mean_vectors([a]) is a
    assert not mean_vectors([a, -a]).any()
