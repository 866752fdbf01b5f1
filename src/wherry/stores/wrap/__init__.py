"""Stores around stores: each keeps the port and adds one thing to whatever lies inside.

`fault` breaks calls by a script and records them, for tests.  `looked` looks at each item of a source whose listings
tell too little.  Pacing, accounting and retries for adapters that do
not bring their own will live here.
"""
