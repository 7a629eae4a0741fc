"""A host of datasets on loopback that fails in every way a real one has."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from envs.files import transfer

NAME = "cube-double-play-v0"
FILE = f"{NAME}.npz"
QUICK = transfer.Patience(connect=2.0, stall=0.4, rounds=3, first_wait=0.02, longest_wait=1.0, lock_poll=0.05)


def npz(rows: int = 8000, seed: int = 0, **replaced: np.ndarray | None) -> bytes:
    """Return the bytes of a dataset file; incompressible, so its size is about rows x 60."""
    rng = np.random.default_rng(seed)
    arrays = {
        "observations": rng.normal(size=(rows, 10)).astype(np.float32),
        "actions": rng.normal(size=(rows, 5)).astype(np.float32),
        "terminals": np.zeros(rows, bool),
    } | replaced
    file = io.BytesIO()
    np.savez_compressed(file, **{key: value for key, value in arrays.items() if value is not None})
    return file.getvalue()


WHOLE = npz()
SHA = hashlib.sha256(WHOLE).hexdigest()


class Host:
    """A dataset host. `faults` are used up one a GET; when none is left it serves as it should."""

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.faults: list[str] = []
        self.log: list[dict] = []
        self.etag, self.pause, self.ranges = True, 0.0, True
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                host.answer(self, head=True)

            def do_GET(self) -> None:
                host.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}/data"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def gets(self) -> list[dict]:
        return [entry for entry in self.log if entry["method"] == "GET"]

    def answer(self, http: BaseHTTPRequestHandler, head: bool = False) -> None:
        entry = {"method": http.command, "path": http.path, "range": http.headers.get("Range"), "sent": 0}
        self.log.append(entry)
        fault, _, amount = (self.faults.pop(0) if self.faults and not head else "").partition(":")
        if fault == "redirect":
            http.send_response(302)
            http.send_header("Location", f"{self.base}/{amount}")
            http.send_header("X-Linked-ETag", f'"{hashlib.sha256(self.files[FILE]).hexdigest()}"')
            http.send_header("Content-Length", "0")
            http.end_headers()
            return
        body = self.files.get(http.path.removeprefix("/data/"))
        if body is None or fault.isdigit():
            http.send_response(int(fault or 404))
            if amount:
                http.send_header("Retry-After", amount)
            http.end_headers()
            return
        if fault == "page":
            body = b"<!DOCTYPE html><title>Moved</title>" * 4000
        tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        start = 0
        if entry["range"] and self.ranges and fault not in ("page", "whole"):
            unchanged = http.headers.get("If-Range") in (None, tag) or fault == "mixes"
            start = int(entry["range"].removeprefix("bytes=").rstrip("-")) if unchanged else 0
        if start >= len(body):
            http.send_response(416)
            http.send_header("Content-Range", f"bytes */{len(body)}")
            http.end_headers()
            return
        rest = body[start:]
        http.send_response(206 if start else 200)
        if start:
            http.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.etag:
            http.send_header("ETag", tag)
        stated = {"short": len(rest) // 2, "long": len(rest) + 5000}.get(fault, len(rest))
        if fault != "unstated":
            http.send_header("Content-Length", str(stated))
        http.end_headers()
        if head:
            return
        stop = int(amount) if fault in ("drop", "stall", "unstated") else len(rest)
        try:
            for at in range(0, stop, 1 << 14):
                block = rest[at : min(at + (1 << 14), stop)]
                http.wfile.write(block)
                entry["sent"] += len(block)
                time.sleep(self.pause)
            http.wfile.flush()
            if fault == "stall":
                time.sleep(2.5 * QUICK.stall)
        except OSError:
            pass
