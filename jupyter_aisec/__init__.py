"""Two-party access to sealed weights and datasets in Jupyter, with a chain of custody."""

from __future__ import annotations
