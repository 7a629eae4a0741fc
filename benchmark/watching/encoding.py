"""Frames to a film: MP4 by the encoder that imageio-ffmpeg ships, or GIF."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import imageio_ffmpeg
import numpy as np

from benchmark.common.errors import UserError, printable, summary
from benchmark.common.files import make_folder

CODEC = "libx264"
QUALITY = "23"
"""x264's constant rate factor: its default, at which small text stays legible."""


def check_encoder(path: Path) -> None:
    """Raise a UserError where there is no encoder for a film of that name: said before anything is played."""
    if path.suffix == ".gif":
        return
    instead = f"pip install --force-reinstall imageio-ffmpeg, whose wheel has one, or name a {path.stem}.gif"
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        asked = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=60)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{path.name}: no encoder for MP4 ({summary(error)}); {instead}") from error
    if f" {CODEC} " not in asked.stdout:
        raise UserError(f"{path.name}: {program} has no encoder {CODEC}; unset IMAGEIO_FFMPEG_EXE, or {instead}")


def encode(frames: Iterable[np.ndarray], path: Path, rate: float) -> int:
    """Write frames (height, width, 3) uint8, all of one even size, to a film of so many a second; returns how many.

    The file is replaced whole, when it is complete. Raises a UserError where it cannot be written.
    """
    make_folder(path.parent)
    count = 0
    with contextlib.ExitStack() as left:
        with told(path):
            folder = tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent, ignore_cleanup_errors=True)
            whole = Path(left.enter_context(folder)) / path.name  # an encoder that is stopped may still write there
            writer: Any = left.enter_context(imageio.get_writer(whole, **options_for(path.suffix, rate)))
        for frame in frames:
            with told(path):
                writer.append_data(frame)
            count += 1
        with told(path):
            writer.close()
            os.replace(whole, path)
    return count


def options_for(suffix: str, rate: float) -> dict:
    """What imageio's writer takes for a kind of film."""
    if suffix == ".gif":
        return {"duration": 1000 / rate, "loop": 0}
    output = ["-crf", QUALITY, "-movflags", "+faststart"]  # its index first: a page plays it before all is there
    return {"fps": rate, "codec": CODEC, "quality": None, "macro_block_size": 2, "output_params": output}


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What goes wrong within is a UserError; of an encoder's long complaint, the last line."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "os.fork", RuntimeWarning
            )  # of JAX, which the encoder's process leaves alone
            yield
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise UserError(f"cannot write {path}: {printable(lines[-1].strip())}") from error
