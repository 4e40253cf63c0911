"""What is asked of physics: step times, memory, speculation, whole tables, and their error against measurements."""
