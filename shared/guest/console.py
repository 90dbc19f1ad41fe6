"""What a machine without an order says on its serial console, for the launcher to read."""

from typing import Final

UP: Final = "the machine is up"
"""What a machine without an order says on its serial console once its worker runs."""


MEASURE: Final = "MEASURE"
"""How the line begins on which a measuring machine says its registers: `MEASURE mrtd=<hex> rtmr0=<hex> …`."""


REGISTERS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
