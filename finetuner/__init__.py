"""Fine-tune embedding models as runs."""
