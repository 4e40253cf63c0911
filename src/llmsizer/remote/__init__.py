"""The same questions for other programs: over HTTP (REST) and for assistants (MCP). Needs the extra ``remote``."""
