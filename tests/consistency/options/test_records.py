"""The shared records: what they are without any option, and what follows from them."""

import pytest

from consistency.errors import InputError
from consistency.options import Encoding, Evaluation, Output, Source, as_config, from_config


def test_limits_follow_from_megapixels_and_aspect() -> None:
    limits = Source(max_megapixels=1.5, max_aspect=3).limits
    assert (limits.max_pixels, limits.max_aspect) == (1_500_000, 3)


def test_the_contract_of_defaults() -> None:
    """Other programs rely on these: a change of one is a change of the command line."""
    source, encoding, evaluation = Source(), Encoding(), Evaluation()
    assert (str(source.data), str(source.images)) == ("data/combined_data.csv", "data/image")
    assert (source.image_column, source.hashtag_column, source.score_column) == ("Image Filename", "Hashtag", "Score")
    assert (encoding.backbone, str(encoding.cache), encoding.decode) == ("koclip", "cache", "ours")
    assert (evaluation.protocol, evaluation.seed, evaluation.test_fraction) == ("grouped", 42, 0.2)
    assert (Output().out, str(Output().runs)) == (None, "runs")


def test_several_columns_of_scores() -> None:
    several = Source(score_column=("a", "b"))
    assert (several.score_columns, as_config(several)["score_column"]) == (("a", "b"), ["a", "b"])
    assert from_config(Source, as_config(several)) == several
    one = Source(score_column=("a",))
    assert (one.score_columns, one.score_column, as_config(one)["score_column"]) == (("a",), "a", "a")
    assert one.one_score_column("data prepare") == "a"
    with pytest.raises(InputError, match="data prepare takes one column of scores, but --score-column names 2: a, b"):
        several.one_score_column("data prepare")
