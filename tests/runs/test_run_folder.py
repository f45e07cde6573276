"""Loading a run: what is absent, damaged or malicious is one sentence and never executed."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from mien.errors import MienError
from mien.runs.run_folder import load_run, read_checkpoint, save_weights
from tests.disk import file_limit_kept, set_file_limit


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refusal(folder: Path) -> str:
    with pytest.raises(MienError) as caught:
        load_run(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_no_run_at_all(tmp_path: Path) -> None:
    assert "is no run folder: it has no recipe.yaml" in refusal(tmp_path / "absent")
    assert "is no run folder" in refusal(tmp_path)


def test_no_weights_yet(run: Path) -> None:
    (run / "model.safetensors").unlink()
    assert load_run(run).network is not None  # the best checkpoint will do
    (run / "checkpoints" / "best.ckpt").unlink()
    assert "has no trained weights yet" in refusal(run)


@pytest.mark.parametrize("keep", [0, 4, 200, -100])
def test_damaged_weights(run: Path, keep: int) -> None:
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[:keep])
    assert "model.safetensors is damaged" in refusal(run)


@pytest.mark.parametrize("keep", [0, 4, 5000, -100])
def test_a_damaged_checkpoint(run: Path, keep: int) -> None:
    (run / "model.safetensors").unlink()
    content = (run / "checkpoints" / "best.ckpt").read_bytes()
    (run / "checkpoints" / "best.ckpt").write_bytes(content[:keep])
    assert "best.ckpt is no checkpoint, or is damaged" in refusal(run)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("bare", [True, False])
def test_a_checkpoint_is_never_executed(run: Path, tmp_path: Path, bare: bool) -> None:
    mark, path = tmp_path / "executed", run / "checkpoints" / "best.ckpt"
    (run / "model.safetensors").unlink()
    content = {"state_dict": {}, "payload": Payload(mark)}
    if bare:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    assert "best.ckpt is no checkpoint, or is damaged" in refusal(run)
    assert not mark.exists()
    if not bare:
        torch.load(path, weights_only=False)
        assert mark.is_dir()  # the payload works: the test can fail


def test_a_file_of_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "x.ckpt")
    with pytest.raises(MienError, match="it has no state_dict"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("recipe.yaml", "name: [", "is not YAML"),
        ("recipe.yaml", "name: x\n", "error(s)"),
        ("tasks.json", "{", "tasks.json is not a JSON list"),
        ("tasks.json", "3", "tasks.json is not a JSON list"),
        ("run.json", "{", "run.json is not JSON"),
        ("run.json", "[]", "must hold a JSON object"),
    ],
)
def test_damaged_descriptions(run: Path, name: str, content: str, words: str) -> None:
    (run / name).write_text(content)
    assert words in refusal(run)


def test_weights_of_another_network(run: Path) -> None:
    tasks = json.loads((run / "tasks.json").read_text())
    (run / "tasks.json").write_text(json.dumps(tasks[:2]))
    assert "the weights do not fit the recipe" in refusal(run)


def test_without_a_description_the_network_still_loads(run: Path) -> None:
    (run / "run.json").unlink()
    assert load_run(run).info == {}


def test_a_disk_too_full_for_the_weights_is_one_sentence(run: Path) -> None:
    weights = (run / "model.safetensors").read_bytes()
    with file_limit_kept(), pytest.raises(MienError, match=r"^Cannot write .*model\.safetensors: .*File too large"):
        set_file_limit(1000)
        save_weights(run, run / "checkpoints" / "best.ckpt")
    assert (run / "model.safetensors").read_bytes() == weights
