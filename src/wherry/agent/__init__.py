"""The agent: runs near the data, only reaches out, takes leases and lets the engine work under them."""
