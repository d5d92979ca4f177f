"""Tables of figures as text, which lose no column on a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence

from wakelog._printable import printable


def table_text(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return a table as text: the first column aligned left, the others, figures, aligned right.

    Args:
        titles: The columns' titles, with one word per line if space is short.
        rows: The cells, with the totals as the last row.
        width: The terminal's width in columns. If the table is wider, every row becomes a block of
            lines, each with a title and its figure.

    Returns:
        Lines, without a newline at the end.
    """
    for heads in ([[title] for title in titles], [title.split() for title in titles]):
        sizes = [
            max(len(text) for text in (*head, *(row[place] for row in rows)))
            for place, head in enumerate(heads)
        ]
        needed = sum(sizes) + len(sizes) - 1
        if needed <= width:
            break
    else:
        return _blocks(titles, rows)
    tall = max(len(head) for head in heads)
    stacked = [[""] * (tall - len(head)) + head for head in heads]
    head_rows = [[column[line] for column in stacked] for line in range(tall)]
    *body, total = [_row(row, sizes) for row in rows]
    rule = "─" * needed
    return "\n".join([*(_row(row, sizes) for row in head_rows), rule, *body, rule, total])


def _row(texts: Sequence[str], sizes: Sequence[int]) -> str:
    first, *others = (
        text.rjust(size) if place else text.ljust(size)
        for place, (text, size) in enumerate(zip(texts, sizes, strict=True))
    )
    return " ".join((first, *others)).rstrip()


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    named = max(len(title) for title in titles[1:])
    lines: list[str] = []
    for row in rows:
        lines.append(row[0])
        figures = max(len(text) for text in row[1:])
        lines += [
            f"  {title:<{named}}  {text:>{figures}}"
            for title, text in zip(titles[1:], row[1:], strict=True)
        ]
    return "\n".join(lines)


def aligned(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, keep: bool = False
) -> list[str]:
    """Return rows aligned under their titles and safe for a terminal, with figures aligned right.

    Args:
        titles: The columns' titles; the title of a column of figures begins with ``>``.
        rows: The cells.
        keep: Whether to keep columns that have only ``-``.

    Returns:
        The lines.
    """
    safe = [[printable(text) for text in row] for row in rows]
    kept = [
        place
        for place, title in enumerate(titles)
        if keep
        or not place
        or title.startswith(">events")
        or any(row[place] != "-" for row in safe)
    ]
    heads = [titles[place] for place in kept]
    cells = [[head.removeprefix(">") for head in heads], *([row[p] for p in kept] for row in safe)]
    sizes = [max(len(row[place]) for row in cells) for place in range(len(kept))]
    return [
        "  ".join(
            text.rjust(size) if head.startswith(">") else text.ljust(size)
            for text, size, head in zip(row, sizes, heads, strict=True)
        ).rstrip()
        for row in cells
    ]
