"""Own, rent or API over volumes and months."""
