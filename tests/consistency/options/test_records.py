"""The shared records: what they are without any option, and what follows from them."""

from consistency.options import Encoding, Evaluation, Output, Source


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
