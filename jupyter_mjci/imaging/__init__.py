"""Image processing with Pillow: picture rules, thumbnails, masks. Knows no service."""
