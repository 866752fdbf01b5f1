"""The agent protocol at `/agent/v1`: registration, heartbeats, leases and all that a holder of one may do."""
