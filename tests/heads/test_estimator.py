"""Head as a scikit-learn estimator: its own checks, and the numbers of the training function behind it."""

import pickle
import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import InputError
from heads.config import HeadConfig
from heads.estimator import Head, PostHead
from heads.post_head import PostConfig, TrainedPostHead
from heads.train import train_head
from tests.builders.head_data import make_pairs, make_posts

# scikit-learn's checks train on labels such as 0 and 1, or on words. These cannot pass a head, whose labels are scores.
NOT_SCORES = "expected whole scores from 1 to 5"
NEED_OTHER_LABELS = {
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_supervised_y_2d",
}
NEEDS_A_SWITCH = {"check_array_api_input"}  # runs only where the environment sets SCIPY_ARRAY_API


class AnyLabels(Head):
    """A head whose scores 1, 2, ... stand for the labels of a check, so that all checks reach the head."""

    def fit(self, X: Any, y: Any) -> "AnyLabels":
        labels = None if y is None else np.asarray(y)
        if labels is None or (labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels).clip(-99, 99))):
            super().fit(X, labels)  # refuses them itself
        known, place = np.unique(labels, return_inverse=True)
        super().fit(X, place.reshape(np.shape(labels)) + 1)
        self.classes_ = known
        return self

    def predict(self, X: Any) -> Any:
        chances = self.predict_proba(X)
        return self.classes_[chances.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Any:
        chances = super().predict_proba(X)[:, : len(getattr(self, "classes_", ()))]
        return chances / chances.sum(axis=1, keepdims=True)


def checked(estimator: Head) -> dict[str, list[dict[str, Any]]]:
    """What scikit-learn's checks found, by status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(estimator, on_fail=None, on_skip=None)
    return {status: [x for x in found if x["status"] == status] for status in ("passed", "failed", "skipped")}


def test_scikit_learns_checks_that_apply_pass() -> None:
    found = checked(Head(features="image", epochs=3))
    assert len(found["passed"]) >= 29
    assert {x["check_name"] for x in found["failed"]} == NEED_OTHER_LABELS
    for x in found["failed"]:
        said = f"{x['exception']} {x['exception'].__cause__ or x['exception'].__context__ or ''}"
        assert NOT_SCORES in said, x["check_name"]
    assert {x["check_name"] for x in found["skipped"]} <= NEEDS_A_SWITCH


def test_all_of_scikit_learns_checks_pass_once_labels_are_scores() -> None:
    found = checked(AnyLabels(features="image", epochs=30, batch_size=32))
    assert [(x["check_name"], str(x["exception"])) for x in found["failed"]] == []
    assert {x["check_name"] for x in found["skipped"]} <= NEEDS_A_SWITCH


def test_parameters_are_those_of_a_head_and_a_seed() -> None:
    assert set(Head().get_params()) == {field.name for field in fields(HeadConfig)} | {"seed"}
    assert Head().config == HeadConfig()
    head = clone(Head(hidden=(64, 32), loss="corn").set_params(lr=0.01))
    assert head.config == HeadConfig(hidden=(64, 32), loss="corn", lr=0.01)
    assert repr(Head(loss="corn")) == "Head(loss='corn')"


@pytest.mark.parametrize("loss", ["cross-entropy", "corn", "regression"])
def test_answers_are_those_of_the_trained_head(loss: str) -> None:
    pairs, labels = make_pairs()
    train, test = np.arange(200), np.arange(200, 300)
    head = Head(hidden=(16,), loss=loss, epochs=4, seed=3).fit(pairs.take(train), labels[train] + 1)
    trained, history = train_head(
        HeadConfig(hidden=(16,), loss=loss, epochs=4), pairs.take(train), labels[train], seed=3
    )
    said = trained.predict(pairs.take(test))
    np.testing.assert_array_equal(head.predict(pairs.take(test)), said.predicted + 1)
    np.testing.assert_array_equal(head.predict_proba(pairs.take(test)), said.probabilities)
    np.testing.assert_array_equal(head.expected_score(pairs.take(test)), said.values)
    assert head.history_ == history
    assert head.classes_.tolist() == [1, 2, 3, 4, 5]
    assert head.n_features_in_ == 2 * pairs.dim
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict_proba(pairs.take(test)), said.probabilities)


@pytest.mark.parametrize("features", ["full", "image", "text"])
def test_arrays_and_pairs_give_one_head(features: str) -> None:
    pairs, labels = make_pairs(n=120)
    images, hashtags = pairs.images[pairs.image_index], pairs.hashtags[pairs.hashtag_index]
    array = {"full": np.hstack([images, hashtags]), "image": images, "text": hashtags}[features]
    settings: dict[str, Any] = {"features": features, "hidden": (8,), "epochs": 3}
    of_pairs, of_array = Head(**settings).fit(pairs, labels + 1), Head(**settings).fit(array, labels + 1)
    assert of_array.n_features_in_ == of_pairs.n_features_in_ == array.shape[1]
    np.testing.assert_allclose(of_array.predict_proba(array), of_pairs.predict_proba(pairs), atol=1e-5)


def test_a_search_of_scikit_learn_chooses_a_head() -> None:
    pairs, labels = make_pairs(n=150)
    array = np.hstack([pairs.images[pairs.image_index], pairs.hashtags[pairs.hashtag_index]])
    search = GridSearchCV(Head(epochs=3, hidden=()), {"loss": ["corn", "regression"]}, cv=2).fit(array, labels + 1)
    assert search.best_params_["loss"] in ("corn", "regression")
    assert search.predict(array).min() >= 1


def test_a_score_that_train_lacks_has_its_column() -> None:
    pairs, labels = make_pairs(n=100)
    head = Head(epochs=2).fit(pairs, np.where(labels == 1, 3, labels) + 1)
    assert head.predict_proba(pairs).shape == (100, 5)


def empty() -> PairEmbeddings:
    return make_pairs(n=10)[0].take(np.arange(0))


@pytest.mark.parametrize(
    ("settings", "X", "y", "said"),
    [
        ({"loss": "hinge"}, np.ones((4, 2)), [1, 2, 3, 4], "loss is 'hinge': expected one of cross-entropy"),
        ({"hidden": 64}, np.ones((4, 2)), [1, 2, 3, 4], "hidden is 64: expected a list of widths"),
        ({}, np.ones((4, 3)), [1, 2, 3, 4], "the array has 3 columns, expected an even number"),
        ({}, np.ones((4, 2)), [0, 1, 2, 7], "y holds 0, 7, expected whole scores from 1 to 5"),
        ({}, make_pairs(n=10)[0], [1, 2, 3], "there are 10 pairs and 3 scores"),
        ({}, empty(), [], "there are no pairs to train on"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(settings: dict[str, Any], X: Any, y: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Head(**settings).fit(X, y)
    assert "\n" not in str(raised.value)


def test_pairs_of_another_backbone_are_refused() -> None:
    pairs, labels = make_pairs(n=60)
    head = Head(epochs=1).fit(pairs, labels + 1)
    with pytest.raises(InputError, match="trained on embeddings of 12 numbers, got 16"):
        head.predict(make_pairs(n=5, dim=16)[0])
    with pytest.raises(NotFittedError):
        Head().predict(pairs)


def test_a_post_head_is_the_one_that_it_trains():
    pairs, labels, *_ = make_posts()
    for sees_image, ordered in ((True, False), (False, True)):
        head = PostHead(sees_image=sees_image, ordered=ordered, seed=5).fit(pairs, labels + 1)
        config = PostConfig(sees_image=sees_image, ordered=ordered)
        expected = TrainedPostHead.fit(pairs, labels, seed=5, config=config).predict_proba(pairs)
        assert np.array_equal(head.predict_proba(pairs), expected)
        assert np.array_equal(head.predict(pairs), expected.argmax(axis=1) + 1)
        np.testing.assert_allclose(
            head.expected_score(pairs), np.average([[1, 2, 3, 4, 5]] * len(pairs), axis=1, weights=expected)
        )
        assert head.get_params() == {"sees_image": sees_image, "ordered": ordered, "seed": 5}
    with pytest.raises(InputError, match="expected whole scores from 1 to 5"):
        PostHead().fit(pairs, labels)
    with pytest.raises(InputError, match="the pairs have no context"):
        PostHead().fit(replace(pairs, context=None), labels + 1)
