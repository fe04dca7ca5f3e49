"""Tables that need no download: each module renders or gathers one and offers `load`."""
