"""Conditional requests (RFC 9110 §13): is what the client has still current?

Values in, values out. A representation has validators, an entity tag and perhaps the time of its last change. The
request's header fields are judged by them in the order of RFC 9110 §13.2.2:

1. If-Match, or without it If-Unmodified-Since: 412 unless it holds.
2. If-None-Match, or without it If-Modified-Since: 304 for what the client has already.
3. If-Range, together with Range: whether a part of it fits what the client has of it.
"""

from __future__ import annotations

import calendar
import datetime
import hashlib
import re
import time
from dataclasses import dataclass

from trioecho._http.fields import Headers

# RFC 9110 §8.8.3: entity-tag = [ %s"W/" ] DQUOTE *etagc DQUOTE
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# RFC 9110 §5.6.7, in its order: IMF-fixdate, rfc850-date, asctime-date. Which day of the week it was is not checked:
# the date says it.
_DATES = (
    re.compile(
        rf"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) (?P<month>{'|'.join(_MONTHS)}) (?P<year>[0-9]{{4}}) "
        r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) GMT"
    ),
    re.compile(
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>[0-9]{{2}})-(?P<month>{'|'.join(_MONTHS)})-(?P<year>[0-9]{{2}}) "
        r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) GMT"
    ),
    re.compile(
        rf"(?:{'|'.join(_DAYS)}) (?P<month>{'|'.join(_MONTHS)}) (?P<day>[0-9]{{2}}| [0-9]) "
        r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) (?P<year>[0-9]{4})"
    ),
)


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a representation from another.

    `etag` is the entity tag as it is sent, with its quotes, and with ``W/`` before them if it is weak.
    `last_modified` is in seconds since 1970, or None if it is not known.
    """

    etag: str
    last_modified: int | None = None

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The header fields that tell them to the client; a 304 repeats them (RFC 9110 §15.4.5)."""
        etag = ("ETag", self.etag)
        if self.last_modified is None:
            return (etag,)
        return etag, ("Last-Modified", http_date(self.last_modified))


def etag_of(*facts: bytes | int) -> str:
    """Return a strong entity tag of what identifies a state: a file's content, or its time, size and inode.

    It is a hash of them, so it tells nobody what they are.
    """
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        encoded = fact if isinstance(fact, bytes) else b"%d" % fact
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return f'"{digest.hexdigest()}"'


def precondition(method: str, headers: Headers, validators: Validators) -> int | None:
    """Return the status to answer with in place of the representation, 304 or 412, or None to go on.

    A list that cannot be read matches nothing, a date that cannot be read is as if it were not there.
    """
    reads = method in ("GET", "HEAD")
    if "If-Match" in headers:
        if not _matches(headers, "If-Match", validators.etag, weakly=False):
            return 412
    elif (unmodified_since := _date(headers, "If-Unmodified-Since")) is not None and (
        validators.last_modified is None or validators.last_modified > unmodified_since
    ):
        return 412
    if "If-None-Match" in headers:
        if _matches(headers, "If-None-Match", validators.etag, weakly=True):
            return 304 if reads else 412
    elif (
        reads
        and validators.last_modified is not None
        and (modified_since := _date(headers, "If-Modified-Since")) is not None
        and validators.last_modified <= modified_since
    ):
        return 304
    return None


def range_applies(headers: Headers, validators: Validators) -> bool:
    """Whether the request's Range is to be looked at: there is no If-Range, or it has the current entity tag.

    The comparison is the strong one (RFC 9110 §13.1.5). A date never holds: a file may have changed twice within the
    second that it names, and then the parts would not fit. A client that was sent an entity tag must not send a date.
    """
    values = headers.get_all("If-Range")
    if not values:
        return True
    return (
        len(values) == 1
        and not validators.etag.startswith("W/")
        and values[0].strip(" \t") == validators.etag
    )


def _matches(headers: Headers, name: str, etag: str, *, weakly: bool) -> bool:
    """Compare with a list of entity tags, or with ``*``, which any representation matches (RFC 9110 §8.8.3.2)."""
    text = ",".join(headers.get_all(name))
    if text.strip(" \t") == "*":
        return True
    opaque = etag.removeprefix("W/")
    if not weakly and opaque != etag:
        return False
    return any(f'"{tag}"' == opaque and (weakly or not weak) for weak, tag in _ENTITY_TAG.findall(text))


def _date(headers: Headers, name: str) -> int | None:
    values = headers.get_all(name)
    # RFC 9110 §13.1.3: ignored "if the received field value is not a valid HTTP-date, the field value has more than
    # one member, …".
    return parse_http_date(values[0]) if len(values) == 1 else None


def http_date(seconds: int) -> str:
    """Return a time, in seconds since 1970, as HTTP writes it: "Sun, 06 Nov 1994 08:49:37 GMT".

    Raises ValueError for one after the year 9999, or before 1970.
    """
    if not 0 <= seconds < 253_402_300_800:
        raise ValueError(
            f"a date of HTTP has a year from 1970 to 9999; you gave {seconds} seconds since 1970"
        )
    at = time.gmtime(seconds)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


def parse_http_date(text: str, this_year: int | None = None) -> int | None:
    """Return the seconds since 1970 of a date in one of the three forms of RFC 9110 §5.6.7; None for what is none.

    "Sun, 06 Nov 1994 08:49:37 GMT", and the obsolete "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6 08:49:37 1994".
    Of a year in two digits that would be more than 50 years after `this_year`, the present one by default, the last
    century's is meant.
    """
    text = text.strip(" \t")
    found = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        this_year = time.gmtime().tm_year if this_year is None else this_year
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    month, second = _MONTHS.index(found["month"]) + 1, int(found["second"])
    try:
        # A leap second, 60, is the first of the next minute.
        at = datetime.datetime(
            year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), min(second, 59)
        )
    except ValueError:
        return None
    return None if second > 60 else calendar.timegm(at.timetuple()) + (second == 60)
