"""Fetch one file over HTTP: resumed where it stopped, never left half-written."""

import http.client
import os
import shutil
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from nonparam.errors import DownloadError, InputError

__all__ = ["download"]


def download(url: str, path: Path, *, timeout: float) -> None:
    """Fetch ``url`` into ``path``, which appears only once it is complete.

    What has arrived is kept beside it in ``PATH.part``; the next call asks the server for the
    rest (a Range request, RFC 9110 section 14) and starts over where that is not supported.

    Args:
        url: address, http or https.
        path: file to write; its folder is made.
        timeout: seconds to wait for the server at each step, positive.

    Raises:
        InputError: the address or the time-out is not of that form.
        DownloadError: no connection, an error status, a time-out, or a transfer cut short.

    >>> download("ftp://example.org/data.csv", Path("data.csv"), timeout=30.0)
    Traceback (most recent call last):
    nonparam.errors.InputError: expected an http:// or https:// address, got 'ftp://example.org/data.csv'
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"expected an http:// or https:// address, got {url!r}")
    if not timeout > 0:
        raise InputError(f"expected a timeout of more than 0 seconds, got {timeout!r}")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _transfer(url, part, timeout)
        os.replace(part, path)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"could not download {url}: {error}") from error


def _transfer(url: str, part: Path, timeout: float) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            _receive(response, part, start)
    except HTTPError as error:
        if not (start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            raise
        part.unlink()  # no rest to ask for: what is there is not the beginning of this file
        _transfer(url, part, timeout)


def _receive(response: http.client.HTTPResponse, part: Path, start: int) -> None:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the server sends the whole file
        start = 0
    length = response.headers["Content-Length"]
    with part.open("ab" if start else "wb") as file:
        shutil.copyfileobj(response, file)
    received = part.stat().st_size - start
    if length is not None and received != int(length):
        kept = f"{received} of {length} bytes arrived before the connection closed"
        raise http.client.HTTPException(f"{kept}; call again to resume")
