"""The command line: a module for each noun, `program` puts them together, `main` runs it and tells errors."""
