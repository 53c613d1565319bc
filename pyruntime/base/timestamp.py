"""Times as text, in UTC (RFC 3339)."""

import time

_DAYS_TO_1970 = 719_468  # from 1 March of the year 0
_DAYS_IN_ERA = 146_097  # 400 years


def utc(seconds: int) -> str:
    """Seconds since 1970 as "2026-01-31T23:59:59", without a zone.

    time.strftime would read /etc/localtime first, whatever the format.
    """
    days, second = divmod(seconds, 86_400)
    # Years begin in March here, so that the leap day is the last of its year.
    era, day_of_era = divmod(days + _DAYS_TO_1970, _DAYS_IN_ERA)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (month <= 2)
    hours, minutes = divmod(second // 60, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hours:02d}:{minutes:02d}:{second % 60:02d}"


def now() -> str:
    """Now, to the second."""
    return utc(int(time.time())) + "Z"


def now_precisely() -> str:
    """Now, to the nanosecond."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{utc(seconds)}.{nanoseconds:09d}Z"
