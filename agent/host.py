"""What the machine is: memory, processors, system, disk. It takes a while: call it in a thread.

Source: modern deltas, section 5 (`/v1/agent/host`).
"""

import platform
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil

ROOT = "/"


def host_facts() -> dict[str, Any]:
    """Return the facts in their wire shape; sizes are bytes, `CollectionTime` is ns since 1970."""
    errors: list[str] = []
    return {
        "Memory": _part("memory", _memory, errors),
        "CPU": _part("cpu", _processors, errors),
        "Host": _part("host", _system, errors),
        "Disk": _part("disk", _disk, errors),
        "CollectionTime": time.time_ns(),
        "Errors": errors or None,
    }


def _part(name: str, read: Callable[[], Any], errors: list[str]) -> Any:
    try:
        return read()
    except (OSError, psutil.Error) as error:
        errors.append(f"{name}: {error}")
        return None


def _memory() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "total": memory.total,
        "available": memory.available,
        "used": memory.used,
        "usedPercent": memory.percent,
        "free": memory.free,
        "active": memory.active,
        "inactive": memory.inactive,
        "buffers": memory.buffers,
        "cached": memory.cached,
        "shared": memory.shared,
    }


def _processors() -> list[dict[str, Any]]:
    frequency = psutil.cpu_freq()
    name = platform.processor() or platform.machine()
    return [
        {"cpu": number, "cores": 1, "modelName": name, "mhz": frequency.current if frequency is not None else 0.0}
        for number in range(psutil.cpu_count() or 1)
    ]


def _system() -> dict[str, Any]:
    booted_unix_s = psutil.boot_time()
    return {
        "hostname": socket.gethostname(),
        "uptime": max(int(time.time() - booted_unix_s), 0),
        "bootTime": int(booted_unix_s),
        "procs": len(psutil.pids()),
        "os": platform.system().lower(),
        "platform": platform.system().lower(),
        "platformVersion": platform.version(),
        "kernelVersion": platform.release(),
        "kernelArch": platform.machine(),
    }


def _disk() -> dict[str, Any]:
    disk = psutil.disk_usage(ROOT)
    return {"path": ROOT, "total": disk.total, "free": disk.free, "used": disk.used, "usedPercent": disk.percent}
