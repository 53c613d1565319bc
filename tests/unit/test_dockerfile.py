"""The grammar of Dockerfiles: what is read, and which line is blamed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.build.dockerfile import HereDocument, Instruction, parse_dockerfile
from oci_image.errors import ImageError


def parse(text: str) -> tuple[Instruction, ...]:
    return parse_dockerfile(text.encode()).instructions


def test_keywords_flags_and_lines_are_told_apart() -> None:
    found = parse("FROM --platform=linux/arm64 a AS b\n\n# comment\ncopy --chown=1:2 --from=b x /y\n")
    assert [(each.keyword, each.flags, each.text, each.line) for each in found] == [
        ("FROM", (("platform", "linux/arm64"),), "a AS b", 1),
        ("COPY", (("chown", "1:2"), ("from", "b")), "x /y", 4),
    ]


def test_continued_lines_are_joined_past_comments_and_empty_lines() -> None:
    found = parse("FROM a\nRUN one && \\\n# not this\n\n  two \\  \n  three\nUSER x")
    assert found[1].text == "one &&   two   three"
    assert (found[1].line, found[1].last_line, found[2].line) == (2, 6, 7)


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    found = parse("# syntax=x\n# escape=`\nFROM a\nRUN dir c:\\\nRUN a `\n b")
    assert [each.text for each in found[1:]] == ["dir c:\\", "a  b"]


def test_json_is_recognised_and_anything_like_it_is_for_the_shell() -> None:
    found = parse('FROM a\nCMD ["a", "b c"]\nCMD [ -f x ]\nCMD [1]\nCMD "a"')
    assert [each.words for each in found[1:]] == [("a", "b c"), None, None, None]


def test_here_documents_belong_to_their_instruction() -> None:
    found = parse('FROM a\nCOPY <<one <<-"two" /d/\n1\none\n\t\t2 $x\n\ttwo\nRUN echo <<<x\nRUN cat <<E\nE\n')
    assert found[1].documents == (
        HereDocument("one", "1\n", expand=True),
        HereDocument("two", "2 $x\n", expand=False),
    )
    assert found[2].documents == ()
    assert found[3].documents == (HereDocument("E", "", expand=True),)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("FROM a\nRUNN x", 2, "unknown instruction: RUNN"),
        ("FROM a\n\nUSER\n", 3, "USER requires arguments"),
        ("RUN x\nFROM a", 1, "RUN stands before the first FROM"),
        ("FROM a\nONBUILD FROM b", 2, "not allowed as an ONBUILD trigger"),
        ("FROM a\nRUN <<E\nx\n", 2, "here-document E has no end"),
        ("# escape=x\nFROM a", 1, "invalid escape character"),
        ("# escape=`\n# escape=`\nFROM a", 2, "given twice"),
    ],
)
def test_errors_name_file_and_line(text: str, line: int, what: str) -> None:
    with pytest.raises(ImageError) as failure:
        parse_dockerfile(text.encode(), "dir/Containerfile")
    assert failure.value.where == f"dir/Containerfile:{line}"
    assert what in failure.value.what


@pytest.mark.parametrize("data", [b"", b"# only\n", b"ARG x\n"])
def test_a_file_needs_a_base(data: bytes) -> None:
    with pytest.raises(ImageError, match="no FROM"):
        parse_dockerfile(data)


@given(st.binary(max_size=300))
def test_no_input_makes_it_fail_in_another_way(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        parse_dockerfile(b"FROM a\n" + data)
