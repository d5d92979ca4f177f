"""The retired totals: the sum of the books of writers whose folders have been deleted."""

from pathlib import Path
from typing import NamedTuple, Self

from wakelog.journal._counts import RecordCounts
from wakelog.record import read_fields, seal_fields
from wakelog.runtime import read_small

NAME = "swept"


class RetiredTotals(NamedTuple):
    """The sum of the books of deleted folders.

    Attributes:
        writers: The number of these writers.
        counts: The counts of their records, of which none is pending.
        going: Writers that are in the sum and whose folders may still exist.
    """

    writers: int = 0
    counts: RecordCounts = RecordCounts()
    going: tuple[str, ...] = ()

    def plus(self, writer: str, counts: RecordCounts) -> "RetiredTotals":
        """Return the sum with the books of another writer, whose folder still exists."""
        return RetiredTotals(self.writers + 1, self.counts + counts, (*self.going, writer))

    def to_bytes(self) -> bytes:
        """Return the file's content, one line."""
        fields = {"writers": self.writers, **self.counts.counted(), "going": self.going}
        return seal_fields(fields)[0]

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Parse the file's content.

        Raises:
            ValueError: When the content or its figures are invalid.
        """
        try:
            data = read_fields(text)
            figures = [data["writers"], *(data[name] for name in RecordCounts().counted())]
            going = tuple(map(str, data["going"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a sum of books: {text[:80]!r}") from error
        possible = all(type(one) is int and one >= 0 for one in figures)
        counts = RecordCounts(**dict(zip(RecordCounts().counted(), figures[1:], strict=True)))
        if not possible or counts.pending:
            raise ValueError(f"figures that cannot be true: {text[:80]!r}")
        return cls(figures[0], counts, going)


def load(root: Path) -> RetiredTotals:
    """Return the sum; zeros if the file is missing or invalid."""
    try:
        return RetiredTotals.from_bytes(read_small(root / NAME))
    except (OSError, ValueError):
        return RetiredTotals()
