"""Send `mien serve` what no client should, and see that it answers right, ends what hangs and keeps nothing.

Mutated uploads, slow and half requests, wrong lengths, SIGTERM and kill -9 under load. Between the faults a good photo
is sent, whose faces must be those of the model called directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from benchmarks.facts import RESULTS, console, machine_facts, run_benchmark, save_results
from benchmarks.serving.client import Connection, LostError, post, read_answer
from benchmarks.serving.server import HOST, Photo, free_port, held, photos, running

#: One good photo after so many faults.
EVERY = 50
#: The mutated uploads come in so many parts; what the process holds is noted after each.
ROUNDS = 5
SIZE = (160, 160)
UPLOAD_SECONDS = 3.0
_HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: mien\r\nContent-Type: image/jpeg\r\n"
#: Requests whose length is not that of the body.
WRONG_LENGTHS = {
    "longer than the body": b"Content-Length: 500\r\n\r\nabc",
    "shorter than the body": b"Content-Length: 2\r\n\r\nabcdef\r\n\r\n",
    "negative": b"Content-Length: -5\r\n\r\nabc",
    "no number": b"Content-Length: five\r\n\r\nabc",
    "two that differ": b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "larger than any file": b"Content-Length: 999999999999999999999\r\n\r\nabc",
    "beside chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunks without end": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "chunks of a wrong size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some changed, cut off, left out or repeated."""
    changed, kind = bytearray(data), chance.randrange(4)
    place = chance.randrange(len(changed))
    if kind == 0:
        for _ in range(chance.randint(1, 30)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    elif kind == 1:
        del changed[place:]
    elif kind == 2:
        del changed[place : place + chance.randint(1, 400)]
    else:
        changed[place:place] = changed[: chance.randint(1, 400)]
    return bytes(changed)


def uploads(photo: Photo, seed: int) -> Iterator[bytes]:
    """Yield requests without end: mutated files of four formats, raw or in a mutated multipart body."""
    chance, picture = random.Random(seed), Image.open(io.BytesIO(photo.data))
    files = []
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        encoded = io.BytesIO()
        picture.save(encoded, name)
        files.append(encoded.getvalue())
    while True:
        data = mutated(chance.choice(files), chance)
        if chance.random() < 0.5:
            yield post(data)
            continue
        disposition = b'Content-Disposition: form-data; name="images"; filename="a.jpg"'
        body = b"--edge\r\n" + disposition + b"\r\n\r\n" + data + b"\r\n--edge--\r\n"
        yield post(mutated(body, chance), kind="multipart/form-data; boundary=edge")


async def _right(port: int, photo: Photo) -> bool:
    """Tell whether a good photo gets its faces."""
    kept = Connection(HOST, port)
    answer = await kept.ask(post(photo.data))
    kept.close()
    return answer.status == 200 and answer.faces() == photo.faces


async def send_mutated(port: int, photo: Photo, count: int, seed: int) -> Counter[str]:
    """Send mutated uploads over four connections; count their statuses, the good photos between, and the wrong answers
    to these."""
    counts: Counter[str] = Counter()
    requests = iter(uploads(photo, seed))

    async def connection(number: int) -> None:
        kept = Connection(HOST, port)
        for turn in range(number):
            if turn % EVERY == 0:
                counts["good photos"] += 1
                counts["wrong"] += not await _right(port, photo)
            try:
                counts[str((await kept.ask(next(requests))).status)] += 1
            except LostError as error:
                counts[f"lost ({error})"] += 1
        kept.close()

    await asyncio.gather(*(connection(count // 4) for _ in range(4)))
    return counts


async def _until_ended(port: int, sent: bytes, trickle: bool) -> tuple[str, float]:
    """Return the status that a connection gets, or how it ends, and after how many seconds; with ``trickle`` a byte
    follows every 0.2 seconds."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(sent)

    async def drip() -> None:
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip()) if trickle else None
    try:
        ended = str((await asyncio.wait_for(read_answer(reader), 60)).status)
    except (OSError, asyncio.IncompleteReadError):
        ended = "closed"
    except asyncio.TimeoutError:
        ended = "hangs"
    seconds = time.perf_counter() - started
    if dripping is not None:
        dripping.cancel()
    writer.transport.abort()
    return ended, seconds


async def send_slowly(port: int, photo: Photo, count: int) -> dict[str, object]:
    """Open connections that send a byte now and then, half in their headers and half in their body; meanwhile time a
    good photo."""
    starts = [b"POST /v1/predict HTTP/1.1\r\nX-Slow: ", _HEAD + b"Content-Length: 100000\r\n\r\n"]
    slow = [asyncio.create_task(_until_ended(port, starts[number % 2], True)) for number in range(count)]
    await asyncio.sleep(1)
    started = time.perf_counter()
    right = await _right(port, photo)
    seconds = time.perf_counter() - started
    ended = await asyncio.gather(*slow)
    return {
        "connections": count,
        "limit_s": UPLOAD_SECONDS,
        "ended": dict(Counter(how for how, _ in ended)),
        "longest_s": round(max(seconds for _, seconds in ended), 2),
        "good_photo_meanwhile": right,
        "good_photo_s": round(seconds, 3),
    }


async def send_halves(port: int, photo: Photo, count: int) -> dict[str, object]:
    """Close connections in the middle of their request, or before its answer."""
    request, chance = post(photo.data), random.Random(0)
    for number in range(count):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(request if number % 4 == 0 else request[: chance.randrange(1, len(request))])
        await asyncio.sleep(0)
        writer.transport.abort()
    return {"connections": count, "good_photo_after": await _right(port, photo)}


async def send_wrong_lengths(port: int, photo: Photo) -> dict[str, object]:
    """Return what each of `WRONG_LENGTHS` gets."""
    ends = {name: await _until_ended(port, _HEAD + rest, False) for name, rest in WRONG_LENGTHS.items()}
    return {"ended": {name: how for name, (how, _) in ends.items()}, "good_photo_after": await _right(port, photo)}


async def stop_under_load(
    process: subprocess.Popen[bytes], port: int, made: list[Photo], number: signal.Signals
) -> dict[str, object]:
    """Send photos over 32 connections, then the signal; count what came of the requests that were sent before it."""
    counts: Counter[str] = Counter()
    stopped = asyncio.Event()

    async def connection(index: int) -> None:
        kept, photo = Connection(HOST, port), made[index % len(made)]
        while not stopped.is_set():
            try:
                answer = await kept.ask(post(photo.data))
            except LostError:
                counts["lost"] += 1
                return
            right = answer.status == 200 and answer.faces() == photo.faces
            counts["right" if right else f"status {answer.status}" if answer.status != 200 else "wrong"] += 1

    tasks = [asyncio.create_task(connection(index)) for index in range(32)]
    await asyncio.sleep(3)
    before = dict(counts)
    stopped.set()
    started = time.perf_counter()
    process.send_signal(number)
    await asyncio.gather(*tasks)
    code = await asyncio.to_thread(process.wait, 60)
    after = {name: count - before.get(name, 0) for name, count in counts.items() if count - before.get(name, 0)}
    return {"in_flight": after, "before": before, "exit_code": code, "ended_s": round(time.perf_counter() - started, 2)}


def main(
    model: Annotated[str, typer.Option(help="A bundled model or a bundle.")] = "default",
    count: Annotated[int, typer.Option(help="Mutated uploads.")] = 10_000,
    slow: Annotated[int, typer.Option(help="Slow connections.")] = 200,
    halves: Annotated[int, typer.Option(help="Half requests.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the mutations.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS / "serving_faults.json",
) -> None:
    """Run every fault against servers of their own and save the figures."""
    results: dict[str, object] = {"machine": machine_facts(), "model": model, "seed": seed}
    made, port = photos(4, SIZE, model), free_port()
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "home"
        folder.mkdir()
        with running(model, port, folder, "--upload-seconds", str(UPLOAD_SECONDS)) as process:
            asyncio.run(send_mutated(port, made[0], 400, seed - 1))  # The memory of a warm server is compared.
            before = held(process)
            sent, megabytes = Counter[str](), []
            for number in range(ROUNDS):
                sent += asyncio.run(send_mutated(port, made[0], count // ROUNDS, seed + number))
                megabytes.append(held(process).megabytes)
            results["mutated"] = {"counts": dict(sent), "megabytes": megabytes}
            results["slow"] = asyncio.run(send_slowly(port, made[0], slow))
            results["halves"] = asyncio.run(send_halves(port, made[0], halves))
            results["lengths"] = asyncio.run(send_wrong_lengths(port, made[0]))
            time.sleep(UPLOAD_SECONDS + 6)  # Kept connections end 5 seconds after their last request.
            results["held"] = {"before": asdict(before), "after": asdict(held(process))}
            results["sigterm"] = asyncio.run(stop_under_load(process, port, made, signal.SIGTERM))
            said = folder.with_suffix(".said.txt").read_text(encoding="utf-8")
            results["said"] = said.splitlines()[1:6]
        with running(model, port, folder) as process:
            results["kill"] = asyncio.run(stop_under_load(process, port, made, signal.SIGKILL))
        with running(model, port, folder):
            results["right_after_kill"] = asyncio.run(_right(port, made[0]))
        results["files_left"] = [path.name for path in folder.iterdir()]
    console.print_json(data=results)
    save_results(out, results)


if __name__ == "__main__":
    run_benchmark(main)
