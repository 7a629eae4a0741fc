"""What draws without a display: MuJoCo's MUJOCO_GL, chosen by trying."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from benchmark.common.errors import UserError

RENDERERS = ("egl", "osmesa")
"""In the order in which they are tried: on a graphics card or in software, and in software alone."""
TRYING_SECONDS = 120
"""Loading MuJoCo takes a few, on a machine that has much else to do."""
TRIAL = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
shape = renderer.render().shape
renderer.close()
assert shape == (16, 16, 3), shape
"""
HELP = (
    "EGL needs libEGL and a driver (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri; NVIDIA's driver brings "
    "its own), OSMesa needs libOSMesa (apt-get install libosmesa6)"
)


def choose_renderer() -> str:
    """The first that draws a picture, each tried in a process of its own, for MuJoCo holds on to the one it is loaded
    with; where MUJOCO_GL is set, that one alone.

    Raises a UserError that says why each did not, and what to install.
    """
    given = os.environ.get("MUJOCO_GL")
    return first_that_draws((given,) if given else RENDERERS)


@functools.cache
def first_that_draws(names: tuple[str, ...]) -> str:
    """See `choose_renderer`."""
    reasons = {}
    for name in names:
        reasons[name] = try_renderer(name)
        if not reasons[name]:
            return name
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise UserError(f"nothing renders here ({tried}). {HELP}")


def try_renderer(name: str) -> str:
    """Why it does not draw here, "" where it does."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TRIAL],
            env={**os.environ, "MUJOCO_GL": name},
            capture_output=True,
            text=True,
            timeout=TRYING_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no picture after {TRYING_SECONDS} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines or [f"exit status {done.returncode}"])[-1].strip()[:200]
