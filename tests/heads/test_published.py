"""The published classifier file goes both ways, and no code in it is run."""

import numpy as np
import pytest
import torch
from torch import nn

from consistency.errors import InputError
from heads.model import (
    Head,
    HeadConfig,
    TrainedHead,
)
from heads.published import export_published, import_published
from tests.builders.head_data import make_pairs


@pytest.fixture(scope="module")
def embeddings():
    return make_pairs()[0]


def trained(config=None, *, dim=12, **settings):
    config = config or HeadConfig.paper()
    return TrainedHead(config, Head(config, dim, seed=3).eval(), dim, 3, **settings)


def test_the_published_file_goes_both_ways(embeddings, tmp_path):
    path = tmp_path / "5_classifier.pth"
    classifier = nn.Sequential(nn.Linear(24, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 5)).eval()
    torch.save(classifier.state_dict(), path)
    head = import_published(path)
    pairs = torch.from_numpy(
        np.hstack([embeddings.images[embeddings.image_index], embeddings.hashtags[embeddings.hashtag_index]])
    )
    expected = classifier(pairs).softmax(1).detach().numpy()
    np.testing.assert_allclose(head.predict_proba(embeddings), expected, atol=1e-6)
    export_published(head, tmp_path / "again.pth")
    written = torch.load(tmp_path / "again.pth", weights_only=True)
    assert list(written) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert all(torch.equal(written[name], value) for name, value in classifier.state_dict().items())


def test_what_has_no_published_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="only a head on concat features"):
        export_published(trained(HeadConfig()), tmp_path / "x.pth")
    with pytest.raises(InputError, match="does not exist"):
        import_published(tmp_path / "x.pth")
    torch.save({"1.weight": torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="is not a published classifier"):
        import_published(tmp_path / "x.pth")


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a weight file was run')",))


def test_code_in_a_weight_file_is_not_run(tmp_path):
    torch.save({"0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="holds more than tensors"):
        import_published(tmp_path / "trap.pth")
