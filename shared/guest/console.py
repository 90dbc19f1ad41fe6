"""What a standalone machine prints on its serial console, for the launcher to read."""

from typing import Final

UP: Final = "the machine is up"
"""A standalone machine prints this once its worker runs."""

MEASURE: Final = "MEASURE"
"""A measuring machine prints its registers on one line: `MEASURE mrtd=<hex> rtmr0=<hex> …`."""

REGISTERS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
