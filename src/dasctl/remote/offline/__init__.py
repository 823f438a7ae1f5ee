"""Bundles on a node: what `import-sync-bundle` and `python3 BUNDLE` do. No part of what a link ships."""
