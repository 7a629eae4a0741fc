"""The device that JAX computes on."""

import jax

from benchmark.common.machine import processor


def device_name() -> str:
    """This machine's device, as records and measured rates name it."""
    device = jax.devices()[0]
    return f"{device.platform}: {processor() if device.platform == 'cpu' else device.device_kind}"
