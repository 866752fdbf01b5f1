"""Runs the benchmarks; there is one: a folder copied to a folder."""

import sys

from bench.copy_folder import main

sys.exit(main())
