"""Schema versions; run by `control.db.schema` when the control plane opens its state."""
