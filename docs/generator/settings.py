"""`settings.md`: from `Settings.model_fields`."""

from __future__ import annotations

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from generator.text import code, head, table
from syncd.settings import Settings

_SETTINGS_INTRO = """\
Settings come from environment variables. Each may come from a file instead: the same variable with `_FILE` at its end
has the file's name. The file wins, and white space around its content is left out. syncd reads settings once, at start:
a changed setting or file needs a restart, but for the login in SYNCD_MONGO_URI and SYNCD_REDIS_URL, and for
certificates: their files are read again when syncd connects ([how to](../how-to/tls.md)). `syncd run` takes some
settings as options too; an option wins.

A variable that begins with `SYNCD_` and is none of these is ignored, with a warning that names the setting that it
resembles. Names that begin with `SYNCD_VAR_` are for contracts.

"""


def settings_page() -> str:
    """Every setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"SYNCD_{name.upper()}"
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        empty = default in (None, "", PydanticUndefined)
        limits = {
            sign: getattr(rule, sign) for rule in field.metadata for sign in _LIMITS if hasattr(rule, sign)
        }
        said = (field.description or "") + "".join(f" {_LIMITS[sign]} {n:g}." for sign, n in limits.items())
        rows.append((code(variable), code(f"{variable}_FILE"), "" if empty else code(default), said))
    text = head("Settings", "`syncd/settings.py`") + _SETTINGS_INTRO
    return text + table(("variable", "or its file", "default", "description"), rows)


_LIMITS = {"ge": "At least", "gt": "Above", "le": "At most", "lt": "Below"}
