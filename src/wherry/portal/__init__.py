"""The portal: pages and charts in the browser. Nothing lives here yet.

It will be a client of the resource API like any other, running in the process of the control plane: it cannot do
what the API forbids, and it never sees the database.
"""
