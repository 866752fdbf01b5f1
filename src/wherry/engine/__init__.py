"""Moves the bytes: walk, merge, transfer, verify, partition, pace, in processes and threads.

Knows the store port, never a vendor, and neither HTTP servers, databases nor sign-in. Used by the agent under a
lease and by `wherry copy` alone.
"""
