"""Bundles from and to the Hugging Face Hub, against a Hub on this machine."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http
from PIL import Image
from typer.testing import CliRunner

import mien
from mien.cli.main import app
from mien.errors import MienError, MissingExtraError, UsageError
from mien.inference.bundle import load_bundle
from mien.integrations.huggingface import publication, push
from tests.bundles import write_tiny_bundle
from tests.fake_hub import TOKEN, FakeHub, fake_hub

NAME = "someone/faces"
FACE = np.full((48, 48, 3), 90, np.uint8)


def write_face(path: Path) -> None:
    Image.fromarray(FACE).save(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub without repositories, which huggingface_hub takes for the real one, and an empty cache."""
    with fake_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        # Files go through the HTTP interface, and not through a storage of the Hub's own.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # Between two tries.
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        yield running


@pytest.fixture
def bundle(tmp_path: Path) -> bytes:
    return write_tiny_bundle(tmp_path / "tiny.onnx").read_bytes()


def test_a_model_predicts_as_its_file_does(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    hub.add(NAME, {"model.onnx": bundle})
    model = mien.load(f"hf://{NAME}")
    assert model.name == mien.load(tmp_path / "tiny.onnx").name
    expected = mien.load(tmp_path / "tiny.onnx")(FACE, cropped=True).faces[0]
    assert model(FACE, cropped=True).faces[0].age == expected.age


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / "other.onnx", name="other").read_bytes()
    hub.add(NAME, {"model.onnx": bundle})
    commit = hub.add(NAME, {"model.onnx": other}, revision="v2")
    names = [mien.load(f"hf://{NAME}{revision}").name.split("@")[0] for revision in ("", "@v2", f"@{commit}")]
    assert names == ["tiny", "other", "other"]


def test_a_pinned_file_is_the_only_one_accepted(hub: FakeHub, bundle: bytes) -> None:
    hub.add(NAME, {"model.onnx": bundle})
    actual = hashlib.sha256(bundle).hexdigest()
    assert mien.load(f"hf://{NAME}#sha256={actual.upper()}").name.startswith("tiny@")
    with pytest.raises(mien.BundleError, match=f"its SHA-256 is {actual}"):
        mien.load(f"hf://{NAME}@main#sha256={'0' * 64}")


def test_a_cached_model_needs_no_hub(hub: FakeHub, bundle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add(NAME, {"model.onnx": bundle})
    mien.load(f"hf://{NAME}")
    asked = len(hub.requests)
    mien.load(f"hf://{NAME}@{commit}")
    assert len(hub.requests) == asked
    hub.broken = 503
    assert mien.load(f"hf://{NAME}").name.startswith("tiny@")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert mien.load(f"hf://{NAME}").name.startswith("tiny@")
    with pytest.raises(mien.BundleError, match=r"not in the cache.*HF_HUB_OFFLINE is set"):
        mien.load("hf://someone/else")


def test_a_model_is_downloaded_once(hub: FakeHub, bundle: bytes) -> None:
    hub.add(NAME, {"model.onnx": bundle})
    for _ in range(3):
        mien.load(f"hf://{NAME}")
    assert len([line for line in hub.requests if line.startswith("GET /cdn/")]) == 1


def test_a_pickled_model_is_looked_for_on_the_hub_again(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    hub.add(NAME, {"model.onnx": bundle})
    pickled = pickle.dumps(mien.load(f"hf://{NAME}"))
    (tmp_path / "cache").rename(tmp_path / "gone")
    assert pickle.loads(pickled).name.startswith("tiny@")
    hub.add(NAME, {"model.onnx": write_tiny_bundle(tmp_path / "new.onnx", name="new").read_bytes()})
    with pytest.raises(mien.BundleError, match="when it was pickled"):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("hf://someone/none", "no such repository"),
        (f"hf://{NAME}@v9", "no such revision"),
        ("hf://someone/empty", "no model.onnx"),
        ("hf://someone/gated", "access on request"),
    ],
)
def test_what_is_not_there(hub: FakeHub, bundle: bytes, address: str, sentence: str) -> None:
    hub.add(NAME, {"model.onnx": bundle})
    hub.add("someone/empty", {"README.md": b""})
    hub.add("someone/gated", {"model.onnx": bundle})
    hub.gated.add("someone/gated")
    with pytest.raises(mien.BundleError, match=sentence) as caught:
        mien.load(address)
    assert str(caught.value).count("\n") == 0
    assert address in str(caught.value)


