"""What is left when parts fail, and when clients ask again."""
