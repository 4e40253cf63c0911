"""What the user asks: fields, their widgets, links, and scenarios."""
