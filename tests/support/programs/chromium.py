"""Finds a Chromium without a window: the environment's SYNCD_TEST_CHROMIUM, the PATH, Debian's package in `.cache/`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from tests.support.programs.debian import unpacked, with_dependencies

CACHE = Path(__file__).parents[3] / ".cache" / "chromium"
PLACE = Path("usr/lib/chromium/chromium-headless-shell")
PACKAGES = ["chromium-headless-shell", "fonts-inter", "fonts-dejavu-core"]
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<dir>{root}/usr/share/fonts</dir><cachedir>{root}/fontconfig</cachedir>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>ui-monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
<alias binding="strong"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""
"""The same fonts on every machine, so that pictures are alike."""


class Chromium(NamedTuple):
    binary: Path
    env: dict[str, str]


def find() -> Chromium:
    """Raises NotFound."""
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    named = os.environ.get("SYNCD_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if named:
        return Chromium(Path(named), {})
    root = CACHE if CACHE.exists() else unpacked(CACHE, with_dependencies(PACKAGES))
    libraries = root / "usr/lib/x86_64-linux-gnu"
    (root / "fonts.conf").write_text(FONTS.format(root=root))
    env = {
        "LD_LIBRARY_PATH": f"{libraries}:{libraries}/pulseaudio",
        "FONTCONFIG_FILE": str(root / "fonts.conf"),
    }
    return Chromium(root / PLACE, env)
