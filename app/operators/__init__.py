"""The operators' page, `/admin`."""
