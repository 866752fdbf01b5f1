"""Who somebody is and what they may do: policy, roles, device flow, tokens, proofs, keys, enrolment, passwords.

The only package that imports a cryptographic library, and the only place where allow or deny is decided
(`policy.decide`). Knows neither HTTP nor SQL: callers bring requests and rows as plain values.
"""
