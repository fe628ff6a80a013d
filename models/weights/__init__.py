"""Package data: bundled network weights (safetensors) with their model cards (JSON)."""
