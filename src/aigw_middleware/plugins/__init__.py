"""The built-in plug-ins, one file each."""
