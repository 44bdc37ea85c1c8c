"""The spool: the same bytes come out, from memory or from disk, and a full disk is heard of."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mta.store.spool import Spool


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(st.binary(max_size=30), max_size=10), limit=st.integers(0, 100), size=st.integers(1, 40))
def test_what_goes_in_comes_out(tmp_path: Path, pieces: list[bytes], limit: int, size: int) -> None:
    whole = b"".join(pieces)
    with Spool(tmp_path, memory_limit=limit) as spool:
        for piece in pieces:
            spool.write(piece)
        assert spool.size == len(whole)
        assert spool.on_disk is (len(whole) > limit)
        assert b"".join(spool.chunks(size=size)) == whole
        assert b"".join(spool.chunks(3, size)) == whole[3:]
        assert spool.read(2, 5) == whole[2:7]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_in_the_directory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_limit=10)
    spool.write(b"x" * 10)
    assert not spool.on_disk
    spool.write(b"y")
    assert spool.on_disk
    assert list(tmp_path.iterdir()) == []
    before = open_files()
    spool.close()
    spool.close()
    assert open_files() == before - 1


def test_a_disk_that_takes_no_more_is_an_oserror(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path, memory_limit=10) as spool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(OSError) as raised:
                spool.write(b"x" * 5000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG


def test_a_missing_directory_is_an_oserror(tmp_path: Path) -> None:
    with Spool(tmp_path / "none", memory_limit=0) as spool, pytest.raises(FileNotFoundError):
        spool.write(b"x")
