"""Pictures and picture rules (Pillow); knows no service."""
