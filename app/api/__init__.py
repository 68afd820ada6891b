"""The routes: thin functions that parse a request, call and answer."""