@pytest.mark.parametrize("address", ["hf://one", "hf://a/b/c", "hf://a/b@", "hf://a/b#sha256=12", "hf:///b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="Expected hf://user/name"):
        mien.load(address)


def test_a_hub_that_fails_or_is_not_there(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.broken = 500
    with pytest.raises(mien.BundleError, match="cannot be reached"):
        mien.load(f"hf://{NAME}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(mien.BundleError, match="cannot be reached"):
        mien.load(f"hf://{NAME}")


def test_a_file_that_is_no_bundle_or_too_large(hub: FakeHub) -> None:
    hub.add(NAME, {"model.onnx": b"GIF89a"})
    with pytest.raises(mien.BundleError, match="is no model bundle"):
        mien.load(f"hf://{NAME}")
    hub.add("someone/large", {"model.onnx": b"other"})
    hub.claimed_size = 10**12
    with pytest.raises(mien.BundleError, match="the limit is"):
        mien.load("hf://someone/large")
    assert len([line for line in hub.requests if line.startswith("GET")]) == 1


def test_a_bundle_that_names_another_file_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    def outside(model: object) -> None:
        weights = model.graph.initializer[0]  # type: ignore[attr-defined]
        weights.data_location = 1
        weights.external_data.add(key="location", value="/etc/passwd")

    hub.add(NAME, {"model.onnx": write_tiny_bundle(tmp_path / "bad.onnx", change=outside).read_bytes()})
    with pytest.raises(mien.BundleError, match="is no model bundle"):
        mien.load(f"hf://{NAME}")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mien\[hub\]'"):
        mien.load(f"hf://{NAME}")


def test_what_is_pushed_is_what_is_loaded(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    pushed = push(publication(tmp_path / "tiny.onnx", NAME))
    assert pushed.address.endswith(f"#sha256={hashlib.sha256(bundle).hexdigest()}")
    assert mien.load(pushed.address).name.startswith("tiny@")
    files = hub.repositories[NAME]["main"]
    assert files["model.onnx"] == bundle
    assert pushed.url == f"{hub.endpoint}/{NAME}/commit/{hub.commit_of(NAME, 'main')}"
    assert f"#sha256={hashlib.sha256(bundle).hexdigest()}" in files["README.md"].decode()


def test_pushing_again_is_another_commit(hub: FakeHub, tmp_path: Path) -> None:
    push(publication(write_tiny_bundle(tmp_path / "a.onnx"), NAME), private=True)
    assert hub.private == {NAME}
    push(publication(write_tiny_bundle(tmp_path / "b.onnx", name="second"), NAME))
    assert mien.load(f"hf://{NAME}").name.startswith("second@")


def test_the_hub_reads_the_card() -> None:
    """Read with huggingface_hub's own reader of cards."""
    metadata = load_bundle("open").metadata
    data = ModelCard(publication("open", NAME).card).data
    assert data.library_name == "mien"
    assert data.datasets == ["fairface"]
    assert data.license == "other"
    results = data.eval_results
    assert results is not None
    (gender,) = [each for each in results if each.dataset_config == "gender" and each.metric_type == "accuracy"]
    assert gender.metric_value == metadata.metrics["tasks"]["gender"]["accuracy"]["value"]
    assert (gender.dataset_split, gender.task_type) == ("test", "image-classification")
    # No face of FairFace has an exact age.
    assert not [each for each in results if each.metric_type == "mae"]


def test_a_licence_with_terms_is_a_file(hub: FakeHub) -> None:
    push(publication("open", NAME))
    files = hub.repositories[NAME]["main"]
    assert "fairface: FairFace: CC BY 4.0" in files["LICENSE"].decode()


def test_a_push_that_is_refused(hub: FakeHub, bundle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not.onnx").write_bytes(b"GIF89a")
    with pytest.raises(mien.BundleError):
        publication(tmp_path / "not.onnx", NAME)
    for name in ("faces", "a/b/c", "a/b@main"):
        with pytest.raises(UsageError, match="user/name"):
            publication(tmp_path / "tiny.onnx", name)
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    with pytest.raises(MienError, match="Cannot push to someone/faces") as caught:
        push(publication(tmp_path / "tiny.onnx", NAME))
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


def test_the_commands_and_the_code_of_the_page(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    """In a process of their own, which knows the Hub from HF_ENDPOINT."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mien", "--quiet", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    pushed = run("push", "tiny.onnx", NAME)
    assert pushed.returncode == 0, pushed.stderr
    address = pushed.stdout.strip()
    assert re.fullmatch(rf"hf://{NAME}@[0-9a-f]{{40}}#sha256=[0-9a-f]{{64}}", address)
    page = (Path(__file__).parents[2] / "docs" / "hub.md").read_text(encoding="utf-8")
    documented = subprocess.run(
        [sys.executable, "-c", re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert documented.returncode == 0, documented.stderr
    write_face(tmp_path / "face.png")
    predicted = run("predict", "face.png", "--cropped", "--model", address)
    assert '"tiny@' in predicted.stdout, predicted.stderr


def test_a_dry_run_uploads_nothing(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["push", str(tmp_path / "tiny.onnx"), NAME, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert ModelCard(result.stdout).data.library_name == "mien"
    assert hub.requests == []


def test_every_command_that_takes_a_model_takes_an_address(hub: FakeHub, bundle: bytes, tmp_path: Path) -> None:
    from mien.evaluation.model import open_model
    from mien.inference.bench import describe_models

    hub.add(NAME, {"model.onnx": bundle})
    # A path has lost one slash.
    path = Path(f"hf://{NAME}")
    assert open_model(path).name == "tiny"
    assert describe_models([path])[0].identifier.startswith("tiny@")
    write_face(tmp_path / "face.png")
    result = CliRunner().invoke(app, ["--quiet", "predict", str(tmp_path / "face.png"), "--cropped", "-m", str(path)])
    assert result.exit_code == 0, result.output
    assert '"tiny@' in result.stdout
