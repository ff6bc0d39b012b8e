"""An object store on this machine: as much of S3's protocol as writing, reading, listing and deleting objects takes."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TIME = "2026-01-02T03:04:05.000Z"


class Bucket(ThreadingHTTPServer):
    """One bucket: its objects by their keys, what was asked of it, and which requests it is to refuse."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[str] = []
        #: Requests, as "PUT key", whose beginning is one of these are answered with 403.
        self.refused: tuple[str, ...] = ()


def _chunks(file: Any) -> Iterator[bytes]:
    """What comes in pieces, each after its length; S3's clients send such pieces in pieces of HTTP's."""
    while count := int(file.readline().split(b";")[0], 16):
        yield file.read(count)
        file.readline()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _xml(self, kind: str, inner: str, status: int = 200) -> None:
        text = f'<?xml version="1.0"?><{kind}>{inner}</{kind}>'
        self._answer(status, text.encode(), Content_Type="application/xml")

    def _handle(self) -> None:
        address = urlsplit(self.path)
        _, _, key = unquote(address.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        body = self._body()
        request = f"{self.command} {key}"
        self.server.asked.append(request + ("?uploads" if "uploads" in query else ""))
        if "Signature" not in self.headers.get("Authorization", ""):
            self._xml("Error", "<Code>AccessDenied</Code><Message>unsigned</Message>", 403)
        elif request.startswith(self.server.refused or ("nothing",)):
            self._xml("Error", "<Code>AccessDenied</Code><Message>Access Denied</Message>", 403)
        elif self.command in ("GET", "HEAD"):
            self._get(key, query)
        elif self.command == "PUT":
            self._put(key, query, body)
        elif self.command == "DELETE":
            self.server.objects.pop(key, None)
            self.server.uploads.pop(query.get("uploadId", ""), None)
            self._answer(204)
        else:
            self._post(key, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        else:
            data = b"".join(_chunks(self.rfile))
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            data = b"".join(_chunks(io.BytesIO(data)))
        return data

    def _get(self, key: str, query: dict[str, str]) -> None:
        objects = self.server.objects
        if not key:
            self._list(query) if "list-type" in query else self._answer()
            return
        if key not in objects:
            self._xml("Error", "<Code>NoSuchKey</Code>", 404)
            return
        data, status = objects[key], 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            data, status = data[int(asked[1]) : int(asked[2]) + 1], 206
        tag = hashlib.md5(objects[key]).hexdigest()
        modified = "Fri, 02 Jan 2026 03:04:05 GMT"
        self._answer(status, data, ETag=f'"{tag}"', Last_Modified=modified, Content_Length=str(len(data)))

    def _list(self, query: dict[str, str]) -> None:
        prefix, limit = query.get("prefix", ""), int(query.get("max-keys", 1000))
        inside = sorted(key for key in self.server.objects if key.startswith(prefix))
        ends = query.get("delimiter")
        folders = sorted(
            {prefix + key[len(prefix) :].split("/")[0] + "/" for key in inside if "/" in key[len(prefix) :]}
        )
        if ends:
            inside = [key for key in inside if "/" not in key[len(prefix) :]]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            f"<LastModified>{TIME}</LastModified></Contents>" for key in inside[:limit]
        )  # fmt: skip
        common = "".join(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>" for key in folders if ends)
        count = f"<KeyCount>{len(inside[:limit])}</KeyCount><IsTruncated>false</IsTruncated>"
        self._xml("ListBucketResult", f"{items}{common}{count}")

    def _put(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.server.objects[key] = body
        self._answer(ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def _post(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "uploads" in query:
            upload = f"u{len(self.server.asked)}"
            self.server.uploads[upload] = {}
            self._xml("InitiateMultipartUploadResult", f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId>")
        elif "uploadId" in query:
            parts = self.server.uploads.pop(query["uploadId"])
            self.server.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self._xml("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key><ETag>x</ETag>")
        else:
            self._xml("Error", "<Code>NotImplemented</Code>", 501)


@contextmanager
def bucket() -> Iterator[Bucket]:
    """A bucket that is there for the block."""
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
