"""Tests: unit (no processes), conformance (every store), integration, e2e and chaos (real servers and processes)."""
