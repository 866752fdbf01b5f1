"""Wherry: an open, self-hosted storage mover.

Nine packages in layers (`ARCHITECTURE.md`); the import contract in `pyproject.toml` keeps them apart.
"""

__version__ = "0.1.0"
