"""Words of Dockerfiles: variables with modifiers, quotes, pairs, patterns and ignore files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.build.patterns import compile_pattern, parse_ignore
from oci_image.build.settings import absolute, parse_duration
from oci_image.build.variables import expand_word, expand_words, split_pairs, split_words
from oci_image.errors import ImageError

VALUES = {"foo": "bar", "empty": "", "path": "/a/b/a/c.tar.gz", "two": "one two"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$foo ${foo} x${foo}x", "bar bar xbarx"),
        ("$food ${nothing}", " "),
        (r"\$foo '$foo' \'", "$foo $foo '"),
        (r'"$foo \" \$ \n"', r'bar " $ \n'),
        ("${foo:-x} ${empty:-x} ${empty-x} ${nothing-x}", "bar x  x"),
        ("${foo:+x} ${empty:+x} ${empty+x} ${nothing+x}", "x  x "),
        ("${nothing:-${foo}}", "bar"),
        ("${path#*/a}", "/b/a/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/a/c.tar"),
        ("${path%%.*}", "/a/b/a/c"),
        ("${path/a/X}", "/X/b/a/c.tar.gz"),
        ("${path//a/X}", "/X/b/X/c.tXr.gz"),
        ("${path//\\//-}", "-a-b-a-c.tar.gz"),
        ("${foo?}", "bar"),
        ("a $ b", "a $ b"),
        ("$1x", "x"),
    ],
)
def test_variables_and_quotes(text: str, expected: str) -> None:
    assert expand_word(text, VALUES.get) == expected


@pytest.mark.parametrize(
    "text", ["'a", '"a', "${foo", "${foo:-a", "${}", "${foo:!x}", "${nothing:?must be set}"]
)
def test_what_has_no_end_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        expand_word(text, VALUES.get)


def test_another_escape_character() -> None:
    assert expand_word(r"c:\dir\$foo `$foo", VALUES.get, "`") == r"c:\dir\bar $foo"


def test_words_are_split_outside_of_quotes_only() -> None:
    assert expand_words("80 $two \"$two\" 'x'y", VALUES.get) == ["80", "one", "two", "one two", "xy"]
    assert split_words(r"""a "b c" d\ e 'f g'h""") == ["a", '"b c"', r"d\ e", "'f g'h"]


def test_pairs_in_both_forms() -> None:
    assert split_pairs('a=1 b="x y" c=x\\ y d=$foo', "ENV", VALUES.get) == [
        ("a", "1"), ("b", "x y"), ("c", "x y"), ("d", "bar"),
    ]  # fmt: skip
    assert split_pairs("name  some text = $foo", "ENV", VALUES.get) == [("name", "some text = bar")]
    for wrong in ("name", "a=1 b", "=x"):
        with pytest.raises(ImageError):
            split_pairs(wrong, "ENV", VALUES.get)


@given(st.text(max_size=40))
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        assert isinstance(expand_word(text, VALUES.get), str)
        assert all(expand_words(text, VALUES.get)) or '""' in text or "''" in text or "$" in text
    except ImageError:
        pass


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.txt", "a.txt", True), ("*.txt", "a/b.txt", False), ("a?c", "abc", True), ("a?c", "a/c", False),
        ("[a-c]x", "bx", True), ("[^a-c]x", "bx", False), (r"\*", "*", True), (r"\*", "a", False),
    ],
)  # fmt: skip
def test_patterns_as_go_matches_them(pattern: str, name: str, expected: bool) -> None:
    assert bool(compile_pattern(pattern).fullmatch(name)) is expected


def test_a_pattern_without_its_end_is_refused() -> None:
    for wrong in ("[a", "a\\", "[z-a]"):
        with pytest.raises(ImageError):
            compile_pattern(wrong)


def test_the_last_line_that_matches_decides_what_is_left_out() -> None:
    rules = parse_ignore(
        b"# comment\n*/temp*\n**/*.o\nbuild\n!build/keep\n/top\n  spaced  \n", where=".dockerignore"
    )
    out = [
        path
        for path in (
            "x/temp1", "x/y/temp1", "a.o", "x/y/a.o", "build", "build/x", "build/keep", "build/keep/y", "top",
            "x/top", "spaced", "other",
        )
        if rules.leaves_out(path)
    ]  # fmt: skip
    assert out == ["x/temp1", "a.o", "x/y/a.o", "build", "build/x", "top", "spaced"]
    assert rules.brings_back


def test_a_fault_in_an_ignore_file_has_its_line() -> None:
    with pytest.raises(ImageError) as failure:
        parse_ignore(b"a\n[b\n", where="dir/.dockerignore")
    assert failure.value.where == "dir/.dockerignore:2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30_000_000_000), ("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000), ("1ms", 1_000_000)],
)
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text, "interval") == expected


@pytest.mark.parametrize("text", ["", "30", "x", "1us", "-1s", "1s "])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ImageError):
        parse_duration(text, "interval")


@pytest.mark.parametrize(
    ("directory", "path", "expected"),
    [("/w", "x", "/w/x"), ("/w", "x/", "/w/x/"), ("/w", ".", "/w/"), ("", "/", "/"), ("/w", "../../..", "/"),
     ("/w", "/a/../b", "/b"), ("/", "//x", "/x")],
)  # fmt: skip
def test_paths_are_made_absolute(directory: str, path: str, expected: str) -> None:
    assert absolute(directory, path) == expected
