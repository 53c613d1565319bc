"""Choosing among the images of a store, by the filters of `docker images`."""

from __future__ import annotations

import fnmatch
import re
from datetime import UTC, datetime, timedelta

from oci_image.model.registry_reference import DOCKER_HUB, same_name
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from oci_image.store.summary import ImageSummary

FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def filter_images(images: Sequence[ImageSummary], filters: Iterable[str]) -> tuple[ImageSummary, ...]:
    """The images that every one of `filters` lets through; each is written NAME=VALUE.

    dangling=true|false (has no name), label=KEY[=VALUE], reference=PATTERN (of a shell), before=IMAGE and
    since=IMAGE (made earlier or later than that image of the same list), until=TIME (made before; RFC 3339, a
    date, seconds since 1970, or a span like 24h that ends now).

    Raises: UsageError for a filter that does not exist or means nothing.
    """
    chosen = tuple(images)
    for text in filters:
        name, _, value = text.partition("=")
        if name not in FILTERS or not value:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"write NAME=VALUE, NAME one of {', '.join(FILTERS)}"
            )
        chosen = tuple(image for image in chosen if _lets_through(image, name, value, images))
    return chosen


def _lets_through(image: ImageSummary, name: str, value: str, images: Sequence[ImageSummary]) -> bool:
    if name == "dangling":
        if value not in ("true", "false", "1", "0"):
            raise UsageError(
                f"invalid filter 'dangling={value}'", hint="write dangling=true or dangling=false"
            )
        return (not image.name) == (value in ("true", "1"))
    if name == "label":
        key, equals, wanted = value.partition("=")
        return key in image.labels and (not equals or image.labels[key] == wanted)
    if name == "reference":
        return any(fnmatch.fnmatchcase(form, value) for form in _forms(image.name))
    made = _time_of(image.created)
    if name == "until":
        return made is not None and made < parse_time(value)
    other = _time_of(_image_of(value, images).created)
    if made is None or other is None:
        return False
    return made < other if name == "before" else made > other


def _forms(name: str) -> tuple[str, ...]:
    """The ways in which people write a name: whole, without what Docker fills in, and without the tag."""
    short = name.removeprefix(f"{DOCKER_HUB}/").removeprefix("library/")
    forms = {name, name.removeprefix(f"{DOCKER_HUB}/"), short}
    without_tag = {form.rpartition(":")[0] for form in forms if ":" in form.rpartition("/")[2]}
    return tuple((forms | without_tag) - {""})


def _image_of(text: str, images: Sequence[ImageSummary]) -> ImageSummary:
    for image in images:
        if image.name and same_name(image.name, text):
            return image
        if len(text) >= 6 and image.digest.partition(":")[2].startswith(text.removeprefix("sha256:")):
            return image
    raise UsageError(f"filter names the image {text!r}, which is not there")


def _time_of(created: str) -> datetime | None:
    try:
        return parse_time(created) if created else None
    except UsageError:
        return None


def parse_time(text: str) -> datetime:
    """A moment: RFC 3339, a date, seconds since 1970, or a span before now such as 90m or 1h30m."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    if re.fullmatch(r"(?:\d+[smhd])+", text):
        span = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
        return datetime.now(UTC) - timedelta(seconds=span)
    try:
        # Only microseconds are taken in; writers in the field give nanoseconds.
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        raise UsageError(
            f"invalid time {text!r}", hint="write 2026-01-31T12:00:00Z, 2026-01-31 or 24h"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
