"""A CSV file as it is uploaded: kept on disk, read a bounded number of rows at a time."""

from __future__ import annotations

import asyncio
import codecs
import csv
import hashlib
import io
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import IO, Any, cast

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from schemas.problems import Problem, invalid

FILE_LIMIT_BYTES = 50 * 1024 * 1024
ROWS_LIMIT = 100_000
#: A chunk is full with so many rows, or with so much text.
CHUNK_ROWS = 500
CHUNK_CHARS = 256 * 1024
#: The longest legal row has 50 attributes of 1024 characters, each of them a doubled quote.
ROW_LIMIT_CHARS = 128 * 1024
_UPLOAD_SECONDS = 25.0
_PART_BYTES = 256 * 1024
#: Kept in memory up to here, on disk beyond.
_MEMORY_BYTES = 1024 * 1024
#: What a form may add around its file.
_FORM_BYTES = 64 * 1024
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_COLUMNS_LIMIT = 53
_FILE = "file"

#: A row: the line it begins on, and its cells, or their number where it is not the header's.
Cells = tuple[int, list[str] | int]


class CsvFile:
    """A file that has arrived whole; `close` drops it.

    It is read a bounded number of rows at a time, by calls that may take a while.
    """

    def __init__(self, file: IO[bytes], digest: bytes) -> None:
        self._file = file
        self.digest = digest
        self._text: io.TextIOWrapper | None = None
        self._reader: Any = None
        self._row_chars = 0
        self.columns: list[str] = []

    def close(self) -> None:
        """Drop the file."""
        self._file.close()

    def read_header(self) -> None:
        """Begin at the first line and check it; raises the 422 Problem."""
        if self._text is not None:
            # Else it would close the file when it is dropped.
            self._text.detach()
        self._file.seek(0)
        if self._file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise invalid(_FILE, "The file is UTF-16: save it as UTF-8.")
        self._file.seek(0)
        self._text = io.TextIOWrapper(self._file, encoding="utf-8-sig", newline="")
        self._reader = csv.reader(self._lines(self._text), strict=True)
        header = next(self._rows(), None)
        if header is None:
            raise invalid(_FILE, "The file is empty.")
        self.columns = _columns(header[1])

    def read_rows(self) -> list[Cells]:
        """The next chunk of rows; none at the end. Raises the 422 Problem."""
        found: list[Cells] = []
        chars = 0
        for line, cells in self._rows():
            if len(cells) == len(self.columns):
                found.append((line, cells))
                chars += sum(map(len, cells))
            else:
                found.append((line, len(cells)))
            if len(found) == CHUNK_ROWS or chars > CHUNK_CHARS:
                break
        return found

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows in which something is written, each with the line it begins on."""
        reader = self._reader
        while True:
            line = reader.line_num + 1
            self._row_chars = 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError:
                detail = f"After line {reader.line_num} the file is not UTF-8."
                raise invalid(_FILE, detail) from None
            except csv.Error as error:
                raise invalid(_FILE, f"Line {line}: {error}.") from None
            if any(cells) and any(map(str.strip, cells)):
                yield line, cells

    def _lines(self, text: io.TextIOWrapper) -> Iterator[str]:
        """The lines, no row of which may fill the memory: a quote may hold any number of them."""
        number = 0
        while line := text.readline(ROW_LIMIT_CHARS + 1):
            number += 1
            self._row_chars += len(line)
            if self._row_chars > ROW_LIMIT_CHARS:
                detail = f"The row on line {number} has more than {ROW_LIMIT_CHARS} characters."
                raise invalid(_FILE, detail)
            yield line


def _columns(header: list[str]) -> list[str]:
    columns = [cell.strip() for cell in header]
    if len(columns) > _COLUMNS_LIMIT:
        raise invalid(_FILE, f"Must have at most {_COLUMNS_LIMIT} columns.")
    for number, column in enumerate(columns, 1):
        if _COLUMN.fullmatch(column) is None:
            raise invalid(
                _FILE, f"The name of column {number} must match {_COLUMN.pattern}: {column[:64]!a}."
            )
        if columns.index(column) != number - 1:
            raise invalid(_FILE, f"There are two columns {column}.")
    if "phone" not in columns:
        raise invalid(_FILE, "There is no column phone.")
    return columns


async def receive(request: web.Request) -> CsvFile:
    """The uploaded file, as `text/csv` or as the part `file` of a form; raises a Problem."""
    _check_head(request)
    try:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            if request.content_type == "text/csv":
                return await _kept(_parts(request.content.read))
            return await _kept(_parts_of_form(request))
    except TimeoutError as error:
        detail = f"The file did not arrive within {_UPLOAD_SECONDS:g} seconds."
        raise Problem(408, "request_timeout", detail) from error
    except (ConnectionError, web.RequestPayloadError, ValueError) as error:
        raise Problem(400, "bad_request", "The body could not be read.") from error


def _check_head(request: web.Request) -> None:
    """Refuse what need not be read to be refused."""
    if request.content_type not in ("text/csv", "multipart/form-data"):
        raise _not_taken("Send text/csv, or multipart/form-data with a part named file.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise _not_taken("Send the file as UTF-8.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _not_taken("Send the file as it is, without a Content-Encoding.")
    if (request.content_length or 0) > FILE_LIMIT_BYTES + _FORM_BYTES:
        raise _too_large()


def _not_taken(detail: str) -> Problem:
    return Problem(415, "unsupported_media_type", detail)


def _too_large() -> Problem:
    return Problem(413, "payload_too_large", f"The file may have up to {FILE_LIMIT_BYTES} bytes.")


async def _parts_of_form(request: web.Request) -> AsyncIterator[bytes]:
    """The bytes of the part named file, which must end where the form says so."""
    form = await request.multipart()
    while (part := await _next(form)) is not None:
        if isinstance(part, BodyPartReader) and part.name == _FILE:
            async for read in _parts(part.read_chunk):
                yield read
            # What ends without a boundary was cut off.
            await _next(form)
            return
    raise invalid(_FILE, "The form has no part named file.")


async def _next(form: MultipartReader) -> MultipartReader | BodyPartReader | None:
    try:
        return await form.next()
    except (HttpProcessingError, RuntimeError) as error:
        # The first quotes a header of the part, the second is for a charset without end.
        raise ValueError("not a form") from error


async def _kept(parts: AsyncIterator[bytes]) -> CsvFile:
    digest = hashlib.sha256()
    file = cast(
        "IO[bytes]",
        tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES),  # noqa: SIM115 - outlives this
    )
    try:
        async for part in parts:
            digest.update(part)
            await asyncio.to_thread(file.write, part)
    except BaseException:
        file.close()
        raise
    return CsvFile(file, digest.digest())


async def _parts(read: Callable[[int], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    """The bytes of the file, refused as soon as they are too many."""
    size = 0
    while part := await read(_PART_BYTES):
        size += len(part)
        if size > FILE_LIMIT_BYTES:
            raise _too_large()
        yield bytes(part)
