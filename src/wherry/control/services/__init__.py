"""What the control plane does, as plain functions on a database connection; routes and doors call them."""
