"""Where files live: one port (`port.py`), an adapter for each protocol, and decorators around the port (`wrap/`).

Adapters are synchronous, small and do not know each other; what a store can do beyond the mandatory methods is
declared as data. Paths are bytes. Called by the engine only.
"""
