"""CSV files as they are read: rows come out as they were written, or a Problem is raised."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.problems import Problem
from service.ingress.csv_file import CHUNK_CHARS, CHUNK_ROWS, Cells, CsvFile

CELLS = st.text(st.characters(codec="utf-8"), max_size=20)


def read(data: bytes) -> list[list[Cells]]:
    """Every chunk of the file."""
    file = CsvFile(io.BytesIO(data), b"")
    file.read_header()
    chunks = []
    while rows := file.read_rows():
        chunks.append(rows)
    file.close()
    return chunks


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), max_size=20),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_what_was_written_is_read(rows: list[tuple[str, str]], end: str, mark: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["phone", "name"])
    writer.writerows(rows)
    found = [row for chunk in read((mark + text.getvalue()).encode()) for row in chunk]
    assert [cells for _, cells in found] == [
        list(row) for row in rows if any(cell.strip() for cell in row)
    ]
    lines = [line for line, _ in found]
    assert lines == sorted(set(lines))


@given(st.binary(max_size=200), st.sampled_from([b"", b"phone,name\n", b'phone\n"']))
def test_any_bytes_are_read_or_refused(data: bytes, before: bytes) -> None:
    refusal = None
    try:
        read(before + data)
    except Problem as problem:
        refusal = problem.status, list(problem.errors or {})
    assert refusal in (None, (422, ["file"]))


def test_a_row_tells_the_line_it_begins_on_and_ragged_ones_their_width() -> None:
    text = b'phone,name\n\n1,"a\nb"\n2\n , \n3,c,d\n'
    assert read(text) == [[(3, ["1", "a\nb"]), (5, 1), (7, 3)]]


def test_chunks_are_bounded_in_rows_and_in_text() -> None:
    many = read(b"phone\n" + b"1\n" * (2 * CHUNK_ROWS + 1))
    assert [len(chunk) for chunk in many] == [CHUNK_ROWS, CHUNK_ROWS, 1]
    wide = read(b"phone\n" + (b"1" * 100_000 + b"\n") * 7)
    assert [len(chunk) for chunk in wide] == [CHUNK_CHARS // 100_000 + 1] * 2 + [1]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        ("phone\n1\n".encode("utf-16"), "UTF-16"),
        (b"phone,name\n1,\xff\n", "not UTF-8"),
        (b"phone,name,name\n", "two columns name"),
        (b"name\n", "no column phone"),
        (b"phone,first name\n", "column 2"),
        (b'phone\n1\n"2\n', "Line 3"),
        (b"phone\n" + b"x" * 140_000, "row on line 2 has more than"),
        (b"phone\n" + b'"x\n",' * 140_000, "has more than 131072"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(data: bytes, said: str) -> None:
    with pytest.raises(Problem, match=said):
        read(data)
