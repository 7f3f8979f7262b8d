"""The zip files that torch writes: stored entries, found through the central directory."""

from __future__ import annotations

import struct
import zlib

from attrs import frozen

from riboswitch_adapters.readers.mapped import refusal

MAX_DIRECTORY = 8 << 20
MAX_ENTRIES = 50_000  # one per tensor: more than a hundred times what the models have
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_ENCRYPTED = 0x2041  # flags: encrypted, strongly encrypted, directory encrypted


@frozen
class Entry:
    """One file inside the zip; `start` is the first byte of its content."""

    start: int
    size: int
    crc: int

    def content(self, data: memoryview) -> memoryview:
        """The bytes, unchecked."""
        return data[self.start : self.start + self.size]

    def checked(self, data: memoryview) -> memoryview:
        """The bytes, with their CRC-32 verified."""
        content = self.content(data)
        if zlib.crc32(content) != self.crc:
            raise refusal("an entry of the zip file does not match its CRC-32")
        return content


@frozen
class _Listed:
    """An entry as the central directory has it."""

    name: bytes
    size: int
    crc: int
    header: int


def entries(data: memoryview) -> dict[str, Entry]:
    """All entries by name.

    Raises:
        CheckpointError: compressed, encrypted, overlapping, duplicate or truncated entries,
            and directories that contradict themselves or are out of all proportion.
    """
    count, size, start = _directory(data)
    if size > MAX_DIRECTORY or count > MAX_ENTRIES:
        raise refusal(f"the zip directory has {count} entries in {size} bytes, too many")
    found: dict[str, Entry] = {}
    spans: list[tuple[int, int]] = []
    for listed in _listing(data[start : start + size], count):
        name, entry = _located(data[:start], listed)
        if name in found:
            raise refusal(f"the zip file has two entries {name[:100]!a}")
        found[name] = entry
        spans.append((listed.header, entry.start + entry.size))
    _must_not_overlap(spans)
    return found


def _directory(data: memoryview) -> tuple[int, int, int]:
    """Number of entries, size and start of the central directory."""
    end = len(data) - 22  # torch writes no comment, so the end record ends the file
    if end < 0 or data[end : end + 4] != _END:
        raise refusal("the zip file is cut short: its end record is missing")
    disk, first, here, count, size, start, comment = struct.unpack_from("<4H2IH", data, end + 4)
    if disk or first or comment or here != count:
        raise refusal("the zip file's end record is damaged")
    if end >= 76 and data[end - 20 : end - 16] == _LOCATOR:
        end, count, size, start = _directory64(data, end - 20, (count, size, start))
    if start + size != end or size < 46 * count:
        raise refusal("the zip directory is not where the end record says")
    return count, size, start


def _directory64(
    data: memoryview, locator: int, short: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    disk, end, disks = struct.unpack_from("<IQI", data, locator + 4)
    if disk or disks > 1 or end != locator - 56 or data[end : end + 4] != _END64:
        raise refusal("the zip64 locator points nowhere")
    fields = struct.unpack_from("<Q2H2I4Q", data, end + 4)
    length, _, _, disk, first, here, count, size, start = fields
    if length != 44 or disk or first or here != count:
        raise refusal("the zip64 end record is damaged")
    limits = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    for brief, full, unset in zip(short, (count, size, start), limits, strict=True):
        if brief not in (full, unset):
            raise refusal("the zip file's two end records contradict each other")
    return end, count, size, start


def _listing(directory: memoryview, count: int) -> list[_Listed]:
    listed, at = [], 0
    for _ in range(count):
        if directory[at : at + 4] != _ENTRY:
            raise refusal("the zip directory is damaged")
        entry, at = _listed(directory, at)
        listed.append(entry)
    if at != len(directory):
        raise refusal("the zip directory has bytes that belong to no entry")
    return listed


def _listed(directory: memoryview, at: int) -> tuple[_Listed, int]:
    fields = struct.unpack_from("<6H3I5H2I", directory, at + 4)
    _, _, flags, method, _, _, crc, packed, size, *rest = fields
    n_name, n_extra, n_comment, disk, _, _, header = rest
    if method or flags & _ENCRYPTED:
        raise refusal(
            "the zip file has compressed or encrypted entries",
            "Save it with torch.save, which stores entries as they are.",
        )
    name = bytes(directory[at + 46 : at + 46 + n_name])
    middle = at + 46 + n_name
    extra = bytes(directory[middle : middle + n_extra])
    size, packed, header = _widened(extra, size, packed, header)
    if packed != size or disk:
        raise refusal("the sizes of a zip entry contradict each other")
    return _Listed(name, size, crc, header), middle + n_extra + n_comment


def _widened(extra: bytes, *values: int) -> list[int]:
    """Take the values that are all ones from the zip64 field."""
    if 0xFFFFFFFF not in values:
        return list(values)
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(wide, value) if value == 0xFFFFFFFF else value for value in values]
        at += 4 + length
    raise refusal("a zip64 entry has no zip64 sizes")


def _located(data: memoryview, listed: _Listed) -> tuple[str, Entry]:
    """Check the local header before the content against the directory."""
    at = listed.header
    if at + 30 > len(data) or data[at : at + 4] != _LOCAL:
        raise refusal("a zip entry's header is not where the directory says")
    _, flags, method, _, _, crc, packed, size, n_name, n_extra = struct.unpack_from(
        "<5H3I2H", data, at + 4
    )
    start = at + 30 + n_name + n_extra
    same = data[at + 30 : at + 30 + n_name] == listed.name and not method | flags & _ENCRYPTED
    # A header that was written before the content leaves them 0 or all ones.
    sizes = {packed, size} <= {0, 0xFFFFFFFF, listed.size} and crc in (0, listed.crc)
    if not same or not sizes or start + listed.size > len(data):
        raise refusal("a zip entry's header contradicts the directory")
    return _plain(listed.name), Entry(start, listed.size, listed.crc)


def _plain(raw: bytes) -> str:
    name = raw.decode("utf-8")
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise refusal(f"the zip file has an entry with the odd name {name[:100]!a}")
    return name


def _must_not_overlap(spans: list[tuple[int, int]]) -> None:
    end = 0
    for start, stop in sorted(spans):
        if start < end:
            raise refusal("entries of the zip file overlap")
        end = stop
