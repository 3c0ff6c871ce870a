"""``aisec broker``."""
from __future__ import annotations
import msgspec, typer
app = typer.Typer()
class Ready(msgspec.Struct):
    url: str
