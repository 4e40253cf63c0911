"""The same answers in a browser, over REST and MCP, and what a shell needs to know."""
