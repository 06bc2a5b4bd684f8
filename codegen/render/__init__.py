"""Views and templates -> formatted text, written at once or not at all."""

from codegen.render.division import divide
from codegen.render.manifest import NAME as SOURCE_RECORD
from codegen.render.manifest import digest, manifest, read_manifest
from codegen.render.python import format_python
from codegen.render.templates import fill, templates_folder
from codegen.render.write import Written, differences, write_package

__all__ = [
    "SOURCE_RECORD",
    "Written",
    "differences",
    "digest",
    "divide",
    "fill",
    "format_python",
    "manifest",
    "read_manifest",
    "templates_folder",
    "write_package",
]
