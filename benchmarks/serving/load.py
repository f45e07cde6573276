"""Measure `mien serve` under load: throughput beside `mien predict`, latencies, statuses, memory; and every answer.

A closed loop of connections sends photos as fast as the server takes them; then an open loop sends four times as many a
second as that. Every accepted request's faces are compared with those of the model called directly. Client and server
share the machine's cores, and `predict` is measured before and after each run on the same files in the same way; the
processor's time an image says what the server costs beside it, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.facts import RESULTS, console, machine_facts, run_benchmark, save_results
from benchmarks.serving.client import Answer, Connection, LostError, post
from benchmarks.serving.server import HOST, Photo, free_port, held, photos, processor_seconds, running

SIZES = {"512 x 512": (512, 512), "4000 x 3000": (4000, 3000)}
#: Distinct photos, and those that are known to the baseline's process at once.
COUNT = 6
OVERLOAD = 4.0


@dataclass
class Tally:
    """What the connections of one run saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    took: float = 0.0
    #: Answers seen already, by the photo's number, and whether they were right.
    seen: dict[tuple[int, bytes], bool] = field(default_factory=dict)

    def is_right(self, number: int, answer: Answer, photo: Photo) -> bool:
        """Compare an answer's faces with the photo's; equal bytes are read once, since the client shares the core."""
        key = number, answer.body
        if key not in self.seen:
            self.seen[key] = answer.faces() == photo.faces
        return self.seen[key]


async def connection(port: int, made: list[Photo], tally: Tally, ends: float, slots: Iterator[float] | None) -> None:
    """Send photos until the end: one after the other, or, with ``slots``, one at each of these times."""
    kept = Connection(HOST, port)
    requests = [post(photo.data) for photo in made]
    turn = itertools.count(id(kept) // 64)
    while time.perf_counter() < ends:
        if slots is not None:
            await asyncio.sleep(max(0.0, next(slots) - time.perf_counter()))
        number, started = next(turn) % len(made), time.perf_counter()
        try:
            answer = await kept.ask(requests[number])
        except LostError as error:
            tally.statuses[f"lost ({error})"] += 1
            continue
        tally.statuses[str(answer.status)] += 1
        if answer.status == 200:
            tally.seconds.append(time.perf_counter() - started)
            tally.wrong += not tally.is_right(number, answer, made[number])
        elif slots is None:
            await asyncio.sleep(max(0.0, min(answer.retry_after, ends - time.perf_counter())))
    kept.close()


async def _run(port: int, made: list[Photo], connections: int, seconds: float, rate: float | None) -> Tally:
    tally, started = Tally(), time.perf_counter()
    slots = None if rate is None else (started + number / rate for number in itertools.count())
    await asyncio.gather(*(connection(port, made, tally, started + seconds, slots) for _ in range(connections)))
    tally.took = time.perf_counter() - started  # To the last answer: while any is waited for, the server is at work.
    return tally


def baseline(made: list[Photo], model: str, seconds: float) -> tuple[float, float]:
    """Return the images a second, and the processor's milliseconds an image, of `predict` in a process of its own on
    the same files."""
    code = (
        "import sys, time, itertools, pathlib, mien\n"
        "model = mien.load(sys.argv[1]); files = [pathlib.Path(name).read_bytes() for name in sys.argv[3:]]\n"
        "ends, started = float(sys.argv[2]), 0.0\n"
        "for count, result in enumerate(model.predict(itertools.cycle(files))):\n"
        "    if not started: started, used = time.perf_counter(), time.process_time()\n"
        "    if time.perf_counter() - started > ends: break\n"
        "print(count / (time.perf_counter() - started), 1000 * (time.process_time() - used) / count)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / f"{number}.jpg") for number in range(len(made))]
        for name, photo in zip(names, made, strict=True):
            Path(name).write_bytes(photo.data)
        command = [sys.executable, "-c", code, model, str(seconds), *names]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return float(words[0]), float(words[1])


def _home(outer: str) -> Path:
    home = Path(outer) / "home"
    home.mkdir(exist_ok=True)
    return home


def _percentile(seconds: list[float], quantile: int) -> float | None:
    """Return a percentile; None where no request was accepted."""
    return round(float(np.percentile(seconds, quantile)), 3) if seconds else None


def measure(
    made: list[Photo], model: str, connections: int, seconds: float, options: list[str], rate: float | None = None
) -> dict[str, object]:
    """Return the figures of one run against a server of its own."""
    port, before = free_port(), baseline(made, model, seconds / 2)
    with tempfile.TemporaryDirectory() as outer, running(model, port, _home(outer), *options) as process:
        asyncio.run(_run(port, made, connections, seconds / 4, None))  # The memory of a warm server is compared.
        first = held(process)
        used = processor_seconds(process)
        tally = asyncio.run(_run(port, made, connections, seconds, rate))
        last, used = held(process), processor_seconds(process) - used
        left = [path.name for path in _home(outer).iterdir()]
    after = baseline(made, model, seconds / 2)
    alone, alone_ms = ((one + other) / 2 for one, other in zip(before, after, strict=True))
    served_ms = 1000 * used / max(1, tally.statuses["200"])
    middle = {f"p{quantile}": _percentile(tally.seconds, quantile) for quantile in (50, 95, 99)}
    rate_seen = tally.statuses["200"] / tally.took
    return {
        "connections": connections,
        "offered_a_second": None if rate is None else round(rate, 1),
        "seconds": seconds,
        "took_s": round(tally.took, 1),
        "images_a_second": round(rate_seen, 2),
        "predict_images_a_second": round(alone, 2),
        "ratio": round(rate_seen / alone, 3),
        "processor_ms": round(served_ms, 2),
        "predict_processor_ms": round(alone_ms, 2),
        "processor_ratio": round(alone_ms / served_ms, 3),
        "latency_s": middle,
        "statuses": dict(tally.statuses),
        "wrong": tally.wrong,
        "before": asdict(first),
        "after": asdict(last),
        "files_left": left,
    }


def main(
    model: Annotated[str, typer.Option(help="A bundled model or a bundle.")] = "default",
    connections: Annotated[str, typer.Option(help="Connections of the closed loops.")] = "1,8,64,256",
    large_connections: Annotated[str, typer.Option(help="The same for the large photos.")] = "1,8,64,256",
    seconds: Annotated[float, typer.Option(help="Length of each run.")] = 60.0,
    queue: Annotated[int, typer.Option(help="The server's --queue.")] = 128,
    deadline: Annotated[float, typer.Option(help="The server's --deadline, in seconds.")] = 30.0,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS / "serving_load.json",
) -> None:
    """Run every load on every size of photo and save the figures."""
    facts, options = machine_facts(), ["--queue", str(queue), "--deadline", str(deadline)]
    runs: list[dict[str, object]] = []

    def note(name: str, made: list[Photo], figures: dict[str, object]) -> float:
        megabytes = round(sum(len(photo.data) for photo in made) / len(made) / 1e6, 2)
        runs.append({"photo": name, "megabytes": megabytes, **figures})
        console.print_json(data=runs[-1])
        save_results(out, {"machine": facts, "model": model, "queue": queue, "deadline": deadline, "runs": runs})
        return float(str(figures["images_a_second"]))

    for (name, size), asked in zip(SIZES.items(), (connections, large_connections), strict=True):
        made = photos(COUNT, size, model)
        numbers = [int(word) for word in asked.split(",")]
        best = max(note(name, made, measure(made, model, number, seconds, options)) for number in numbers)
        note(name, made, measure(made, model, max(numbers), seconds, options, OVERLOAD * best))


if __name__ == "__main__":
    run_benchmark(main)
