"""What every page is made of: words, marks of basis, tables, shapes."""
