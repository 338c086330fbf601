"""A pair table of any number of rows, whose pairs, images and hashtags are in a spool."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain

import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile, image_identity
from consistency.data.hashtags import identities, several_note
from consistency.data.inputs import read_parts, refuse_skipped
from consistency.data.pairs import PairTable, Skipped, no_row
from consistency.data.scores import check_scores
from consistency.data.spool import Spool
from consistency.data.tables import TableFile
from consistency.options import OnError, Source
from consistency.scale import CLASSES

PART = 65_536  # rows of the table that are read at once

# `shown` numbers the distinct contents of images and `tag` the identities of hashtags, each by the first image or
# hashtag that has it; `usable` is whether both have a vector.
_CODED = """
CREATE TABLE pairs AS
WITH i AS (SELECT number, cell, min(number) OVER (PARTITION BY identity) AS shown, problem IS NULL AS good
           FROM images JOIN found USING (number)),
     h AS (SELECT number, cell, min(number) OVER (PARTITION BY identity) AS tag, problem IS NULL AS good
           FROM hashtags JOIN tags USING (number))
SELECT row, i.number AS image, h.number AS hashtag, shown, tag, score, i.good AND h.good AS usable
FROM raw JOIN i ON raw.image = i.cell JOIN h ON raw.hashtag = h.cell ORDER BY row
"""


@dataclass(eq=False)
class LargeTable:
    """The usable rows of a pair table, in these tables of a spool.

    | table | columns |
    | --- | --- |
    | raw | row, image, hashtag, score: as `PairTable` has them |
    | skipped, lost | row, image, hashtag, reason: rows that cannot be used, in order; those without vectors in `lost` |
    | images, hashtags | number (from 0, by first appearance), cell |
    | found, tags | number, identity, problem: what `record` was told about each image and hashtag |
    | pairs | row, image, hashtag, shown, tag, score, usable: numbers in place of texts, in order, after `code` |

    Attributes
    ----------
    spool : Spool
        Where the rows are.
    table : TableFile
        The file.
    n : int
        Number of usable rows.
    score_counts : (5,) int64
        Number of rows with each of the scores 1 to 5.
    skipped : int
        Number of rows that cannot be used.
    first_skipped : tuple of Skipped
        The first of these; empty if there are none.
    several : str or None
        One line about rows whose cell holds several hashtags.
    images, hashtags : int
        Number of distinct names and texts.
    """

    spool: Spool
    table: TableFile
    n: int = 0
    score_counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(CLASSES, dtype=np.int64))
    skipped: int = 0
    first_skipped: tuple[Skipped, ...] = ()
    several: str | None = None
    images: int = 0
    hashtags: int = 0
    _recorded: dict[str, int] = field(default_factory=dict)
    _lists: list[str] = field(default_factory=lambda: ["skipped"])

    @classmethod
    def read(cls, spool: Spool, source: Source, table: TableFile, *, require_scores: bool) -> "LargeTable":
        """Read all rows of a table into a spool, by the rules of `pairs.read_pairs`.

        Raises
        ------
        DataError
            As `inputs.read_inputs` does.
        """
        read, unscored, several = cls(spool, table), Counter[str](), several_note()
        spool.create("raw", {"row": "BIGINT", "image": "BLOB", "hashtag": "BLOB", "score": "TINYINT"})
        spool.create("skipped", {"row": "BIGINT", "image": "BLOB", "hashtag": "BLOB", "reason": "BLOB"})
        for part in read_parts(source, PART, table=table, require_scores=require_scores):
            columns = {"row": part.rows, "image": part.images, "hashtag": part.hashtags, "score": part.scores}
            spool.append("raw", columns)
            read._add_skipped(part.skipped)
            refuse_skipped(part.skipped, source.on_error)
            read.n += len(part)
            read.score_counts += part.score_counts
            unscored.update(part.unscored)
            several.add(part.rows.tolist(), part.hashtags)
        spool.seal("raw")
        spool.seal("skipped")
        mapped = source.score_map is not None
        if not read.n:
            raise no_row(table.path, unscored, read.first_skipped, read.skipped, mapped=mapped)
        if require_scores:
            counts, allow = read.score_counts.tolist(), source.on_error == "allow"
            check_scores(unscored, counts, path=table.path, allow=allow, mapped=mapped)
        read.several = several.line
        for kind, column, record in (("images", "image", "found"), ("hashtags", "hashtag", "tags")):
            number = "row_number() OVER (ORDER BY min(row)) - 1 AS number"
            spool.run(f"CREATE TABLE {kind} AS SELECT {number}, {column} AS cell FROM raw GROUP BY {column}")
            spool.create(record, {"number": "BIGINT", "identity": "BLOB", "problem": "BLOB"})
        read.images, read.hashtags = (spool.one(f"SELECT count(*) FROM {name}")[0] for name in ("images", "hashtags"))
        return read

    def parts(self, size: int) -> Iterator["Part"]:
        """Divide the distinct images and hashtags into parts of at most `size` of each, in order.

        If there are fewer images or hashtags than parts, some parts repeat one of an earlier part.
        """
        count = -(-max(self.images, self.hashtags) // size)
        for part in range(count):
            first = {}
            cells: dict[str, list[str]] = {}
            for kind, n in (("images", self.images), ("hashtags", self.hashtags)):
                start = first[kind] = min(part * n // count, n - 1)
                stop = max((part + 1) * n // count, start + 1)
                query = f"SELECT cell FROM {kind} WHERE number >= ? AND number < ? ORDER BY number"
                cells[kind] = [cell for batch in self.spool.batches(query, start, stop) for cell in batch["cell"]]
            yield Part(self._pairs_of(cells["images"], cells["hashtags"]), first["images"], first["hashtags"])

    def _pairs_of(self, images: Sequence[str], hashtags: Sequence[str]) -> PairTable:
        n = max(len(images), len(hashtags))
        return PairTable(
            rows=np.arange(1, n + 1),
            images=np.array([images[at % len(images)] for at in range(n)], dtype=object),
            hashtags=np.array([hashtags[at % len(hashtags)] for at in range(n)], dtype=object),
            scores=np.zeros(n, np.int64),
            path=self.table.path,
            digest=self.table.digest,
            skipped=(),
        )

    def record(
        self, part: "Part", files: Mapping[str, ImageFile], images: Mapping[str, str], hashtags: Mapping[str, str]
    ) -> None:
        """Record what was found out about the images and hashtags of a part; parts must come in their order.

        Parameters
        ----------
        part : Part
            One of `parts`.
        files : mapping of str to ImageFile
            Its images.
        images, hashtags : mapping of str to str
            Why images and hashtags have no vector; those that are not named have one.
        """
        names, texts = part.table.images, part.table.hashtags
        names, texts = (np.array([*dict.fromkeys(cells)], dtype=object) for cells in (names, texts))
        for kind, first, cells, identity, problems in (
            ("found", part.first_image, names, image_identity(names, files), images),
            ("tags", part.first_hashtag, texts, identities(texts), hashtags),
        ):
            known = self._recorded.get(kind, 0)
            new = slice(known - first, None)  # a repeated one is recorded already
            self._recorded[kind] = first + len(cells)
            reasons = [problems.get(cell) for cell in cells[new]]
            numbers = np.arange(known, first + len(cells))
            self.spool.append(kind, {"number": numbers, "identity": identity[new], "problem": reasons})

    def code(self, on_error: OnError) -> None:
        """Write the table `pairs`, and add the rows without vectors to those that were skipped."""
        self.spool.seal("found")
        self.spool.seal("tags")
        self.spool.run(_CODED)
        self.spool.drop("raw")
        lost = (
            "SELECT row, i.cell AS image, h.cell AS hashtag, coalesce(f.problem, t.problem) AS reason FROM pairs p "
            "JOIN images i ON i.number = p.image JOIN hashtags h ON h.number = p.hashtag "
            "JOIN found f ON f.number = p.image JOIN tags t ON t.number = p.hashtag WHERE NOT usable"
        )
        count = self.spool.one("SELECT count(*) FROM pairs WHERE NOT usable")[0]
        if count:
            first = next(self.spool.batches(f"{lost} ORDER BY row LIMIT 1"))
            skipped = Skipped(int(first["row"][0]), first["image"][0], first["hashtag"][0], first["reason"][0])
            refuse_skipped([skipped], on_error, count)
            self.first_skipped = self.first_skipped or (skipped,)
            self.skipped += count
            self.spool.run(f"CREATE TABLE lost AS {lost} ORDER BY row")
            self._lists.append("lost")

    def _add_skipped(self, skipped: Sequence[Skipped]) -> None:
        if skipped:
            self.first_skipped = self.first_skipped or (skipped[0],)
            self.skipped += len(skipped)
            columns = ("row", "image", "hashtag", "reason")
            self.spool.append("skipped", {name: [getattr(each, name) for each in skipped] for name in columns})

    def skipped_parts(self) -> Iterator[list[Skipped]]:
        """The rows that cannot be used, in the order of `Inputs.skipped` and those of the extraction after them."""
        for batch in chain.from_iterable(self.spool.batches(f"SELECT * FROM {name}") for name in self._lists):
            yield [Skipped(int(row), *cells) for row, *cells in zip(*batch.values(), strict=True)]

    def contents(self) -> int:
        """Number of distinct images by content that were found."""
        name = b"name:".hex().upper()
        query = f"SELECT count(DISTINCT identity) FROM found WHERE hex(identity) NOT LIKE '{name}%'"
        return int(self.spool.one(query)[0])

    def images_digest(self) -> str:
        """SHA-256 in hexadecimal over the contents of the images in the order of the rows: `Inputs.pictures_digest`."""
        query = "SELECT identity FROM found ORDER BY number"
        identity = [each for batch in self.spool.batches(query) for each in batch["identity"]]
        digest, between = sha256(), ""
        for batch in self.spool.batches("SELECT image FROM pairs"):
            digest.update((between + "\n".join([identity[image] for image in batch["image"].tolist()])).encode())
            between = "\n"
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Part:
    """Some distinct images and hashtags as a table, whose pairs are arbitrary: only what is distinct counts.

    Attributes
    ----------
    table : PairTable
        Rows that name them, in order; the shorter of the two kinds is repeated.
    first_image, first_hashtag : int
        Number of the first image and of the first hashtag.
    """

    table: PairTable
    first_image: int
    first_hashtag: int
