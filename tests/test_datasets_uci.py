"""Fetching benchmark sets from a server on the loopback interface."""

import gzip
import http.server
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nonparam import datasets
from nonparam.datasets.download import download
from nonparam.datasets.info import DatasetInfo
from nonparam.datasets.uci import content_sha256
from nonparam.datasets.uci_sets import UCI_SETS, UCISet
from nonparam.errors import DownloadError, FileFormatError, InputError, NonparamError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmark data are not here")

# ------------------------------------------------------------------ the loopback server


def pseudo_random_set(n=60, d=3):
    """A small set in the published form: X, y and the fold of each row."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, X[:, 0] - X[:, 1], rng.permutation(n).astype(np.uint8) % 10


def originals(X, y, fold):
    """The two compressed tables that the public repository holds for a set."""
    rows = np.column_stack([X, y]).astype(str)
    masks = (fold[:, None] == np.arange(10)).astype(int).astype(str)
    return {
        "data.csv.gz": compressed(rows),
        "test_mask.csv.gz": compressed(masks),
    }


def compressed(rows):
    return gzip.compress("\n".join(map(",".join, rows)).encode(), mtime=0)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve ``server.files``; ``server.behaviour`` says how well."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path.rsplit("/", 1)[-1], self.headers["Range"]))
        body = server.files.get(self.path.removeprefix("/sets"))
        if server.behaviour == "silent":
            server.released.wait(5)
        elif server.behaviour == "garbled":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
        elif body is None:
            self.send_error(404)
        else:
            self.reply(body)

    def reply(self, body):
        start = 0
        if self.headers["Range"] and self.server.behaviour != "ignores Range":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.behaviour != "tells no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = len(body) // 2 if self.server.behaviour == "breaks off" else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *args):
        """Keep the output of the tests clean."""


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.behaviour, self.requests = {}, "normal", []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/sets"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def small(server, monkeypatch):
    """A set named "small", known to the package and served in its published form."""
    X, y, fold = pseudo_random_set()
    info = DatasetInfo("small", "download", *(60, 4), "none", "CC0-1.0", "a generator of numbers")
    monkeypatch.setitem(UCI_SETS, "small", UCISet(info, content_sha256(X, y, fold), "a note"))
    monkeypatch.delenv("NONPARAM_DATA", raising=False)
    server.files = {f"/small/{file}": body for file, body in originals(X, y, fold).items()}
    return X, y, fold


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# --------------------------------------------------------------------------- fetch_uci


def test_fetch_downloads_checks_and_stores(server, small, tmp_path):
    X, y, fold = small
    data = datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    np.testing.assert_array_equal(data.X, X.astype(np.float64))
    np.testing.assert_array_equal(data.y, y.astype(np.float64))
    np.testing.assert_array_equal(data.fold, fold)
    assert (data.X.dtype, data.y.dtype, data.fold.dtype) == (np.float64, np.float64, np.int64)
    assert (data.name, data.units, data.note) == ("small", "none", "a note")
    assert repr(data).startswith("UCIData(name='small', units=")
    assert names(tmp_path) == ["small.npz"]
    assert [file for file, _ in server.requests] == ["data.csv.gz", "test_mask.csv.gz"]


def test_fetched_once_is_read_from_disk(server, small, tmp_path):
    first = datasets.fetch_uci("small", data_home=tmp_path, base_url=f"{server.url}/")
    server.requests.clear()
    again = datasets.fetch_uci("small", data_home=str(tmp_path), base_url=server.url)
    np.testing.assert_array_equal(first.X, again.X)
    assert server.requests == []


def test_default_folder_is_in_the_home_of_the_user(server, small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    datasets.fetch_uci("small", base_url=server.url)
    assert (tmp_path / "nonparam_data" / "uci" / "small.npz").is_file()


def test_a_download_folder_serves_as_the_read_only_source(server, small, tmp_path, monkeypatch):
    datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    server.requests.clear()
    monkeypatch.setenv("NONPARAM_DATA", str(tmp_path))
    data = datasets.fetch_uci("small", data_home=tmp_path / "other", base_url=server.url)
    assert len(data.y) == 60 and server.requests == [] and not (tmp_path / "other").exists()


def test_source_folder_without_the_set_is_an_error_not_a_download(server, small, tmp_path, monkeypatch):
    monkeypatch.setenv("NONPARAM_DATA", str(tmp_path))
    with pytest.raises(DownloadError, match=r"has no uci/small\.npz; put it there, or unset"):
        datasets.fetch_uci("small", base_url=server.url)
    assert server.requests == [] and names(tmp_path) == []


def test_interrupted_download_is_resumed(server, small, tmp_path):
    server.behaviour = "breaks off"
    with pytest.raises(DownloadError, match=r"could not download .*\d+ of \d+ bytes arrived"):
        datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    body = server.files["/small/data.csv.gz"]
    part = tmp_path / "uci" / "small_data.csv.gz.part"
    assert part.read_bytes() == body[: len(body) // 2]
    server.behaviour = "normal"
    server.requests.clear()
    data = datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    np.testing.assert_array_equal(data.X, small[0])
    expected = [("data.csv.gz", f"bytes={len(body) // 2}-"), ("test_mask.csv.gz", None)]
    assert server.requests == expected and names(tmp_path) == ["small.npz"]


def test_what_arrived_complete_is_not_fetched_again(server, small, tmp_path):
    mask = server.files.pop("/small/test_mask.csv.gz")
    with pytest.raises(DownloadError, match="404"):
        datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    assert names(tmp_path) == ["small_data.csv.gz"]
    server.files["/small/test_mask.csv.gz"] = mask
    server.requests.clear()
    datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    assert [file for file, _ in server.requests] == ["test_mask.csv.gz"]


@pytest.mark.parametrize("file", ["data.csv.gz", "test_mask.csv.gz"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "No columns"),
        (b"<html>log in first</html>", "gzip"),
        (gzip.compress(b"1,2,3\n4,5", mtime=0), ""),
        (gzip.compress(b"a,b,c,d", mtime=0), "convert"),
        (gzip.compress(b"1,0,0\n" * 60, mtime=0)[:-9], ""),
    ],
)
def test_anything_else_than_the_set_is_refused_and_deleted(server, small, tmp_path, file, body, reason):
    server.files[f"/small/{file}"] = body
    message = f"does not serve the published set small: .*{reason}.*what it sent was deleted"
    with pytest.raises(FileFormatError, match=message):
        datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    assert names(tmp_path) == []


@pytest.mark.parametrize("changed", ["X", "y", "fold"])
def test_checksum_mismatch_is_refused_and_deleted(server, small, tmp_path, changed):
    content = dict(zip(("X", "y", "fold"), (array.copy() for array in small), strict=True))
    content[changed].flat[0] = 9 - content[changed].flat[0]
    assert not np.array_equal(content[changed].flat[0], small["X y fold".split().index(changed)].flat[0])
    server.files = {f"/small/{file}": body for file, body in originals(**content).items()}
    with pytest.raises(FileFormatError, match=r"expected the SHA-256 checksum \w{64}, got \w{64}"):
        datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    assert names(tmp_path) == []


def test_a_row_in_two_folds_is_refused(server, small, tmp_path):
    masks = np.zeros((60, 10), int)
    masks[:, :2] = 1
    server.files["/small/test_mask.csv.gz"] = compressed(masks.astype(str))
    with pytest.raises(FileFormatError, match="does not mark exactly one fold"):
        datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)


def store(path, **arrays):
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda X, y, fold: {"X": X, "y": y}, "fold"),
        (lambda X, y, fold: {"X": X, "y": y + 1, "fold": fold}, "SHA-256"),
        (lambda X, y, fold: {"X": X, "y": y[:, None], "fold": fold}, "shapes"),
        (lambda X, y, fold: {"X": X.ravel(), "y": y, "fold": fold}, "shapes"),
        (lambda X, y, fold: {"X": X.astype(object), "y": y, "fold": fold}, "allow_pickle"),
        (lambda X, y, fold: {"X": np.full(X.shape, "a"), "y": y, "fold": fold}, "convert"),
    ],
)
def test_damaged_store_is_named(small, tmp_path, damage, reason):
    path = tmp_path / "uci" / "small.npz"
    store(path, **damage(*small))
    message = rf"small\.npz does not hold the published set small: .*{reason}.*; delete it"
    with pytest.raises(FileFormatError, match=message):
        datasets.fetch_uci("small", data_home=tmp_path)
    assert path.exists()  # what the user has is the user's to delete


@pytest.mark.parametrize("body", [b"", b"not an archive", b"\x93NUMPY"])
def test_store_that_is_no_archive_is_named(small, tmp_path, body):
    path = tmp_path / "uci" / "small.npz"
    path.parent.mkdir()
    path.write_bytes(body)
    with pytest.raises(FileFormatError, match="does not hold the published set small"):
        datasets.fetch_uci("small", data_home=tmp_path)


def test_any_damage_to_the_store_is_found(small, tmp_path):
    path = tmp_path / "uci" / "small.npz"
    store(path, **dict(zip(("X", "y", "fold"), small, strict=True)))
    intact, rng = path.read_bytes(), np.random.default_rng(0)
    found = 0
    for _ in range(300):
        damaged = np.frombuffer(intact, np.uint8).copy()
        damaged[rng.integers(damaged.size, size=4)] = rng.integers(256, size=4)
        path.write_bytes(damaged[: rng.integers(1, 2 * damaged.size)].tobytes())
        try:  # either found, or in bytes that do not matter: never another error or other numbers
            np.testing.assert_array_equal(datasets.fetch_uci("small", data_home=tmp_path).X, small[0])
        except FileFormatError:
            found += 1
    assert found > 200


def test_store_in_double_precision_is_as_good(small, tmp_path):
    X, y, fold = small
    store(tmp_path / "uci" / "small.npz", X=X.astype(float), y=y.astype(float), fold=fold)
    np.testing.assert_array_equal(datasets.fetch_uci("small", data_home=tmp_path).y, y)


def test_offline_says_what_to_do_and_it_works(server, small, tmp_path):
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(DownloadError, match="could not download") as caught:
        datasets.fetch_uci("small", data_home=tmp_path, base_url=url)
    assert isinstance(caught.value, NonparamError) and isinstance(caught.value, OSError)
    message = str(caught.value)
    for file in ("data.csv.gz", "test_mask.csv.gz"):
        path = tmp_path / "uci" / f"small_{file}"
        assert f"{url}/small/{file} as {path}" in message
        path.write_bytes(server.files[f"/small/{file}"])  # done by hand, as it says
    assert "set NONPARAM_DATA to a folder that holds uci/small.npz" in message
    data = datasets.fetch_uci("small", data_home=tmp_path, base_url=url)
    np.testing.assert_array_equal(data.X, small[0])


def test_unknown_name_lists_the_names():
    with pytest.raises(InputError, match=r"one of bike, .*elevators, .*yacht, got 'elevator'"):
        datasets.fetch_uci("elevator")


def test_split_returns_the_published_folds(server, small, tmp_path):
    X, y, fold = small
    data = datasets.fetch_uci("small", data_home=tmp_path, base_url=server.url)
    tested = []
    for k in range(10):
        X_train, y_train, X_test, y_test = data.split(k)
        expected = [i for i in range(60) if fold[i] == k]
        assert X_test.tolist() == [X[i].tolist() for i in expected]
        assert y_test.tolist() == y[expected].tolist()
        assert (X_train.shape, y_train.shape) == ((60 - len(expected), 3), (60 - len(expected),))
        tested += expected
    assert sorted(tested) == list(range(60))
    for k in (-1, 10, "0"):
        with pytest.raises(InputError, match="expected a fold from 0 to 9, got"):
            data.split(k)


@pytest.mark.parametrize("name", sorted(UCI_SETS))
@needs_shared
def test_real_sets_are_read_from_the_source_folder(name, monkeypatch):
    monkeypatch.setenv("NONPARAM_DATA", str(SHARED))
    data = datasets.fetch_uci(name)
    with np.load(SHARED / "uci" / f"{name}.npz") as stored:
        X, y, test = stored["X"], stored["y"], stored["fold"] == 3
    X_train, y_train, X_test, y_test = data.split(3)
    np.testing.assert_array_equal(X_train, X[~test])
    np.testing.assert_array_equal(y_train, y[~test])
    np.testing.assert_array_equal(X_test, X[test])
    np.testing.assert_array_equal(y_test, y[test])


@needs_shared
def test_real_set_survives_the_way_through_the_network(server, tmp_path, monkeypatch):
    monkeypatch.delenv("NONPARAM_DATA", raising=False)
    with np.load(SHARED / "uci" / "energy.npz") as stored:
        content = {key: stored[key] for key in ("X", "y", "fold")}
    server.files = {f"/energy/{file}": body for file, body in originals(**content).items()}
    data = datasets.fetch_uci("energy", data_home=tmp_path, base_url=server.url)
    np.testing.assert_array_equal(data.X, content["X"])


# ---------------------------------------------------------------------------- download


def test_server_without_ranges_restarts(server, tmp_path):
    server.files, server.behaviour = {"/file": b"0123456789"}, "ignores Range"
    (tmp_path / "file.part").write_bytes(b"01234")
    download(f"{server.url}/file", tmp_path / "file", timeout=5)
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert server.requests == [("file", "bytes=5-")] and names(tmp_path) == ["file"]


@pytest.mark.parametrize("size", [10, 11])
def test_a_part_with_nothing_left_to_ask_for_restarts(server, tmp_path, size):
    server.files = {"/file": b"0123456789"}
    (tmp_path / "file.part").write_bytes(b"x" * size)
    download(f"{server.url}/file", tmp_path / "file", timeout=5)
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert server.requests == [("file", f"bytes={size}-"), ("file", None)]


def test_length_need_not_be_told(server, tmp_path):
    server.files, server.behaviour = {"/file": b"0123456789"}, "tells no length"
    download(f"{server.url}/file", tmp_path / "folder" / "file", timeout=5)
    assert (tmp_path / "folder" / "file").read_bytes() == b"0123456789"


def test_broken_transfer_leaves_the_old_file_and_the_part(server, tmp_path):
    server.files, server.behaviour = {"/file": b"0123456789"}, "breaks off"
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DownloadError, match="5 of 10 bytes arrived before the connection closed"):
        download(f"{server.url}/file", tmp_path / "file", timeout=5)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "file.part").read_bytes() == b"01234"


def test_missing_file_names_the_address(server, tmp_path):
    with pytest.raises(DownloadError, match=rf"{server.url}/none: HTTP Error 404"):
        download(f"{server.url}/none", tmp_path / "file", timeout=5)
    assert names(tmp_path) == []


def test_silent_server_times_out(server, tmp_path):
    server.behaviour = "silent"
    start = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        download(f"{server.url}/file", tmp_path / "file", timeout=0.1)
    assert time.monotonic() - start < 4


def test_server_that_speaks_no_http(server, tmp_path):
    server.behaviour = "garbled"
    with pytest.raises(DownloadError, match="could not download"):
        download(f"{server.url}/file", tmp_path / "file", timeout=5)


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"could not download .*taken"):
        download(f"{server.url}/file", tmp_path / "taken" / "file", timeout=5)


@pytest.mark.parametrize("url", ["file:///etc/hosts", "data.csv", "ftp://example.org/data.csv"])
def test_only_http_addresses(url, tmp_path):
    with pytest.raises(InputError, match="expected an http:// or https:// address, got"):
        download(url, tmp_path / "file", timeout=5)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeout_must_be_positive(timeout, tmp_path):
    with pytest.raises(InputError, match="expected a timeout of more than 0 seconds, got"):
        download("http://127.0.0.1/file", tmp_path / "file", timeout=timeout)
