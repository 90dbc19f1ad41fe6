"""The crosswalk from an Arke entity to a MODS 3.8 record (https://www.loc.gov/standards/mods/)."""
