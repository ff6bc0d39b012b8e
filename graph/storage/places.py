"""Where files are: paths of this machine, and URIs such as s3://bucket/folder/name; taken apart and put together as text."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, unquote

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local_path(place: Any) -> str | None:
    """The path of this machine that a place stands for, which a `file://` URI does too; None for another URI."""
    text = os.fspath(place)
    if not is_uri(text):
        return str(text)
    scheme, host, path, _ = parts(text)
    return "/" + unquote(path) if scheme == "file" and host in ("", "localhost") else None


def is_uri(place: str) -> bool:
    """Whether it begins with a scheme, such as `s3://`."""
    return isinstance(place, str) and _URI.match(place) is not None


def parts(uri: str) -> tuple[str, str, str, str]:
    """The scheme, the host or bucket (with whatever stands before an @), the path without its first slash, the query with
    its question mark."""
    scheme, _, rest = uri.partition("://")
    rest, mark, query = rest.partition("?")
    host, _, path = rest.partition("/")
    return scheme.lower(), host, path, mark + query


def add(place: str, text: str) -> str:
    """The place with a text at the end of its path."""
    if not is_uri(place):
        return place + text
    path, mark, query = place.partition("?")
    return path + text + mark + query


def join(folder: Any, name: str) -> str:
    """The place of a name in a folder; a name that is a place of its own stays what it is. In a URI the name is quoted."""
    folder = os.fspath(folder)
    if not is_uri(folder):
        return str(os.path.join(folder, name))
    if is_uri(name) or not name:
        return name or folder
    path = folder.partition("?")[0]
    name = quote(os.fsencode(name), safe="/=:@+,!$&'()*;~")
    return add(folder, name if path.endswith("/") else "/" + name)


def split(place: str) -> tuple[str, str]:
    """The folder and the name in it, which `join` puts together."""
    if not is_uri(place):
        return os.path.split(place)
    path, mark, query = place.partition("?")
    start = path.index("://") + 3
    cut = path.find("/", start)
    if cut < 0:
        return place, ""
    folder, name = path.rsplit("/", 1)
    return (folder if len(folder) > start else folder + "/") + mark + query, unquote(name)


def shown(place: str) -> str:
    """The place as errors show it: without the credentials that a URI may hold."""
    if not is_uri(place):
        return place
    scheme, host, path, _ = parts(place)
    user, at, host = host.rpartition("@")
    user = user.partition(":")[0] + ":***" if ":" in user else user
    return f"{scheme}://{user}{at}{host}/{path}"
