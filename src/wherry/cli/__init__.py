"""The command line: commands by noun, output formats, exit codes. `main.py` is the entry of both programs."""
