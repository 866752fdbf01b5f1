"""Processes that a fixture answers for although a test has started them: the guard against leaked ones lets them be."""

from __future__ import annotations

kept: set[int] = set()
