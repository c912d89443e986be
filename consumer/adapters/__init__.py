"""Drivers of the outside world; the only place that imports them."""
