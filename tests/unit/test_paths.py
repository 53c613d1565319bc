"""Paths are cleaned as the kernel would resolve them in a root without links."""

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyruntime.base.paths import clean_path


@given(st.lists(st.sampled_from(["", ".", "..", "a", ".b", "c.", "..d", "/", " "])).map("/".join))
@example("/")
@example("/a/")
@example("")
def test_a_path_is_clean_as_posix_has_it(path: str) -> None:
    assert clean_path(path) == posixpath.normpath("/" + path.lstrip("/"))


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c", "/a..b", "/sys/fs/cgroup/x"])
def test_a_clean_path_stays_what_it_is(path: str) -> None:
    assert clean_path(path) is path
