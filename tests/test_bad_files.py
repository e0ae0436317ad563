"""Files that are no saved models: cut short, changed, forged, foreign; each has one clear error."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nonparam import GPRegressor
from nonparam.errors import FileFormatError, InputError
from nonparam.persistence import read_file, write_file

rng = np.random.default_rng(1)
N = 18
X = rng.normal(size=(N, 2))
Y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=N)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "model"
    GPRegressor("rbf", noise=0.1).fit(X, Y).save(file)
    return file.read_bytes()


def opened(file):
    with safe_open(file, "pt") as source:
        return dict(source.metadata()), {name: source.get_tensor(name).clone() for name in source.keys()}


def test_a_file_that_is_missing(path):
    with pytest.raises(InputError, match=r"cannot load .*model.safetensors': there is no such file"):
        GPRegressor.load(path)
    with pytest.raises(InputError, match="it is a folder"):
        GPRegressor.load(path.parent)


@pytest.mark.parametrize("size", [0, 5, 100, 2000, -1])
def test_a_file_that_was_cut_short(size, content, path):
    path.write_bytes(content[:size])
    with pytest.raises(FileFormatError, match=r"no safetensors file, or was cut short .* get a fresh copy"):
        GPRegressor.load(path)


@pytest.mark.parametrize("text", [b"x,y\n1,2\n" * 9, b"\x80\x04\x95 a pickle, perhaps", b"{}"])
def test_a_file_of_another_format(text, path):
    path.write_bytes(text)
    with pytest.raises(FileFormatError, match="no safetensors file"):
        GPRegressor.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program(metadata, path):
    save_file({"weights": torch.ones(2)}, path, metadata)
    with pytest.raises(FileFormatError, match="a safetensors file of another program"):
        GPRegressor.load(path)


def test_another_version_of_the_format(content, path):
    path.write_bytes(content)
    metadata, tensors = opened(path)
    save_file(tensors, path, metadata | {"format_version": "3", "package_version": "9.9"})
    with pytest.raises(
        FileFormatError, match=r"format version 3, of nonparam 9.9; .* reads format version 2"
    ):
        GPRegressor.load(path)


@pytest.mark.parametrize("position", [-1, -500, -2000])
def test_a_flipped_bit_in_a_tensor(position, content, path):
    changed = bytearray(content)
    changed[position] ^= 1
    path.write_bytes(changed)
    with pytest.raises(FileFormatError, match="was changed after it was saved"):
        GPRegressor.load(path)


def tampered(metadata, tensors, what):
    match what:
        case "document":
            metadata["document"] = metadata["document"].replace('"RBF"', '"Cosine"')
        case "kind":
            metadata["kind"] = "Careful"
        case "package":
            metadata["package_version"] = "0.0.1"
        case "digest":
            metadata["sha256"] = "0" * 64
        case "no digest":
            del metadata["sha256"]
        case "shape":
            tensors["fitted.theta"] = tensors["fitted.theta"][None]
        case "type":
            tensors["fitted.theta"] = tensors["fitted.theta"].view(torch.int64)
        case "name":
            tensors["fitted.thetb"] = tensors.pop("fitted.theta")
        case "more":
            tensors["more"] = torch.ones(1)


TAMPERING = ["document", "kind", "package", "digest", "no digest", "shape", "type", "name", "more"]


@pytest.mark.parametrize("what", TAMPERING)
def test_anything_that_was_tampered_with(what, content, path):
    path.write_bytes(content)
    metadata, tensors = opened(path)
    tampered(metadata, tensors, what)
    save_file(tensors, path, metadata)
    with pytest.raises(FileFormatError, match=r"was changed after it was saved .*SHA-256"):
        GPRegressor.load(path)


def test_a_rewritten_but_equal_file_is_read(content, path):
    """The check of the checks above: `save_file` by itself breaks nothing."""
    path.write_bytes(content)
    metadata, tensors = opened(path)
    save_file(tensors, path, metadata)
    assert GPRegressor.load(path).noise_ == 0.1


def forged(path, change):
    document, tensors = read_file(path, "GPRegressor")
    change(document, tensors)
    write_file(path, "GPRegressor", document, tensors)


FORGERIES = [
    (lambda d, t: d.pop("params"), r"lacks a part of the model"),
    (
        lambda d, t: d["params"]["dict"].update(colour=1),
        "lacks a part of the model, or has one of a wrong kind",
    ),
    (lambda d, t: t.pop("fitted.theta"), "lacks a part of the model"),
    (lambda d, t: t.update({"fitted.factor": torch.ones(3)}), "lacks a part of the model"),
    (lambda d, t: d["fitted"]["dict"]["kernel"]["kernel"].update({"class": "Exec"}), "has a kernel 'Exec'"),
    (lambda d, t: d["fitted"]["dict"].update(report=[]), "lacks a part of the model"),
]


@pytest.mark.parametrize(("change", "message"), FORGERIES)
def test_a_file_with_a_right_digest_and_wrong_content(change, message, content, path):
    path.write_bytes(content)
    forged(path, change)
    with pytest.raises(FileFormatError, match=message):
        GPRegressor.load(path)


IMPOSSIBLE = [
    (lambda d, t: d["mean"]["dict"].update(name="cubic"), r"has a mean 'cubic': expected one of \('zero'"),
    (lambda d, t: d.update(noise=-5), "has noise = -5, expected finite numbers of at least 0"),
    (lambda d, t: d.update(noise="much"), "has noise = 'much', expected finite numbers"),
    (lambda d, t: d.update(learnt_noise=-1.0), "has learnt noise = -1.0"),
    (lambda d, t: d.update(jitter={"float": "nan"}), "has jitter = nan"),
    (lambda d, t: t["fitted.rows.y"].fill_(torch.nan), r"has y = array\(\[\[nan\].* expected finite numbers"),
    (lambda d, t: t["fitted.rows.x"][3].fill_(torch.inf), "has x = array"),
    (lambda d, t: t["fitted.rows.weights"].fill_(0.0), "has weights = array"),
    (lambda d, t: t["fitted.rows.noise"].neg_(), "has noise per row = array"),
    (lambda d, t: t["fitted.factor"].fill_(torch.nan), "has factor = array"),
    (lambda d, t: t["fitted.theta"].fill_(torch.nan), "has theta = array"),
    (lambda d, t: t["fitted.y_scale"].neg_(), r"has y_scale = array\(\[-1.\]\)"),
    (lambda d, t: t["fitted.scales.x_sd"].fill_(0.0), "has scales.x_sd = array"),
    (lambda d, t: t["fitted.kernel.raw_outputscale"].fill_(torch.nan), "has kernel.raw_outputscale = array"),
    (lambda d, t: t.update({"fitted.rows.y": t["fitted.rows.y"][1:].clone()}), r"has y of shape \(17, 1\)"),
    (lambda d, t: d.update(columns=3), r"has x of shape \(18, 2\), expected \(18, 3\)"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_a_file_with_numbers_that_no_fit_leaves_behind(change, message, content, path):
    path.write_bytes(content)
    forged(path, lambda document, tensors: change(document["fitted"]["dict"], tensors))
    with pytest.raises(FileFormatError, match=message):
        GPRegressor.load(path)


def test_a_learnt_noise_of_nothing(path):
    GPRegressor("rbf").fit(X, Y).save(path)
    forged(path, lambda document, tensors: document["fitted"]["dict"].update(learnt_noise=0.0))
    with pytest.raises(FileFormatError, match=r"has learnt noise = 0.0, expected finite numbers of at least"):
        GPRegressor.load(path)


@pytest.mark.parametrize("place", [None, 3, b"model"])
def test_a_path_that_is_none(place):
    model = GPRegressor("rbf").fit(X, Y)
    with pytest.raises(InputError, match=r"path must be text or a pathlib.Path, got .*: name a file"):
        model.save(place)
    with pytest.raises(InputError, match=r"path must be text or a pathlib.Path, got .*: name a file"):
        GPRegressor.load(place)
