"""The tests, one folder for each level. A test starts the servers that it needs on free ports, with a state folder of
its own.
"""
