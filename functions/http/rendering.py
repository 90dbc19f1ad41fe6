"""Makes HTTP responses of handlers' answers, of refusals, and of downloads and their parts."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from flask import Request, Response

from functions.adapters.disposition import attachment
from functions.http.dialect import RefusalResponse
from functions.http.ranges import NotSatisfiable, part_of
from functions.http.routing import Answer, Download, NoContent, Redirect, Route

TEXT: Final = "text/plain"


def render(request: Request, route: Route, answer: Answer) -> Response:
    match answer:
        case Redirect():
            return _response(route.redirect_status, "", TEXT, {"Location": answer.url})
        case Download(url=str(url)) if request.method != "HEAD":
            return _response(route.redirect_status, "", TEXT, {"Location": url})
        case Download():
            return _download(request, answer)
        case NoContent():
            return _response(HTTPStatus.NO_CONTENT, "", TEXT, {})
    headers = {"Location": route.location.format_map(dict(answer))} if route.location else {}
    return _response(route.status, answer.model_dump_json(), "application/json", headers)


def refused(refusal: RefusalResponse) -> Response:
    return _response(refusal.status, refusal.document, refusal.media_type, refusal.headers)


def _download(request: Request, file: Download) -> Response:
    """Send the file, or the part of it that the headers `Range` and `If-Range` ask for."""
    headers = {"Accept-Ranges": "bytes", "ETag": file.etag, "Content-Disposition": attachment(file.file_name)}
    if request.method == "HEAD":
        headers["Content-Length"] = str(file.size)
        return _response(HTTPStatus.OK, iter(()), file.content_type, headers)
    unchanged = request.headers.get("If-Range", file.etag) == file.etag
    try:
        part = part_of(file.size, request.headers.get("Range")) if unchanged else None
    except NotSatisfiable:
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return _response(status, "", TEXT, {**headers, "Content-Range": f"bytes */{file.size}"})
    first, last = part or (0, file.size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    return _response(status, file.read(first, last) if file.size else iter(()), file.content_type, headers)


def _response(status: HTTPStatus, body: str | Iterator[bytes], media_type: str, headers: Mapping[str, str]) -> Response:
    return Response(body, status, {"Cache-Control": "no-store", **headers}, content_type=media_type)
