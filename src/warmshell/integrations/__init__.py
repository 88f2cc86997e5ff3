"""Warmshell behind the interfaces of others; each module needs the extra that it is named after."""
