"""The Content-Type of a file, by its name.

The table is our own: the machine's, which `mimetypes` reads, differs from one to the next, and what a browser does with
a file must not depend on what else is installed. What is not in it is application/octet-stream, which a browser saves
and does not run. Text is UTF-8. Whoever sends one of these sends `NOSNIFF` too, so that no browser guesses another.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trioecho._http.fields import checked_fields

UNKNOWN = "application/octet-stream"

NOSNIFF = ("X-Content-Type-Options", "nosniff")
"""The header field that makes a browser believe the Content-Type."""

CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        # Documents, and what they are made of. Of JSON and XML the standard says the encoding, or they do themselves.
        ".htm": "text/html; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".xhtml": "application/xhtml+xml",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".jsonld": "application/ld+json",
        ".map": "application/json",
        ".geojson": "application/geo+json",
        ".webmanifest": "application/manifest+json",
        ".xml": "application/xml",
        ".atom": "application/atom+xml",
        ".rss": "application/rss+xml",
        ".txt": "text/plain; charset=utf-8",
        ".log": "text/plain; charset=utf-8",
        ".md": "text/markdown; charset=utf-8",
        ".csv": "text/csv; charset=utf-8",
        ".ics": "text/calendar; charset=utf-8",
        ".vtt": "text/vtt; charset=utf-8",
        ".yaml": "application/yaml",
        ".yml": "application/yaml",
        ".pdf": "application/pdf",
        ".epub": "application/epub+zip",
        # Images
        ".apng": "image/apng",
        ".avif": "image/avif",
        ".bmp": "image/bmp",
        ".gif": "image/gif",
        ".ico": "image/x-icon",
        ".jpeg": "image/jpeg",
        ".jpg": "image/jpeg",
        ".jxl": "image/jxl",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".webp": "image/webp",
        # Fonts
        ".otf": "font/otf",
        ".ttf": "font/ttf",
        ".woff": "font/woff",
        ".woff2": "font/woff2",
        # Sound and pictures that move
        ".aac": "audio/aac",
        ".flac": "audio/flac",
        ".m4a": "audio/mp4",
        ".mp3": "audio/mpeg",
        ".oga": "audio/ogg",
        ".ogg": "audio/ogg",
        ".opus": "audio/ogg",
        ".wav": "audio/wav",
        ".m3u8": "application/vnd.apple.mpegurl",
        ".mp4": "video/mp4",
        ".ogv": "video/ogg",
        ".webm": "video/webm",
        ".glb": "model/gltf-binary",
        ".gltf": "model/gltf+json",
        # Archives: as they are, without a Content-Encoding, or a browser would unpack what is to be saved.
        ".gz": "application/gzip",
        ".tar": "application/x-tar",
        ".tgz": "application/gzip",
        ".zip": "application/zip",
        ".zst": "application/zstd",
    }
)
"""Content types by the ending of a file's name, in lower case with its dot."""


def content_type(name: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the Content-Type of a file called `name`, a name or a path.

    The ending counts, without regard to case: that of "a.tar.gz" is ".gz". `more` is looked at before the table.
    """
    name = name[name.rfind("/") + 1 :]
    dot = name.rfind(".")
    if dot < 0:
        return UNKNOWN
    ending = name[dot:].lower()
    return more.get(ending) or CONTENT_TYPES.get(ending, UNKNOWN)


def checked_content_types(given: object) -> Mapping[str, str]:
    """Return types that are to come before the table's. Raises TypeError or ValueError with one sentence for what is
    no mapping of endings to types."""
    rule = "content_types takes a mapping such as {'.obj': 'model/obj'}; you gave"
    if not isinstance(given, Mapping):
        raise TypeError(f"{rule} {given!r}")
    checked: dict[str, str] = {}
    for ending, kind in given.items():
        if not isinstance(ending, str) or not isinstance(kind, str):
            raise TypeError(f"{rule} {ending!r}: {kind!r}")
        if not ending.startswith(".") or ending.count(".") != 1 or "/" in ending or len(ending) == 1:
            raise ValueError(
                f"content_types has endings of one dot, such as '.obj'; you gave {ending!r}: "
                "the last dot of a file's name counts"
            )
        kind_, slash, subtype = kind.partition("/")
        if not (kind_ and slash and subtype):
            raise ValueError(f"a content type is such as 'model/obj'; you gave {kind!r} for {ending!r}")
        checked_fields({"Content-Type": kind})
        checked[ending.lower()] = kind
    return MappingProxyType(checked)
