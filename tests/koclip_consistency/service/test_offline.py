"""The page for annotators without Python: one file with all it needs, which allows nothing else."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from consistency.data.files import find_images
from consistency.data.inputs import read_table
from consistency.errors import InputError
from consistency.options import AnnotatePageOptions, QueueChoice, Source
from koclip_consistency.service.offline import SHOWN, write_page
from koclip_consistency.workflows.queue import random_queue


def test_a_page_holds_its_queue_and_allows_nothing_else(small_demo: Path, tmp_path: Path) -> None:
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    table = tmp_path / "t.csv"
    text = source.data.read_text(encoding="utf-8").splitlines()
    image = text[1].split(",")[0]
    table.write_text("\n".join([text[0], f"{image},</script><b>,3", *text[1:40]]) + "\n", encoding="utf-8")
    source = Source(data=table, images=small_demo / "image")
    written = write_page(AnnotatePageOptions(queue=QueueChoice(seed=7), source=source, file=tmp_path / "page.html"))
    page = written.path.read_text(encoding="utf-8")
    told = json.loads(re.findall(r'<script type="application/json" id="queue">(.*?)</script>', page, re.S)[0])
    pairs = read_table(source)
    files = find_images(pairs.images, source.images)
    places = random_queue(pairs, files, 7).places.tolist()
    assert [item["row"] for item in told["items"]] == pairs.rows[places].tolist()
    assert "</script><b>" in {item["hashtag"] for item in told["items"]}
    assert [item["sha256"] for item in told["items"]] == [files[pairs.images[at]].digest.hex() for at in places]  # type: ignore[union-attr]
    assert (told["queue"], told["table"]) == ("random", pairs.digest)
    assert (written.pairs, written.images, written.unreadable) == (len(places), len(told["images"]), 0)
    shown = Image.open(io.BytesIO(base64.b64decode(told["images"][0].partition(",")[2])))
    assert (shown.format, max(shown.size) <= SHOWN) == ("JPEG", True)

    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    for kind, tag in (("script", '<script type="module">'), ("style", "<style>")):
        inside = page.partition(tag)[2].partition(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "import " not in page.partition('<script type="module">')[2]
    assert re.findall(r"https?://(?!www\.w3\.org/)", page) == []
    assert "Score" not in str(told)  # blind: no label is in the page
    assert set(told["items"][0]) == {"row", "image", "sha256", "hashtag"}


def test_images_that_cannot_be_shown(small_demo: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (small_demo / "image").iterdir())[:2]
    (tmp_path / names[0]).write_bytes((small_demo / "image" / names[0]).read_bytes())
    (tmp_path / names[1]).write_bytes(b"<html>")
    lines = ["Image Filename,Hashtag,Score", *(f"{name},바다,3" for name in names)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = Source(data=tmp_path / "t.csv", images=tmp_path)
    options = AnnotatePageOptions(source=source, file=tmp_path / "page.html")
    written = write_page(options)
    assert (written.pairs, written.images, written.unreadable) == (1, 1, 1)
    (tmp_path / names[0]).unlink()
    with pytest.raises(InputError, match="none of the 1 images of the queue can be shown"):
        write_page(options)
