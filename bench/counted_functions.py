"""The functions for a benchmark: as they are deployed, with their reads counted into the file that READS names."""

import os
from pathlib import Path

from bench.reads import count_reads
from functions import main

count_reads(Path(os.environ["READS"]))
everything = main.serve
