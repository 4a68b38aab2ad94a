"""syncd keeps Redis and MongoDB in sync from YAML data contracts."""

__version__ = "0.1.0"
