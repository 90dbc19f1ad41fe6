"""The tests, one folder a level. A test starts whatever it needs, on free ports, in a state folder of its own."""
